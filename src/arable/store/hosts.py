"""How hosts are kept. Reservations are taken in `reservations.py`, manifests written in `wishes.py`.

Many writers touch a host's row: placement, reports, the gateway. So nothing here writes the whole row: each change
names its columns, and what concerns many hosts locks them in the order of their ids or passes over the busy ones.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    Update,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)

from arable.domain.errors import Conflict
from arable.domain.host import Host, HostState
from arable.domain.ids import HostId, PodId, ZoneId
from arable.domain.manifest import ItemKind
from arable.store import kept, pools
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among, among_given, given
from arable.store.nudges import nudge_hosts

WHAT = "host"
_HEARD: dict[str, Any] = {
    "state": HostState.UP,
    "told": "",
    "held_back": False,
    "powered_off": False,  # somebody switched it on
    "excused_until": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFilter:
    """Which hosts of a list."""

    zone: ZoneId | None = None
    pod: PodId | None = None
    name: str | None = None
    states: Collection[HostState] = ()
    maintenance: bool | None = None


class Channelled(NamedTuple):
    """What a channel has to agree with: the newest manifest, the server that has it, the certificates that count."""

    generation: int
    server: str
    epoch: int


def add(tx: Tx, host: Host) -> None:
    """A new host; its name must be free."""
    if tx.execute(select(t.host.c.id).where(t.host.c.name == host.name)).first():
        raise Conflict(f"there is a host named {host.name} already", field="name")
    kept.add(tx, t.host, host)


def get(tx: Tx, host: HostId, *, lock: bool = False) -> Host:
    """Raises `NotFound`."""
    return kept.get(tx, t.host, Host, WHAT, t.host.c.id == host, lock=lock)


def some(tx: Tx, hosts: Iterable[HostId], *, lock: bool = False) -> dict[HostId, Host]:
    """Those of `hosts` that exist."""
    query = select(t.host).where(among(tx, t.host.c.id, hosts)).order_by(t.host.c.id)
    rows = tx.execute(query.with_for_update() if lock else query)
    return {row.id: kept.value(Host, row) for row in rows}


def page(tx: Tx, where: HostFilter, *, after: str | None = None, limit: int = 100) -> list[Host]:
    """Hosts by age."""
    row = t.host.c
    conditions: list[ColumnElement[bool]] = []
    for column, wanted in (
        (row.zone, where.zone),
        (row.pod, where.pod),
        (row.name, where.name),
        (row.maintenance, where.maintenance),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    if where.states:
        conditions.append(row.state.in_(sorted(where.states)))
    return kept.page(tx, t.host, Host, conditions, after=after, limit=limit)


def of_zone(tx: Tx, zone: ZoneId) -> list[Host]:
    """All hosts of a zone."""
    query = select(t.host).where(t.host.c.zone == zone).order_by(t.host.c.id)
    return [kept.value(Host, row) for row in tx.execute(query)]


def change(tx: Tx, before: Host, columns: Mapping[str, Any]) -> None:
    """Set some columns, and the next generation, unless somebody got there first."""
    here = (t.host.c.id == before.id, t.host.c.generation == before.generation)
    done = tx.execute(
        update(t.host).where(*here).values(**columns, generation=before.generation + 1)
    )
    if done.rowcount != 1:
        raise kept.stale(WHAT)


def measure(tx: Tx, host: HostId, columns: Mapping[str, Any]) -> None:
    """Set what a (locked) host told of itself. That is no change by anybody, so the generation stays."""
    if columns:
        tx.execute(update(t.host).where(t.host.c.id == host).values(**columns))


def measure_many(tx: Tx, told: Mapping[HostId, Mapping[str, Any]]) -> None:
    """The same for many: few have anything new to tell, but all of them when they are heard first."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for host, columns in told.items():
        if columns:
            alike.setdefault(tuple(sorted(columns)), []).append({"of_host": host, **columns})
    one = update(t.host).where(t.host.c.id == bindparam("of_host"))
    for rows in alike.values():
        tx.execute(one, rows)


def next_epoch(tx: Tx, host: Host) -> Host:
    """The (locked) host is let in anew: certificates that it was given before are worth nothing from now on."""
    after = replace(host, epoch=host.epoch + 1)
    tx.execute(update(t.host).where(t.host.c.id == host.id).values(epoch=after.epoch))
    return after


def connected(tx: Tx, hosts: Collection[HostId], server: str, at: datetime) -> None:
    """These (locked) hosts have their channel at `server` from now on."""
    tx.execute(
        update(t.host)
        .where(among(tx, t.host.c.id, hosts))
        .values(**_HEARD, server=server, seen_at=at)
    )


