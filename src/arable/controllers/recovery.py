"""Highly available machines of a lost host are fenced off there and started elsewhere, in one operation that shows it.

Fence and start are one act, written in one transaction: the next epoch for another holder. Its storage host cuts the old
one's disks off as soon as it reads that, and lets the new one start when nobody else can be running the machine any
more (docs/decisions/0007). So nothing here waits for anything, and a machine for which there is no place stays with its
host: if that comes back before, nothing was moved. What became of the machines is seen by their new hosts' reports.

Of a host that is merely silent those machines are lost whose lease has run out at their storage host, or was never
taken: its watchdog has stopped them, whatever else works there. The others run, and stay.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from arable.controllers import wishes
from arable.controllers.machines import asks, snapshot, take
from arable.controllers.shelves import Shelves, next_epochs
from arable.domain.alert import derived
from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.host import HostState
from arable.domain.ids import (
    AccountId,
    HostId,
    MachineId,
    NetworkId,
    OperationId,
    PoolId,
    UserId,
    ZoneId,
)
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.operation import Operation, Step
from arable.domain.units import Size
from arable.placement.choose import Placed, PlacementAsk, Refused, choose
from arable.placement.view import ZoneView
from arable.store import attention, events, incarnations, operations, recoveries, reservations
from arable.store import wishes as manifests
from arable.store.attention import BootRow, MachineRow, NicRow, VolumeRow
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.recoveries import KIND, LostHost, Recovering

SECONDS = 2
"""Between rounds; whoever declares a host down nudges (`liveness.TOPIC`)."""
TOGETHER = 200
"""Machines on their way back at one time: each makes its storage host start servers of disks."""
_LOOKED_AT = (
    2000  # in one round: those for which there is no place must not stand before the others
)
AGAIN = timedelta(seconds=10)
"""Before those that found no place are looked at again."""

_why = msgspec.json.Decoder(dict[str, object]).decode
_S = MachineState
_COLUMNS = (
    *("state", "host", "attention", "told", "why", "giving_up", "epoch", "fenced", "recovery"),
    *("tries", "generation", "changed_at"),
)


@dataclass(frozen=True, slots=True)
class _Lost:
    """What is lost: all that is on hosts that are down, and of those that are merely silent what can't run there."""

    down: Mapping[HostId, LostHost]
    run_out: Mapping[MachineId, tuple[HostId, int]]

    def has(self, row: MachineRow) -> bool:
        """Whether this machine has to be brought back."""
        able = row.highly_available and row.wish == MachineWish.RUNNING
        if not able or row.state not in (_S.RUNNING, _S.STARTING):
            return False
        return row.host in self.down or self.run_out.get(row.id) == (row.host, row.epoch)

    def still(self, row: MachineRow, held: Mapping[HostId, LostHost]) -> bool:
        """Whether that is so of it with what is certain of the hosts."""
        host = held.get(row.host) if row.host else None
        return host is not None and (host.state == HostState.DOWN or row.id in self.run_out)


@dataclass(slots=True)
class _Round:
    """What one round has read and is about to write."""

    at: datetime
    lost: dict[HostId, LostHost]
    nics: dict[MachineId, list[NicRow]]
    volumes: dict[MachineId, list[VolumeRow]]
    boots: dict[MachineId, BootRow]
    pools: dict[HostId, PoolId] = field(default_factory=dict)
    under_way: dict[HostId, tuple[OperationId, int]] = field(default_factory=dict)
    items: list[manifests.Item] = field(default_factory=list)
    presence: set[tuple[NetworkId, HostId]] = field(default_factory=set)
    changes: list[dict[str, object]] = field(default_factory=list)
    stay: dict[MachineId, tuple[MachineRow, str]] = field(default_factory=dict)
    back: list[tuple[HostId, Size, int]] = field(default_factory=list)
    moved: dict[HostId, list[HostId]] = field(default_factory=dict)  # from a lost one to these
    events: list[Event] = field(default_factory=list)


