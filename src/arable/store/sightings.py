"""What hosts say of other hosts, and what can be known of each from it. Judged in `domain/host_health.py`.

Rows are there only while something is unusual (a peer that can't be reached) or shared (leases), so usual reports cost
nothing here.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, select, update

from arable.domain.host import HostState
from arable.domain.host_health import SightingKind
from arable.domain.ids import HostId, PodId, ZoneId
from arable.domain.manifest import HostReport, ItemKind
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import put_rows, stamp

_s, _h = t.sighting.c, t.host.c


class Sighting(NamedTuple):
    """`by` says that of `host`, since."""

    by: HostId
    kind: SightingKind
    host: HostId
    since: datetime


class HostRow(NamedTuple):
    """What is needed to judge a host."""

    id: HostId
    name: str
    zone: ZoneId
    pod: PodId
    state: HostState
    maintenance: bool
    powered_off: bool
    excused_until: datetime | None
    seen_at: datetime | None
    peer_address: str
    told: str
    held_back: bool


_COLUMNS = [_h[name] for name in HostRow._fields]
_LIVING = _h.state.in_([HostState.UP, HostState.SILENT])


def note(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Take in what these reports say of others; each says all of a kind, or nothing."""
    said: dict[tuple[HostId, SightingKind], dict[HostId, datetime]] = {}
    for report in reports:
        if report.lost is not None:
            said[report.host, SightingKind.LOST] = {
                each.host: at - timedelta(seconds=max(0, each.seconds)) for each in report.lost
            }
        if report.renewing is not None:
            said[report.host, SightingKind.LEASES] = dict.fromkeys(report.renewing, at)
    if not said:
        return
    held: dict[tuple[HostId, SightingKind], set[HostId]] = {}
    query = select(_s.by, _s.kind, _s.host).where(among(tx, _s.by, {by for by, _kind in said}))
    for by, kind, host in tx.execute(query):
        held.setdefault((by, SightingKind(kind)), set()).add(host)
    known = _known(tx, {host for hosts in said.values() for host in hosts})
    for key, hosts in said.items():
        by, kind = key
        before = held.get(key, set())
        over = before - hosts.keys()
        if over:
            tx.execute(
                delete(t.sighting).where(_s.by == by, _s.kind == kind, among(tx, _s.host, over))
            )
        put_rows(
            tx,
            t.sighting,
            ("by", "kind", "host", "since"),
            [
                (by, kind.value, host, stamp(since))
                for host, since in hosts.items()
                if host not in before and host in known and host != by
            ],
            "do nothing",
        )


def of(tx: Tx, hosts: Iterable[HostId]) -> list[Sighting]:
    """All that is said of these."""
    query = select(_s.by, _s.kind, _s.host, _s.since).where(among(tx, _s.host, hosts))
    return [Sighting(by, SightingKind(kind), host, at) for by, kind, host, at in tx.execute(query)]


_TROUBLED = (
    select(_h.pod)
    .where(_LIVING, func.coalesce(_h.seen_at, _h.created_at) < bindparam("since"))
    .distinct()
)


def troubled(tx: Tx, unheard_since: datetime) -> set[PodId]:
    """Pods with hosts that were not heard since then, and are not given up."""
    return set(tx.execute(_TROUBLED, {"since": unheard_since}).scalars())


def hosts(tx: Tx, pods: Collection[PodId]) -> list[HostRow]:
    """All hosts of these pods."""
    query = select(*_COLUMNS).where(among(tx, _h.pod, pods)).order_by(_h.id)
    return [HostRow(*row)._replace(state=HostState(row.state)) for row in tx.execute(query)]


def some(tx: Tx, ids: Collection[HostId]) -> list[HostRow]:
    """Those of these hosts that exist."""
    query = select(*_COLUMNS).where(among(tx, _h.id, ids)).order_by(_h.id)
    return [HostRow(*row)._replace(state=HostState(row.state)) for row in tx.execute(query)]


def elsewhere(tx: Tx, pods: Collection[PodId]) -> dict[ZoneId, int]:
    """How many hosts count in each zone, besides those of these pods."""
    query = (
        select(_h.zone, func.count())
        .where(_LIVING, ~_h.maintenance, ~among(tx, _h.pod, pods))
        .group_by(_h.zone)
    )
    return {row[0]: row[1] for row in tx.execute(query)}


# --- who asks for whom --------------------------------------------------------------------------------------------


class Peer(NamedTuple):
    """A host that can be asked by others."""

    id: HostId
    pod: PodId
    state: HostState
    peer_address: str


class PodRow(NamedTuple):
    """A pod, and the digest of the circle that its hosts were told last."""

    id: PodId
    cidr: str
    circle: str


def peers(tx: Tx) -> list[Peer]:
    """All of them that are not given up."""
    query = select(*(_h[name] for name in Peer._fields)).where(_LIVING, _h.peer_address != "")
    return [Peer(*row)._replace(state=HostState(row.state)) for row in tx.execute(query)]


def pods(tx: Tx) -> list[PodRow]:
    """All of them."""
    return [PodRow(*row) for row in tx.execute(select(*(t.pod.c[n] for n in PodRow._fields)))]


def asked(tx: Tx, pods: Collection[PodId]) -> dict[tuple[HostId, HostId], str]:
    """Who is told to ask for whom in these pods: (asker, asked), with the wish."""
    item = t.manifest_item.c
    query = (
        select(item.host, item.id, item.body)
        .join(t.host, _h.id == item.host)
        .where(among(tx, _h.pod, pods), item.kind == ItemKind.PEER, item.body.is_not(None))
    )
    return {(host, peer): body for host, peer, body in tx.execute(query)}


def told(tx: Tx, pod: PodId, circle: str) -> None:
    """The hosts of that pod have been told that circle."""
    tx.execute(update(t.pod).where(t.pod.c.id == pod).values(circle=circle))


def _known(tx: Tx, hosts: Collection[HostId]) -> set[HostId]:
    if not hosts:
        return set()
    return set(tx.execute(select(_h.id).where(among(tx, _h.id, hosts))).scalars())
