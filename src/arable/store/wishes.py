"""What hosts are told: the writing side of manifests (decisions/0003)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import update

from arable.domain.ids import HostId, NetworkId
from arable.domain.manifest import ItemKind
from arable.store import schema
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge_hosts
from arable.store.rows import place

_UPSERT = """
    insert into manifest_item (host, kind, id, generation, body) values ({0}, {0}, {0}, {0}, {0})
    on conflict (host, kind, id) do update set generation = excluded.generation, body = excluded.body
"""
_PRESENCE = "insert into network_presence (network, host) values ({0}, {0}) on conflict do nothing"


@dataclass(frozen=True, slots=True)
class Item:
    """One wish for one host, as JSON; without a body it is taken back."""

    host: HostId
    kind: ItemKind
    id: str
    body: str | None


def put(tx: Tx, items: Sequence[Item]) -> None:
    """Write wishes: one new manifest generation for each host that is touched, whatever the number of items."""
    if not items:
        return
    hosts = sorted({item.host for item in items})
    table = schema.host.c
    bump = (
        update(schema.host)
        .where(among(tx, table.id, hosts))
        .values(manifest_generation=table.manifest_generation + 1)
        .returning(table.id, table.manifest_generation)
    )
    generations: dict[str, int] = dict(tx.execute(bump).all())
    rows = [
        (item.host, item.kind.value, item.id, generations[item.host], item.body) for item in items
    ]
    tx.exec_driver_sql(_UPSERT.format(place(tx.dialect.name)), rows)
    nudge_hosts(tx, set(hosts))


def take_back(tx: Tx, kind: ItemKind, wanted: Iterable[tuple[HostId, str]]) -> None:
    """Items that are no longer wished for; those that never were are no harm."""
    put(tx, [Item(host, kind, id_, None) for host, id_ in wanted])


def note_presence(tx: Tx, pairs: Iterable[tuple[NetworkId, HostId]]) -> None:
    """These hosts may have something of these networks from now on (rule 3). Before the wish goes out."""
    rows = sorted(set(pairs))
    if rows:
        tx.exec_driver_sql(_PRESENCE.format(place(tx.dialect.name)), rows)
