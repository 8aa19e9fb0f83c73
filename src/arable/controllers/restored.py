"""After an older copy of the database was restored: what hosts run counts, not what the copy says they should.

Each host's first full report is taken stock of before anything is told or placed. A machine runs where it was seen,
and is off where it was not; one that the copy does not know is a stranger: its host keeps it, and operators are told.
Nothing is erased, and nothing starts that may run somewhere else (docs/decisions/0005).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from arable.controllers import appliances, endings, pairs, wishes
from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.ids import HostId, MachineId, OperationId, PoolId
from arable.domain.machine import MachineState, MachineWish
from arable.domain.manifest import GuestSeen, GuestState, HostReport
from arable.domain.units import Size
from arable.store import (
    attention,
    events,
    idle_pool,
    incarnations,
    ipv6_ranges,
    reservations,
    routing,
    snapshots,
    told,
)
from arable.store import wishes as manifests
from arable.store.attention import MachineRow, VolumeRow
from arable.store.database import Tx
from arable.store.incarnations import Awaited
from arable.store.nudges import nudge, nudge_hosts

log = logging.getLogger(__name__)

_S, _W = MachineState, MachineWish
_AS_SEEN = {
    GuestState.RUNNING: (_S.RUNNING, _W.RUNNING),
    GuestState.PREPARING: (_S.STARTING, _W.RUNNING),
    GuestState.FAILED: (_S.STARTING, _W.RUNNING),
    GuestState.STOPPING: (_S.STOPPING, _W.STOPPED),
}
_COLUMNS = (
    *("state", "wish", "host", "attention", "tries", "ran", "giving_up", "force", "boots"),
    *("operation", "generation", "changed_at", "destroyed_at"),
)


@dataclass(slots=True)
class _Stock:
    """What the report of one host is about to change."""

    host: Awaited
    at: datetime
    volumes: dict[MachineId, list[VolumeRow]]
    changed: list[dict[str, object]] = field(default_factory=list)
    items: list[manifests.Item] = field(default_factory=list)
    back: list[tuple[HostId, Size, int]] = field(default_factory=list)
    ended: list[tuple[OperationId | None, CloudError | None]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def change(self, row: MachineRow) -> None:
        values = row._asdict() | {"attention": True, "changed_at": attention.stamp(self.at)}
        values |= {"destroyed_at": None, "operation": None, "generation": row.generation + 1}
        self.changed.append({name: values[name] for name in ("id", *_COLUMNS)})
        why = Unavailable("an older copy of the database was restored meanwhile; ask again")
        self.ended.append((row.operation, why))

    def tell(self, kind: str, text: str) -> None:
        log.warning("%s: %s", self.host.name, text)
        event = Event(at=self.at, account=None, kind=kind, subject=self.host.id, text=text)
        self.events.append(event)


def take_stock(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Full reports of hosts that were not heard since: what they say is so."""
    full = {report.host: report for report in reports if report.full}
    if not full:
        return
    hosts = incarnations.awaited(tx, full)
    for host in hosts:
        _of_host(tx, host, full[host.id], at)
        incarnations.heard(tx, host.id, full[host.id].generation)
    if hosts and not incarnations.taking_stock(tx):
        nudge(tx, "machines")
        nudge(tx, "networks")
        nudge_hosts(tx, {host.id for host in hosts})


def _of_host(tx: Tx, host: Awaited, report: HostReport, at: datetime) -> None:
    here = {g.machine: g for g in report.guests if g.state in _AS_SEEN and not _comes(g)}
    rows = attention.machines_by_id(tx, {*here, *told.machines_on(tx, host.id)})
    this = _Stock(host, at, attention.volumes(tx, rows))
    for row in rows.values():
        if row.host == host.id and row.id not in here:
            _off(this, row)
    reservations.give(tx, this.back)
    this.back.clear()
    off = [row for row in rows.values() if row.host == host.id and row.id not in here]
    came: list[MachineRow] = []
    for machine, guest in sorted(here.items()):
        known = rows.get(machine)
        if known is None or known.wish == _W.GONE:
            text = f"{host.name} runs {machine}, which this database does not know; it is kept"
            this.tell("host.stranger", text)
        elif not _here(tx, this, known, guest):
            text = f"{host.name} runs {known.name} ({machine}), for which there is no place in this database; it is kept"
            this.tell("host.stranger", text)
        elif known.host is None:
            came.append(known)
    idle_pool.note(tx, at, came=came, went=off)
    attention.change_machines(tx, _COLUMNS, this.changed)
    manifests.put(tx, this.items)
    endings.settle(tx, this.ended, at)
    _appliances(tx, host, report)
    vlans = report.vlans or ()
    # Made there since the copy was: until the host says that it is gone, it is there (rule 3).
    manifests.note_presence(
        tx, [(owner, host.id) for owner in incarnations.owners_of(tx, host.zone, vlans)]
    )
    barred = incarnations.bar_vlans(tx, host.zone, vlans)
    if barred:
        this.tell(
            "host.stranger",
            f"{host.name} uses VLANs {barred}, which no network has; nobody gets them",
        )
    if lost := ipv6_ranges.bar(tx, host.zone, report.prefixes):
        this.tell(
            "host.stranger", f"{host.name} has {lost}, which no network has; nobody gets them"
        )
    events.add_many(tx, this.events)