def watch(tx: Tx, at: datetime) -> int:
    """One round; how many machines were given to other hosts."""
    if incarnations.taking_stock(tx):
        return 0
    coming = _follow(tx, at)
    free = TOGETHER - coming
    if free <= 0:
        return 0
    down = recoveries.lost_hosts(tx)
    ids = recoveries.machines(tx, down, _LOOKED_AT) if down else []
    run_out = recoveries.run_out(tx, _LOOKED_AT)
    if not ids and not run_out:
        return 0
    return _begin(tx, _Lost(down, run_out), [*ids, *run_out], free, at)


def _begin(tx: Tx, lost: _Lost, ids: Sequence[MachineId], most: int, at: datetime) -> int:
    rows = [row for row in attention.machines_by_id(tx, ids).values() if lost.has(row)]
    if not rows:
        return 0
    ids = [row.id for row in rows]
    this = _Round(
        at, {}, attention.nics(tx, ids), attention.volumes(tx, ids), attention.boots(tx, ids)
    )
    able = _with_storage(tx, this, rows)
    chosen: list[tuple[MachineRow, Placed]] = []
    for zone in sorted({row.zone for row in able}):
        chosen += _choose(tx, this, zone, [row for row in able if row.zone == zone], lost)
    chosen = chosen[:most]
    reservations.hold(tx, _touched(this, chosen))
    # Only now it is certain: a host that was heard meanwhile keeps what it has.
    this.lost = recoveries.hold(tx, {row.host for row, _ in chosen if row.host})
    chosen = [each for each in chosen if lost.still(each[0], this.lost)]
    done = _move(tx, this, chosen)
    _write(tx, this)
    return done


def _with_storage(tx: Tx, this: _Round, rows: Sequence[MachineRow]) -> list[MachineRow]:
    """Those whose storage host is there, to read of the fence and to serve the disks."""
    at = {v.host for disks in this.volumes.values() for v in disks if v.host}
    known = recoveries.names(tx, at)
    able = []
    for row in rows:
        disks = this.volumes.get(row.id, [])
        away = [v.host for v in disks if v.host and known[v.host][1] != HostState.UP]
        if any(not v.address for v in disks) or not disks:
            this.stay[row.id] = (row, "its disks are on that host")
        elif away:
            name, state = known[away[0]]
            this.stay[row.id] = (row, f"the host of its disks, {name}, is {state}")
        else:
            able.append(row)
    return able


def _choose(
    tx: Tx,
    this: _Round,
    zone: ZoneId,
    rows: Sequence[MachineRow],
    lost: _Lost,
) -> list[tuple[MachineRow, Placed]]:
    """Hosts for them; those for which there is none stay where they are."""
    shelves = Shelves.of(tx, zone, [v for row in rows for v in this.volumes[row.id]])
    asked, _sizes = asks(tx, this.volumes, rows, shelves)
    view = snapshot(tx, zone, asked)
    for members in view.groups.values():  # whoever is on a lost host will be elsewhere
        for host in lost.down:
            members.pop(view.index.get(host, -1), None)
    for row, wanted in zip(rows, asked, strict=True):
        if row.host and row.host not in lost.down:
            _leaves(view, row.host, wanted)
    found = []
    for row, answer in zip(rows, choose(view, asked), strict=True):
        if isinstance(answer, Refused):
            this.stay[row.id] = (row, answer.told())
        else:
            found.append((row, answer))
    return found


def _leaves(view: ZoneView, host: HostId, ask: PlacementAsk) -> None:
    """A machine does not count any more as a member of its groups on a host where others may stay."""
    at = view.index.get(host, -1)
    for group in ask.groups:
        members = view.groups.get(group.group, {})
        left = members.pop(at, 0) - 1
        if left > 0:
            members[at] = left


