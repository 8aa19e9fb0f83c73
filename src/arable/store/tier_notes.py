"""Notices that something happened which may matter to a tier: its machine was seen running, or off; its router had news.

Whoever writes such a thing adds a note in the same transaction, so that rounds need not look at tiers where nothing
happened. Notes are only added: nobody who settles what hosts report waits for whoever holds a tier's row. A round removes
those of the tiers that it looks at before it looks. A note that is lost costs time, never a result: tiers in which
something is under way are looked at every so often, and all of them seldom (`elements.sweep`).
"""

from collections.abc import Iterable

from sqlalchemy import TextClause, delete, text

from arable.domain.ids import BalancerId, FarmId, NetworkId, TierId
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.rows import json_text

TOPIC = "tiers"
"""Whoever makes tiers as they should be listens to it."""

_IDS = {
    "sqlite": "json_each(:ids) as asked",
    "postgresql": "jsonb_array_elements(cast(:ids as jsonb)) as asked",
}
# To an element that is being made a machine matters again when it runs, or will not.
_MACHINES = """
    insert into tier_note (tier) select distinct e.tier
    from {ids} join element e on e.machine = asked.value ->> 0
    where e.state <> 'making' or asked.value ->> 1 not in ('waiting', 'starting')
"""
# To elements that serve, or are kept ready, only that a check fails.
_BALANCERS = """
    insert into tier_note (tier) select distinct t.id
    from {ids} join balancer b on b.id = asked.value ->> 0 and b.calm is not null
        join network n on n.id = b.network join tier t on t.farm = n.farm
    where asked.value ->> 1 <> '0' or exists (
        select 1 from element e where e.tier = t.id and e.state <> 'serving'
            and e.state in ('proving', 'draining', 'leaving'))
"""
_NETWORKS = """
    insert into tier_note (tier) select distinct t.id
    from {ids} join network n on n.id = asked.value ->> 0 join tier t on t.farm = n.farm
    where exists (
        select 1 from element e where e.tier = t.id and e.state <> 'serving'
            and e.state in ('proving', 'draining', 'leaving'))
"""
_TAKE = """
    delete from tier_note where tier in (
        select tier.id from {ids} join tier on tier.farm = asked.value ->> 0)
"""


def _both(words: str) -> dict[str, TextClause]:
    return {dialect: text(words.format(ids=ids)) for dialect, ids in _IDS.items()}


_machines, _balancers, _networks = _both(_MACHINES), _both(_BALANCERS), _both(_NETWORKS)
_take = _both(_TAKE)


def of_machines(tx: Tx, states: Iterable[tuple[str, str]]) -> None:
    """These machines are in these states now; `gone` is one, too."""
    _note(tx, _machines, list(states))


def of_balancers(tx: Tx, told: Iterable[tuple[BalancerId, int]]) -> None:
    """Routers told something of these balancers, and how many of their members are ill."""
    _note(tx, _balancers, [(id_, str(ill)) for id_, ill in told])


def of_networks(tx: Tx, networks: Iterable[NetworkId]) -> None:
    """The routers of these networks came up, or have what they were told."""
    _note(tx, _networks, [(id_,) for id_ in networks])


def take(tx: Tx, farms: Iterable[FarmId]) -> None:
    """Somebody is about to look at all tiers of these farms."""
    tx.execute(_take[tx.dialect.name], {"ids": json_text([(id_,) for id_ in farms])})


def remove(tx: Tx, tier: TierId) -> None:
    """There is no such tier any more."""
    tx.execute(delete(t.tier_note).where(t.tier_note.c.tier == tier))


def _note(tx: Tx, words: dict[str, TextClause], rows: list[tuple[str, ...]]) -> None:
    if rows and tx.execute(words[tx.dialect.name], {"ids": json_text(rows)}).rowcount > 0:
        nudge(tx, TOPIC)
