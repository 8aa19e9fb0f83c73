"""What hosts report becomes what the cloud knows: states change only here by sight, and operations end.

Reports come in batches, in the order in which each host sent them. A report may be late, doubled or from a host that
no longer has the machine: each sight counts only if it is of the machine's present host, and, where it ends a wish, of
the generation that this host was last told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from arable.controllers import appliances, endings, restored, rights, wishes
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import HostId, MachineId, OperationId, VolumeId
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.manifest import ApplianceSeen, GuestSeen, GuestState, HostReport, ItemKind
from arable.domain.network import ApplianceState
from arable.domain.settings import START_TRIES
from arable.domain.units import Size
from arable.store import (
    addresses,
    attention,
    reservations,
    routing,
    settings,
    sightings,
    sights,
    told,
    usage,
)
from arable.store import wishes as manifests
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.routing import NetworkRow

GIVE_UP = 3
"""Failures in a row, on one host, after which it is told to stop trying."""

_S, _E, _W = MachineState, MachineEvent, MachineWish
_COLUMNS = (
    *("state", "wish", "host", "attention", "tries", "ran", "giving_up"),
    *("operation", "why", "generation", "changed_at"),
)


@dataclass(slots=True)
class _Settling:
    """What one batch is about to write."""

    at: datetime
    most_tries: int
    changed: dict[MachineId, MachineRow] = field(default_factory=dict)
    arrived: dict[MachineId, MachineRow] = field(default_factory=dict)  # as they were until now
    items: list[manifests.Item] = field(default_factory=list)
    back: list[tuple[HostId, Size, int]] = field(default_factory=list)
    ended: list[tuple[OperationId | None, CloudError | None]] = field(default_factory=list)
    told: list[tuple[MachineRow, str, str]] = field(default_factory=list)
    left: dict[MachineId, HostId] = field(default_factory=dict)  # of shared disks; and which host

    def change(self, row: MachineRow) -> None:
        self.changed[row.id] = row

    def arrive(self, row: MachineRow) -> None:
        """It runs. What this batch changed of it before is written with that, or it would be written after it."""
        if row.id in self.changed:
            self.changed[row.id] = _arrived(row)
        else:
            self.arrived[row.id] = row

    def known(self, rows: Mapping[MachineId, MachineRow], id_: MachineId) -> MachineRow | None:
        """The machine as this batch has left it until now."""
        row = self.arrived.pop(id_, None)
        if row is not None:  # more than arriving has happened to it
            self.changed[id_] = _arrived(row)
        return self.changed.get(id_) or rows.get(id_)

    def end(self, row: MachineRow, error: CloudError | None = None) -> MachineRow:
        """Its operation is over."""
        if row.operation:
            self.ended.append((row.operation, error))
        return row._replace(operation=None)


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Take a batch of reports into account."""
    restored.take_stock(tx, reports, at)
    known = _known_to_run(tx, reports)
    seen = [
        (report.host, guest)
        for report in reports
        for guest in report.guests
        if not (report.full and guest.state is GuestState.RUNNING and guest.machine in known)
    ]
    gone = [(report.host, machine) for report in reports for machine in report.gone]
    ids = {guest.machine for _host, guest in seen} | {machine for _host, machine in gone}
    if ids:
        _guests(tx, seen, gone, attention.machines_by_id(tx, ids), at)
    scrapped = {
        (report.host, volume): report.generation for report in reports for volume in report.scrapped
    }
    if scrapped:
        _scrapped(tx, scrapped, at)
    rights.keep(tx, reports, at)
    _appliances(tx, reports, at)
    sightings.note(tx, reports, at)
    present = {
        report.host: (report.generation, report.vlans)
        for report in reports
        if report.vlans is not None
    }
    sights.forget_presence(tx, present)
    sights.pools(tx, ((report.host, pool) for report in reports for pool in report.pools))
    usage.keep(tx, ((report.host, one) for report in reports for one in report.stats), at)


def _known_to_run(tx: Tx, reports: Sequence[HostReport]) -> frozenset[MachineId]:
    """Of what full reports name, machines about which nothing is new.

    That is nearly all of them, when ten thousand hosts have come back: so these are not locked, nor looked at closer.
    """
    running = [
        guest.machine
        for report in reports
        if report.full
        for guest in report.guests
        if guest.state is GuestState.RUNNING
    ]
    return attention.running_already(tx, running) if running else frozenset()


def _guests(
    tx: Tx,
    seen: Iterable[tuple[HostId, GuestSeen]],
    gone: Iterable[tuple[HostId, MachineId]],
    rows: dict[MachineId, MachineRow],
    at: datetime,
) -> None:
    this = _Settling(at, settings.get(tx, START_TRIES))
    for host, guest in seen:
        row = this.known(rows, guest.machine)
        if row is not None and row.host == host:
            _sight(this, row, guest)
    for host, machine in gone:
        row = this.known(rows, machine)
        if row is not None and row.host == host and row.state == _S.STOPPING:
            _stopped(this, row)
    _write(tx, this)