def _touched(this: _Round, chosen: Sequence[tuple[MachineRow, Placed]]) -> set[HostId]:
    """All hosts that are written of, to be held at once and in order."""
    hosts = {placed.host for _, placed in chosen} | {row.host for row, _ in chosen if row.host}
    for row, _ in chosen:
        hosts |= {v.host for v in this.volumes[row.id] if v.host}
        hosts |= {host for nic in this.nics.get(row.id, ()) for host in nic.routers}
    return hosts


def _move(tx: Tx, this: _Round, chosen: Sequence[tuple[MachineRow, Placed]]) -> int:
    sizes = {row.id: Size(row.cpus, row.cpu_mhz, row.memory_mib, 0) for row, _ in chosen}
    lacking = take(tx, Shelves(), [placed for _, placed in chosen], sizes)
    epochs = next_epochs(tx, {row.id: row.epoch for row, _ in chosen})
    hosts = {placed.host for _, placed in chosen} | set(this.lost)
    this.pools = attention.local_pools(tx, hosts)
    this.under_way = recoveries.running(tx)
    for row, placed in chosen:
        if row.id not in lacking and row.host:
            _give(this, row, row.host, placed, epochs[row.id], sizes[row.id])
    return len(chosen) - len(lacking)


def _give(
    this: _Round, row: MachineRow, old: HostId, placed: Placed, epoch: int, size: Size
) -> None:
    """The machine is another host's from now on, by an epoch of its own."""
    lost, new, disks = this.lost[old], placed.host, this.volumes[row.id]
    pool = this.pools[new]
    told = row._replace(
        state=MACHINE.next(_S(row.state), MachineEvent.LOSE_HOST),
        host=new,
        epoch=epoch,
        fenced=old if lost.powered_off else None,
        giving_up=False,
        generation=row.generation + 1,
    )
    nics = this.nics.get(row.id, [])
    this.items.append(wishes.guest_gone(old, row.id))
    this.items += wishes.leaves(row.id, old, this.pools.get(old), disks)
    this.items += wishes.arrives(new, pool, disks)
    this.items.append(
        wishes.guest(told, told.generation, this.boots[row.id], new, nics, disks, pool)
    )
    this.items += wishes.export(told, told.generation, disks)
    this.presence |= {(nic.network, new) for nic in nics}
    this.back.append((old, size, 1))
    this.moved.setdefault(old, []).append(new)
    operation = this.under_way.get(old)
    recovery = operation[0] if operation else OperationId(derived("operation", this.at, KIND, old))
    this.changes.append(
        {
            "id": row.id,
            "state": told.state,
            "host": new,
            "attention": False,
            "told": told.generation,
            "why": wishes.why_placed(placed.strategy, placed.considered, placed.refused),
            "giving_up": False,
            "epoch": epoch,
            "fenced": told.fenced,
            "recovery": recovery,
            "tries": 0,
            "generation": told.generation,
            "changed_at": attention.stamp(this.at),
        }
    )
    text = f"{row.name}: its host was lost, another one starts it"
    this.events.append(
        Event(at=this.at, account=row.account, kind="machine.recovering", subject=row.id, text=text)
    )


def _write(tx: Tx, this: _Round) -> None:
    attention.change_machines(tx, _COLUMNS, this.changes)
    reservations.give(tx, this.back)
    manifests.note_presence(tx, this.presence)
    manifests.put(tx, this.items)
    stays = []
    for row, reason in this.stay.values():
        known = _why(row.why or "{}")
        if known.get("lost") != reason:
            stays.append((msgspec.json.encode({**known, "lost": reason}).decode(), row.id))
    recoveries.told(tx, stays)
    for host, to in sorted(this.moved.items()):
        _show(tx, this, this.lost[host], to)
    events.add_many(tx, this.events)


