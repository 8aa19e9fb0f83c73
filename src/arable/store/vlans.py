"""The VLANs, or VNIs, of zones: one row each, so that taking one is a compare-and-set (rule 3).

One is a network's, or a farm's: there the routers of its networks meet, while there are rules between these.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    TextClause,
    Update,
    exists,
    literal_column,
    or_,
    select,
    text,
    update,
)

from arable.domain.errors import NoRoom, Unavailable
from arable.domain.ids import AccountId, FarmId, NetworkId, ZoneId
from arable.domain.manifest import ItemKind
from arable.store import incarnations, quotas, schema
from arable.store.database import Tx


def take(tx: Tx, zone: ZoneId, network: NetworkId | FarmId) -> int:
    """The lowest free VLAN, or VNI, of the zone, from now on this network's or farm's. Two who take at once get two, or one waits.

    Raises `Unavailable` while hosts have not said which ones they use, after an older database came back.
    """
    if incarnations.taking_stock(tx):
        raise Unavailable(
            "the database was restored, and not every host has said yet which VLANs it uses: "
            "try again in a moment"
        )
    found = tx.execute(_take(tx.dialect.name), {"zone": zone, "network": network}).scalar()
    if found is None:
        raise NoRoom(
            "this zone has no VLAN left for another network: use one that is there, "
            "or ask the operator for a wider range of guest VLANs or VNIs"
        )
    return int(found)


def link(tx: Tx, account: AccountId, zone: ZoneId, farm: FarmId) -> int:
    """The VLAN where the farm's routers meet, taken if there is none; nobody gives it back before this transaction ends.

    The account's row is held while one is taken, so a farm never takes two.
    """
    held = select(_v.tag).where(_v.network == farm).with_for_update()
    found = tx.execute(held).scalar()
    if found is None:
        quotas.hold(tx, account)
        found = tx.execute(held).scalar()
    return take(tx, zone, farm) if found is None else int(found)


def free_links(tx: Tx) -> int:
    """Give back those of farms that have no rules between networks, once no host has anything of them (rule 3)."""
    look, free = _free_links()
    idle = list(tx.scalars(look))
    if not idle:
        return 0
    # Looked at once more, now that nobody can make a rule: one may have been made while its row was waited for.
    return tx.execute(free.where(_v.network.in_(idle))).rowcount


@cache
def _free_links() -> tuple[Select[tuple[FarmId]], Update]:
    """Those that could be given back, locked; and to do it."""
    farms = select(_v.network).join(schema.farm, schema.farm.c.id == _v.network)
    rule, network, presence = schema.rule.c, schema.network.c, schema.network_presence.c
    wanted = exists(
        select(rule.id)
        .join(schema.network, network.id == rule.network)
        .where(rule.source.is_not(None), network.farm == _v.network)
    )
    there = or_(
        exists(select(presence.host).where(presence.network == _v.network)),
        still_told(_v.network),
    )
    # Almost all VLANs are networks' or nobody's: of those nothing else is asked.
    of_farms = _v.network.like("farm-%")
    look = farms.where(of_farms, ~wanted, ~there).with_for_update(of=schema.vlan)
    return look, update(schema.vlan).where(~wanted, ~there).values(network=None)


def still_told(network: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a host is still told where a network's VNI leads: it must not be another's before that is taken back."""
    item = schema.manifest_item.c
    # In so many words, or the index of tunnels alone is not used: there are a hundred times as many other items.
    kind: ColumnElement[str] = literal_column(f"'{ItemKind.TUNNEL}'")
    told = (item.kind == kind, item.id == network, item.body.is_not(None))
    return exists(select(item.host).where(*told))


_v = schema.vlan.c


@cache
def _take(dialect: str) -> TextClause:
    lock = "" if dialect == "sqlite" else "for update skip locked"
    return text(
        f"""
        update vlan set network = :network where zone = :zone and tag = (
            select tag from vlan where zone = :zone and network is null and not leaving
            order by tag limit 1 {lock}
        ) returning tag
        """  # noqa: S608 - a word of ours
    )