def _sight(this: _Settling, row: MachineRow, guest: GuestSeen) -> None:
    """One guest as its present host sees it."""
    fresh = guest.generation >= row.told and not row.attention
    match guest.state:
        case GuestState.RUNNING if fresh and row.wish == _W.RUNNING and guest.boots >= row.boots:
            _running(this, row)
        case GuestState.STOPPED if row.state == _S.RUNNING and row.wish == _W.RUNNING:
            _stopped_by_itself(this, row)
        case GuestState.STOPPED if fresh and row.giving_up:
            _given_up(this, row)
        case GuestState.STOPPED if fresh and row.state == _S.STOPPING:
            _stopped(this, row)
        case GuestState.STOPPED if fresh and row.state == _S.STARTING:
            _stopped_by_itself(this, row)
        case GuestState.FAILED if (
            row.state == _S.STARTING and guest.tries >= GIVE_UP and not row.giving_up
        ):
            _failing(this, row, guest.told)
        case GuestState.FAILED | GuestState.PREPARING if row.state == _S.STARTING and guest.told:
            this.change(row._replace(why=_why(row, waiting=guest.told)))
        case _:
            pass


def _running(this: _Settling, row: MachineRow) -> None:
    if row.state == _S.STARTING:
        this.told.append((row, "machine.running", "running"))
        this.arrive(this.end(row))
    elif row.operation:
        this.change(this.end(row))


def _stopped(this: _Settling, row: MachineRow) -> None:
    """Off, as asked: the host has no business with it any more."""
    state = MACHINE.next(_S(row.state), _E.SEE_STOPPED)
    if row.wish == _W.DESTROYED:
        state = MACHINE.next(state, _E.DESTROY)
    elif row.wish == _W.GONE:
        state = MACHINE.next(state, _E.EXPUNGE)
    row = _released(this, row)._replace(state=state, force=False)
    this.told.append((row, f"machine.{state}", str(state)))
    # An expunged one's operation goes on until nothing is left of it.
    this.change(row._replace(attention=True) if state == _S.EXPUNGING else this.end(row))


def _stopped_by_itself(this: _Settling, row: MachineRow) -> None:
    """Its guest shut down without being asked: that is its owner's right, and it stays off."""
    state = MACHINE.next(_S(row.state), _E.SEE_STOPPED)
    error = None
    if row.operation:
        error = Unavailable(f"{row.name} shut itself down before it was seen running")
    this.told.append((row, "machine.stopped", "shut itself down"))
    row = _released(this, row)._replace(state=state, wish=_W.STOPPED)
    this.change(this.end(row, error))


def _failing(this: _Settling, row: MachineRow, told: str) -> None:
    """Its host can't start it: have it stop trying before anything else is done (rule 1)."""
    this.change(
        row._replace(
            giving_up=True,
            attention=True,
            generation=row.generation + 1,
            why=_why(row, failed=told),
        )
    )


def _given_up(this: _Settling, row: MachineRow) -> None:
    """Its host has stopped trying: another one may, if nothing of value is bound to this one."""
    told = str(_known(row).get("failed", "its host could not start it"))
    host = row.host
    tries = row.tries + 1
    row = _released(this, row)
    # What is shared goes along, whatever is on it.
    if (row.epoch or not row.ran) and tries < this.most_tries and host is not None:
        state = MACHINE.next(_S(row.state), _E.RETRY)
        avoid = [*_list(_known(row).get("avoid")), host]
        this.told.append((row, "machine.retry", f"{told}; trying another host"))
        this.change(
            row._replace(state=state, tries=tries, attention=True, why=_why(row, avoid=avoid))
        )
        return
    state = MACHINE.next(_S(row.state), _E.FAIL)
    this.told.append((row, "machine.error", told))
    row = row._replace(state=state, wish=_W.STOPPED, tries=0)
    this.change(this.end(row, Unavailable(f"{row.name} could not be started: {told}")))


def _released(this: _Settling, row: MachineRow) -> MachineRow:
    """Nothing of it runs on its host any more; CPU and memory are given back, its disks stay."""
    if row.host is None:
        return row
    this.items.append(wishes.guest_gone(row.host, row.id))
    this.back.append((row.host, Size(row.cpus, row.cpu_mhz, row.memory_mib, 0), 1))
    if row.epoch:
        this.left[row.id] = row.host
    return row._replace(host=None, giving_up=False, generation=row.generation + 1)


def _write(tx: Tx, this: _Settling) -> None:
    stamp = attention.stamp(this.at)
    attention.note_running(
        tx,
        [
            (_RUNNING, True, 0, None, _waits_no_more(row), row.generation + 1, stamp, row.id)
            for row in this.arrived.values()
        ],
    )
    attention.change_machines(
        tx,
        _COLUMNS,
        [
            {
                "id": row.id,
                "state": row.state,
                "wish": row.wish,
                "host": row.host,
                "attention": row.attention,
                "tries": row.tries,
                "ran": row.ran,
                "giving_up": row.giving_up,
                "operation": row.operation,
                "why": row.why,
                "generation": row.generation,
                "changed_at": stamp,
            }
            for row in this.changed.values()
        ],
    )
    manifests.put(tx, [*this.items, *rights.leave(tx, this.left)])
    reservations.give(tx, this.back)
    _leave_disks(tx, this)
    endings.settle(tx, this.ended, this.at)
    endings.tell(tx, this.told, this.at)
    if any(row.attention for row in this.changed.values()):
        nudge(tx, "machines")