def unheard(tx: Tx, hosts: Collection[HostId], server: str) -> list[Host]:
    """Those of these hosts with their channel at `server` that did not count as up until now."""
    values = {"some": given(tx, hosts), "by": server}
    return [kept.value(Host, found) for found in tx.execute(_unheard(tx.dialect.name), values)]


@cache
def _unheard(dialect: str) -> Select[Any]:
    return select(t.host).where(*_its(dialect), t.host.c.state != HostState.UP)


def heard(tx: Tx, hosts: Collection[HostId], server: str, at: datetime) -> None:
    """These hosts were heard by `server`, which still has their channels. Busy rows are left for the next time."""
    values = {"some": given(tx, hosts), "by": server, "now": at}
    tx.execute(_heard(tx.dialect.name), values)


@cache
def _heard(dialect: str) -> Update:
    row = t.host.c
    free = select(row.id).where(*_its(dialect)).with_for_update(skip_locked=True)
    return update(t.host).where(row.id.in_(free)).values(**_HEARD, seen_at=bindparam("now"))


def left(tx: Tx, hosts: Collection[HostId], server: str) -> None:
    """The channels of these hosts at `server` are closed. Whether they are silent is for others to judge."""
    row = t.host.c
    free = (
        select(row.id)
        .where(among(tx, row.id, hosts), row.server == server)
        .with_for_update(skip_locked=True)
    )
    tx.execute(update(t.host).where(row.id.in_(free)).values(server=""))


def begun(tx: Tx, server: str) -> None:
    """A process of that name has just begun: whatever channels an earlier one had, it has none."""
    tx.execute(update(t.host).where(t.host.c.server == server).values(server=""))


def channels(tx: Tx, hosts: Collection[HostId]) -> dict[HostId, Channelled]:
    """Those of these hosts that exist."""
    found = tx.execute(_channels(tx.dialect.name), {"some": given(tx, hosts)})
    return {host: Channelled(*rest) for host, *rest in found}


@cache
def _channels(dialect: str) -> Select[Any]:
    row = t.host.c
    query = select(row.id, row.manifest_generation, row.server, row.epoch)
    return query.where(among_given(dialect, row.id, "some"))


def at(tx: Tx, hosts: Collection[HostId], server: str) -> set[HostId]:
    """Those of these hosts that have their channel at `server`."""
    values = {"some": given(tx, hosts), "by": server}
    return set(tx.execute(_at(tx.dialect.name), values).scalars())


@cache
def _at(dialect: str) -> Select[Any]:
    return select(t.host.c.id).where(*_its(dialect))


def _its(dialect: str) -> tuple[ColumnElement[bool], ...]:
    """Those of some hosts that have their channel at a server."""
    row = t.host.c
    return among_given(dialect, row.id, "some"), row.server == bindparam("by")


_BY_SERVER = (
    select(t.host.c.server, func.count()).where(t.host.c.server != "").group_by(t.host.c.server)
)


def by_server(tx: Tx) -> dict[str, int]:
    """How many hosts have their channel at which server."""
    return {row[0]: row[1] for row in tx.execute(_BY_SERVER)}


def remove(tx: Tx, host: Host) -> None:
    """Remove a host (locked by the caller) with its pool; refused while anything is or may be there."""
    for busy, what in (
        (host.machines > 0, "machines have resources there"),
        (_any(tx, t.machine.c.host == host.id), "machines run there"),
        (_any(tx, t.network.c.appliance_host == host.id), "a routing appliance runs there"),
        (_any(tx, t.network.c.standby_host == host.id), "a routing appliance stands by there"),
        (host.pool is not None and pools.has_volumes(tx, host.pool), "volumes are kept there"),
        (
            _any(
                tx,
                t.manifest_item.c.host == host.id,
                t.manifest_item.c.body.is_not(None),
                t.manifest_item.c.kind != ItemKind.PEER,
            ),
            "something is still wished for there",
        ),
        (
            _any(tx, t.network_presence.c.host == host.id),
            "it has not said yet that nothing of a network is left there",
        ),
    ):
        if busy:
            raise Conflict(f"the host is not empty: {what}")
    tx.execute(delete(t.manifest_item).where(t.manifest_item.c.host == host.id))
    tx.execute(delete(t.pool).where(t.pool.c.host == host.id))
    kept.forget(tx, t.host, host, WHAT)
    nudge_hosts(tx, {host.id})


def _any(tx: Tx, *where: ColumnElement[bool]) -> bool:
    return bool(tx.execute(select(exists().where(*where))).scalar())