def _comes(guest: GuestSeen) -> bool:
    """It is on its way to that host, and runs on another one."""
    return guest.move is not None and guest.state is GuestState.PREPARING


def _off(this: _Stock, row: MachineRow) -> None:
    """It is not there any more, so it was stopped or destroyed since; whatever it was, it does not come back by itself."""
    state, wish = _S.STOPPED, _W.STOPPED
    if row.wish == _W.GONE:
        state, wish = _S.EXPUNGING, _W.GONE
    this.items.append(wishes.guest_gone(this.host.id, row.id))
    this.items += wishes.leaves(row.id, this.host.id, None, this.volumes.get(row.id, []))
    this.back.append((this.host.id, Size(row.cpus, row.cpu_mhz, row.memory_mib, 0), 1))
    this.change(row._replace(state=state, wish=wish, host=None, giving_up=False, force=False))


def _here(tx: Tx, this: _Stock, row: MachineRow, guest: GuestSeen) -> bool:
    """It is on this host, whatever the copy says; False when it can't be noted so, and is left alone."""
    host, pool = this.host.id, this.host.pool
    away = [] if row.host == host else _away(tx, this, row)
    # With their snapshots, which are where they are.
    kept = snapshots.mib_of(tx, [v.id for v in away])
    room = {v.id: v.mib + kept.get(v.id, 0) for v in away}
    size = Size(row.cpus, row.cpu_mhz, row.memory_mib, sum(room.values()))
    if row.host != host:
        there = {host: (size, 1)}
        if told.name_is_taken(tx, row.id) or reservations.take(tx, there, there=True):
            return False
        if row.host is not None:
            this.items.append(wishes.guest_gone(row.host, row.id))
            without_disks = Size(row.cpus, row.cpu_mhz, row.memory_mib, 0)
            reservations.give(tx, [(row.host, without_disks, 1)])
        reservations.give(tx, [(v.host, Size(disk_mib=room[v.id]), 0) for v in away if v.host])
        attention.adopt_volumes(tx, [(PoolId(pool), v) for v in away if pool])
    state, wish = _AS_SEEN[guest.state]
    this.change(
        row._replace(
            state=state,
            wish=wish,
            host=host,
            tries=0,
            ran=row.ran or (max(guest.generation, 1) if state == _S.RUNNING else 0),
            giving_up=False,
            force=False,
            boots=max(row.boots, guest.boots),
            generation=max(row.generation, guest.generation),
        )
    )
    return True


def _away(tx: Tx, this: _Stock, row: MachineRow) -> list[VolumeRow]:
    """Its local disks that are thought to be elsewhere, or nowhere yet: they are where it is."""
    volumes = [v for v in this.volumes.get(row.id, ()) if v.host != this.host.id and not v.shared]
    local = attention.local_pools(tx, {v.host for v in volumes if v.host})
    return [v for v in volumes if v.pool is None or (v.host and local.get(v.host) == v.pool)]


def _appliances(tx: Tx, host: Awaited, report: HostReport) -> None:
    """A network's appliance is where it runs. One of a network that is not known will be withdrawn: it keeps nothing."""
    running = {seen.network for seen in report.appliances if seen.running}
    for row in routing.networks_by_id(tx, sorted(running)):
        if row.state != "ready" or host.id in (row.appliance_host, row.standby_host):
            continue
        if row.redundant and row.appliance_host and row.standby_host is None:
            pairs.found(tx, row, host.id)
        else:
            appliances.found(tx, row, host.id)