def _show(tx: Tx, this: _Round, lost: LostHost, to: Sequence[HostId]) -> None:
    """The operation that is about this host, and what was done now."""
    named = recoveries.names(tx, to)
    counts = Counter(named[host][0] for host in to)
    where = ", ".join(f"{count} on {name}" for name, count in sorted(counts.items()))
    if lost.powered_off:
        fenced = "fenced by power: the host is off"
    elif lost.state == HostState.DOWN:
        fenced = "fenced by lease: cut off from its disks, started when its time is over"
    else:
        leases = "1 lease" if len(to) == 1 else f"{len(to)} leases"
        fenced = f"fenced by lease: {leases} ran out at the storage"
    steps = (f"{lost.name} is {lost.state}", fenced, f"placed: {where}")
    running = this.under_way.get(lost.id)
    if running:
        recoveries.more(tx, running[0], len(to))
        operations.advance(tx, running[0], steps[-1], this.at)
        return
    recoveries.begin(
        tx,
        Operation(
            id=OperationId(derived("operation", this.at, KIND, lost.id)),
            account=AccountId(""),  # nobody's: only operators see it
            user=UserId(""),
            kind=KIND,
            target=lost.id,
            total=len(to),
            pending=len(to),
            steps=tuple(Step(this.at, text) for text in steps),
            created_at=this.at,
            changed_at=this.at,
        ),
    )
    what = "lost" if lost.state == HostState.DOWN else "silent, and does not renew their leases"
    text = f"{lost.name} is {what}: {len(to)} highly available machines start on other hosts"
    this.events.append(
        Event(at=this.at, account=None, kind="host.recovering", subject=lost.id, text=text)
    )


def _follow(tx: Tx, at: datetime) -> int:
    """Note who has arrived, wake those that wait for room; how many are still on their way."""
    rows = recoveries.recovering(tx)
    if not rows:
        _settle(tx, (), at)
        return 0
    over = [row for row in rows if not _on_its_way(row)]
    recoveries.arrived(tx, [row.id for row in over])
    _without_power(tx, [row for row in rows if row.state == _S.STARTING], at)
    late = at - AGAIN
    waiting = [
        row.id
        for row in rows
        if row.state == _S.WAITING and not row.attention and row.changed_at <= late
    ]
    if waiting:
        recoveries.wake(tx, waiting)
        nudge(tx, "machines")
    _settle(tx, over, at)
    return len(rows) - len(over)


def _on_its_way(row: Recovering) -> bool:
    return row.wish == MachineWish.RUNNING and row.state in (_S.WAITING, _S.STARTING)


def _settle(tx: Tx, over: Sequence[Recovering], at: datetime) -> None:
    """Of each operation as many parts are over as machines wait for it no more, whatever became of them."""
    running = recoveries.running(tx)
    if not running:
        return
    left = recoveries.left(tx, [id_ for id_, _ in running.values()])
    failed: dict[OperationId, CloudError] = {}
    arrived: Counter[OperationId] = Counter()
    for row in over:
        if row.state == _S.RUNNING:
            arrived[row.operation] += 1
        elif row.state == _S.ERROR:  # of any other its owner wants something else by now
            failed[row.operation] = Unavailable(f"{row.id} could not be started")
    operations.advance_many(tx, {id_: f"{count} running" for id_, count in arrived.items()}, at)
    done = {
        id_: (pending - left.get(id_, 0), failed.get(id_))
        for id_, pending in running.values()
        if pending > left.get(id_, 0)
    }
    operations.settle_many(tx, done, at)


def _without_power(tx: Tx, rows: Sequence[Recovering], at: datetime) -> None:
    """Hosts of which it was learnt only now that they are off: nobody needs to wait for their leases to end."""
    off = {id_ for id_, lost in recoveries.lost_hosts(tx).items() if lost.powered_off}
    whose = {id_: host for host, (id_, _) in recoveries.running(tx).items() if host in off}
    late = {row.id: whose[row.operation] for row in rows if row.operation in whose}
    fenced = recoveries.fence(tx, late)
    if fenced:
        counts = Counter(whose[row.operation] for row in rows if row.id in fenced)
        by_host = {host: id_ for id_, host in whose.items()}
        steps = {by_host[host]: "fenced by power: the host is off" for host in counts}
        operations.advance_many(tx, steps, at)
        nudge(tx, "machines")
