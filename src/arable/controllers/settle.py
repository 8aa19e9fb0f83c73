"""What hosts report becomes what the cloud knows: states change only here by sight, and operations end.

Reports come in batches, in the order in which each host sent them. A report may be late, doubled or from a host that
no longer has the machine: each sight counts only if it is of the machine's present host, and, where it ends a wish, of
the generation that this host was last told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from arable.controllers import (
    attachments,
    carries,
    endings,
    image_caches,
    passwords,
    restored,
    rights,
    routers_seen,
    snapshots,
    volume_replicas,
    vpns,
    wishes,
)
from arable.controllers import nics as ports
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import HostId, MachineId, OperationId, VolumeId
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.manifest import (
    GIVE_UP,
    GuestSeen,
    GuestState,
    HostReport,
    ItemKind,
)
from arable.domain.settings import POOL_FULL_PERCENT, START_TRIES
from arable.domain.units import Size
from arable.store import (
    attention,
    balancers,
    idle_pool,
    moves,
    operations,
    reservations,
    settings,
    sightings,
    sights,
    told,
    usage,
)
from arable.store import wishes as manifests
from arable.store.attachments import seen_made
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.nudges import nudge

_STALLED = "stalled"  # in `why`: a guest that runs stands still, and because of what
_WAITS = "waits"  # and why what was asked of it while it runs is not done yet
_CLINGS = "does not let go"  # as hypervisors say it
_HELP = "a restart takes it from the guest, or to detach it by force"
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
    went: list[MachineRow] = field(default_factory=list)
    ended: list[tuple[OperationId | None, CloudError | None]] = field(default_factory=list)
    told: list[tuple[MachineRow, str, str]] = field(default_factory=list)
    steps: dict[OperationId, str] = field(default_factory=dict)  # of operations that go on
    left: dict[MachineId, HostId] = field(default_factory=dict)  # of shared disks; and which host
    off: list[MachineId] = field(default_factory=list)  # while they were about to move
    as_told: list[MachineId] = field(default_factory=list)  # what was asked of them while they run
    alike: set[MachineId] = field(default_factory=set)  # they run as they were last told to
    freed: set[MachineId] = field(default_factory=set)  # nothing of them runs
    waits: dict[MachineId, str] = field(default_factory=dict)  # those that run otherwise, and why
    in_vain: set[MachineId] = field(default_factory=set)  # of those, where it was tried often

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
        or guest.stalled
    ]
    gone = [(report.host, machine) for report in reports for machine in report.gone]
    moving = [(r.host, guest) for r in reports for guest in r.guests if guest.move is not None]
    ids = {guest.machine for _host, guest in seen} | {machine for _host, machine in gone}
    if ids:
        _guests(tx, seen, gone, attention.machines_by_id(tx, ids), at)
    scrapped = {
        (report.host, volume): report.generation for report in reports for volume in report.scrapped
    }
    if scrapped:
        _scrapped(tx, scrapped, at)
    if moving and moves.note(tx, moving):
        nudge(tx, moves.TOPIC)
    snapshots.settle(tx, reports, at)
    carries.settle(tx, reports, at)
    volume_replicas.settle(tx, reports, at)
    passwords.settle(tx, reports, at)
    rights.keep(tx, reports, at)
    routers_seen.settle(tx, reports, at)
    sightings.note(tx, reports, at)
    present = {
        report.host: (report.generation, report.vlans)
        for report in reports
        if report.vlans is not None
    }
    sights.forget_presence(tx, present)
    pools = [(report.host, pool) for report in reports for pool in report.pools]
    if pools:
        sights.pools(tx, pools, settings.get(tx, POOL_FULL_PERCENT))
    image_caches.settle(tx, reports, at)
    if balancers.keep_seen(tx, ((r.host, one) for r in reports for one in r.balancers), at):
        nudge(tx, balancers.TOPIC)
    vpns.settle(tx, reports, at)
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
    leaving = _leaving(tx, seen, gone, rows)
    for host, guest in seen:
        row = this.known(rows, guest.machine)
        if row is None or row.host != host:
            continue
        if guest.machine not in leaving:
            _sight(this, row, guest)
        elif guest.state is GuestState.STOPPED and row.wish == _W.RUNNING:
            this.off.append(row.id)
    for host, machine in gone:
        row = this.known(rows, machine)
        if row is None or machine in leaving:
            continue
        if row.host == host and row.state == _S.STOPPING:
            _stopped(this, row)
    _write(tx, this)
    attachments.settle(tx, this.alike, this.freed, this.waits, at, this.in_vain)


def _leaving(
    tx: Tx,
    seen: Iterable[tuple[HostId, GuestSeen]],
    gone: Iterable[tuple[HostId, MachineId]],
    rows: Mapping[MachineId, MachineRow],
) -> frozenset[MachineId]:
    """Those that seem off, and may only have left for another host: nothing is made of that until their move is over."""
    off = {guest.machine for _host, guest in seen if guest.state is GuestState.STOPPED}
    off |= {machine for _host, machine in gone}
    shared = [id_ for id_ in off if id_ in rows and rows[id_].epoch]
    return frozenset(moves.bound(tx, shared)) if shared else frozenset()


def shut_down(tx: Tx, row: MachineRow, at: datetime) -> None:
    """Its host had said that it shut itself down while it was about to leave, and it did not leave."""
    this = _Settling(at, 0)
    _stopped_by_itself(this, row)
    _write(tx, this)
    attachments.settle(tx, (), this.freed, {}, at)


def _sight(this: _Settling, row: MachineRow, guest: GuestSeen) -> None:
    """One guest as its present host sees it.

    It counts also where somebody still wants to look at the machine, if it is as the newest wish says: then nothing
    that its host would answer is told again, and the host does not say so again.
    """
    newest = guest.generation >= max(row.told, row.generation)
    fresh = newest or (guest.generation >= row.told and not row.attention)
    if guest.state is GuestState.RUNNING and row.state == _S.RUNNING:
        row = _stalled(this, row, guest.stalled)
    match guest.state:
        case GuestState.RUNNING if fresh and row.wish == _W.RUNNING and guest.boots >= row.boots:
            this.alike.add(row.id)
            _running(this, row)
        case GuestState.RUNNING if guest.told and row.state == _S.RUNNING:
            this.waits[row.id] = guest.told
            _waits(this, row, guest.told)
            if guest.tries >= attachments.TRIES:
                this.in_vain.add(row.id)
        case GuestState.STOPPED if row.state == _S.RUNNING and row.wish == _W.RUNNING:
            _stopped_by_itself(this, row)
        case GuestState.STOPPED if fresh and row.giving_up and row.state == _S.STARTING:
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


def _stalled(this: _Settling, row: MachineRow, why: str) -> MachineRow:
    """It stands still because of a disk, or goes on."""
    if why == _known(row).get(_STALLED, ""):
        return row
    if why:
        this.told.append((row, "machine.stalled", f"stands still: {why}"))
        row = row._replace(why=_why(row, stalled=why))
    else:
        this.told.append((row, "machine.goes-on", "goes on"))
        row = row._replace(why=_without(row, _STALLED))
    this.change(row)
    return row


def _waits(this: _Settling, row: MachineRow, why: str) -> None:
    """What was asked of it while it runs is not done yet, and whoever waits is told why, once for each reason."""
    said = f"{row.operation}: {why}"
    if row.operation and said != _known(row).get(_WAITS):
        this.steps[row.operation] = f"{why}; {_HELP}" if _CLINGS in why else why
        this.change(row._replace(why=_why(row, **{_WAITS: said})))


def _running(this: _Settling, row: MachineRow) -> None:
    if row.state == _S.STARTING:
        this.told.append((row, "machine.running", "running"))
        this.arrive(this.end(row))
    elif row.operation:
        this.as_told.append(row.id)
        this.change(this.end(row._replace(why=_without(row, _WAITS))))


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
    this.freed.add(row.id)
    this.went.append(row)
    this.items.append(wishes.guest_gone(row.host, row.id))
    this.back.append((row.host, Size(row.cpus, row.cpu_mhz, row.memory_mib, 0), 1))
    if row.epoch:
        this.left[row.id] = row.host
    why = _without(row, _STALLED, _WAITS)
    return row._replace(host=None, giving_up=False, why=why, generation=row.generation + 1)


def _write(tx: Tx, this: _Settling) -> None:
    stamp = attention.stamp(this.at)
    attention.note_running(
        tx,
        [
            (_RUNNING, _ran(row), 0, None, _waits_no_more(row), row.generation + 1, stamp, row.id)
            for row in this.arrived.values()
        ],
    )
    # Those that started for the first time have what was made with them; the others may have been given more since.
    seen_made(tx, [row.id for row in this.arrived.values() if row.ran])
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
    idle_pool.note(tx, this.at, went=this.went)
    _leave_disks(tx, this)
    if this.steps:
        operations.advance_many(tx, this.steps, this.at)
    endings.settle(tx, this.ended, this.at)
    endings.tell(tx, this.told, this.at)
    if this.as_told:
        ports.let_go(tx, this.as_told)
    if this.off:
        moves.note_off(tx, this.off)
        nudge(tx, moves.TOPIC)
    if any(row.attention for row in this.changed.values()):
        nudge(tx, "machines")


def _leave_disks(tx: Tx, this: _Settling) -> None:
    """Machines that go to another host without ever having run: what the first one made of their disks is erased."""
    moving = [row.id for row in this.changed.values() if row.state == _S.WAITING]
    if not moving:
        return
    volumes = (v for disks in attention.volumes(tx, moving).values() for v in disks)
    # What stays when its machine goes may be older than the machine.
    held = [v for v in volumes if v.pool and not v.shared and not v.stays]
    manifests.put(tx, [wishes.scrap(v, v.host, v.pool) for v in held if v.host and v.pool])
    reservations.give(tx, [(v.host, Size(disk_mib=v.mib), 0) for v in held if v.host])
    snapshots.lost(tx, [v.id for v in held], this.at)
    sights.unpool(tx, [v.id for v in held])


def _scrapped(tx: Tx, reported: Mapping[tuple[HostId, VolumeId], int], at: datetime) -> None:
    """Erased, say their hosts: the room is free, and a machine without any disk left is gone.

    What a host has said of an earlier wish, before the machine came back to it and was given away again, is old news.
    """
    found = sights.erasing(tx, list(reported))
    gone = {(v.host, v.id) for v in found if v.host}
    read = told.read_scraps(tx, reported)
    manifests.take_back(tx, ItemKind.SCRAP, gone | read)
    carries.erased(tx, read, at)
    volume_replicas.erased(tx, read)
    reservations.give(tx, [(v.host, Size(disk_mib=v.mib), 0) for v in found if v.host])
    snapshots.lost(tx, [v.id for v in found], at)
    attachments.erased(tx, [v.id for v in found if v.machine is None], at)
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


def _known(row: MachineRow) -> dict[str, object]:
    return msgspec.json.decode(row.why or "{}", type=dict[str, object])


_RUNNING = MACHINE.next(_S.STARTING, _E.SEE_RUNNING)


def _ran(row: MachineRow) -> int:
    return row.ran or max(row.told, 1)


def _arrived(row: MachineRow) -> MachineRow:
    """It runs; what `attention.note_running` makes of its row."""
    return row._replace(
        state=_RUNNING,
        ran=_ran(row),
        tries=0,
        operation=None,
        why=_waits_no_more(row),
        generation=row.generation + 1,
    )


def _waits_no_more(row: MachineRow) -> str:
    """What it waited for is here."""
    return _without(row, "waiting", _STALLED)


def _without(row: MachineRow, *keys: str) -> str:
    """What is known of it but for this."""
    if not any(f'"{key}"' in row.why for key in keys):
        return row.why
    return msgspec.json.encode({k: v for k, v in _known(row).items() if k not in keys}).decode()


def _why(row: MachineRow, **more: object) -> str:
    return msgspec.json.encode({**_known(row), **more}).decode()


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