def _leave_disks(tx: Tx, this: _Settling) -> None:
    """Machines that go to another host without ever having run: what the first one made of their disks is erased."""
    moving = [row.id for row in this.changed.values() if row.state == _S.WAITING]
    if not moving:
        return
    volumes = (v for disks in attention.volumes(tx, moving).values() for v in disks)
    held = [v for v in volumes if v.pool and not v.shared]
    manifests.put(tx, [wishes.scrap(v, v.host, v.pool) for v in held if v.host and v.pool])
    reservations.give(tx, [(v.host, Size(disk_mib=v.mib), 0) for v in held if v.host])
    sights.unpool(tx, [v.id for v in held])


def _scrapped(tx: Tx, reported: Mapping[tuple[HostId, VolumeId], int], at: datetime) -> None:
    """Erased, say their hosts: the room is free, and a machine without any disk left is gone.

    What a host has said of an earlier wish, before the machine came back to it and was given away again, is old news.
    """
    found = sights.erasing(tx, list(reported))
    gone = {(v.host, v.id) for v in found if v.host}
    manifests.take_back(tx, ItemKind.SCRAP, gone | told.read_scraps(tx, reported))
    reservations.give(tx, [(v.host, Size(disk_mib=v.mib), 0) for v in found if v.host])
    sights.unpool(tx, [v.id for v in found])
    machines = {v.machine for v in found if v.machine}
    held = attention.volumes(tx, machines)
    rows = attention.machines_by_id(tx, machines)
    done = [
        row
        for row in rows.values()
        if row.state == _S.EXPUNGING and not any(v.pool for v in held.get(row.id, ()))
    ]
    endings.gone(tx, done, at)


def _appliances(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Appliances that came up wake the machines that wait for them; those that are gone may start elsewhere."""
    seen = {a.network: (r.host, a) for r in reports for a in r.appliances}
    gone = {network: r.host for r in reports for network in r.appliances_gone}
    full = [report for report in reports if report.full]
    left = routing.left_by_appliances(tx, [report.host for report in full]) if full else ()
    for report in full:
        if report.host in left:  # what it said before may be lost, so what it does not name is gone
            named = {appliance.network for appliance in report.appliances}
            leaving = routing.leaving_appliances(tx, report.host, report.generation)
            gone |= dict.fromkeys(set(leaving) - named, report.host)
    if not seen and not gone:
        return
    for row in routing.networks_by_id(tx, sorted({*seen, *gone})):
        if row.id in seen and row.appliance_host == seen[row.id][0]:
            _appliance_seen(tx, row, seen[row.id][1], at)
        if gone.get(row.id) == row.appliance_host and row.appliance_state == ApplianceState.LEAVING:
            appliances.gone(tx, row)


def _appliance_seen(tx: Tx, row: NetworkRow, seen: ApplianceSeen, at: datetime) -> None:
    if row.appliance_state not in (ApplianceState.STARTING, ApplianceState.RUNNING):
        return
    if not seen.running:
        if row.appliance_state == ApplianceState.STARTING and seen.tries >= GIVE_UP:
            appliances.give_up(tx, row, seen.told, at)
        elif seen.told:
            routing.set_appliance(
                tx, row.id, ApplianceState(row.appliance_state), row.appliance_host, seen.told
            )
        return
    if row.appliance_state == ApplianceState.STARTING:
        routing.set_appliance(tx, row.id, ApplianceState.RUNNING, row.appliance_host, "")
        if row.appliance_failed != "{}":
            routing.note_failed(tx, row.id, {})
        attention.wake_machines(tx, row.id)
        nudge(tx, "machines")
    if seen.generation >= row.generation and not row.attention:
        running = routing.operations_on(tx, [row.id])
        endings.settle(tx, [(operation, None) for operation in running], at)
        if running:  # one of them may have released an address
            addresses.let_go(tx, [row.id])


def _known(row: MachineRow) -> dict[str, object]:
    return msgspec.json.decode(row.why or "{}", type=dict[str, object])


_RUNNING = MACHINE.next(_S.STARTING, _E.SEE_RUNNING)


def _arrived(row: MachineRow) -> MachineRow:
    """It runs; what `attention.note_running` makes of its row."""
    return row._replace(
        state=_RUNNING,
        ran=True,
        tries=0,
        operation=None,
        why=_waits_no_more(row),
        generation=row.generation + 1,
    )


def _waits_no_more(row: MachineRow) -> str:
    """What it waited for is here."""
    if '"waiting"' not in row.why:
        return row.why
    return msgspec.json.encode({k: v for k, v in _known(row).items() if k != "waiting"}).decode()


def _why(row: MachineRow, **more: object) -> str:
    return msgspec.json.encode({**_known(row), **more}).decode()


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
