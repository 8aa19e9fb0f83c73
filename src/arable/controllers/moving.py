"""Moves of machines from host to host while they run, step by step as docs/decisions/0008 has it.

What is to be done next is `domain/move.after`'s to say; here it is found out and written down, each time in one
transaction, so whoever dies in between is followed by one who sees the same. Whose the machine is, its storage host says,
and nobody else. While a move is under way nothing else is told about its machine: what its owner asks for in the
meantime has the move taken back, and comes next.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from arable.controllers import setting_out, settle, shifting, wishes
from arable.controllers.shelves import next_epochs
from arable.controllers.turns import manner
from arable.domain.errors import CloudError, Conflict, NoRoom, Unavailable
from arable.domain.event import Event
from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, NetworkId, OperationId, PoolId
from arable.domain.machine import MachineState, MachineWish
from arable.domain.manifest import ExportState
from arable.domain.move import MOVE, MoveEvent, MoveSight, MoveStage, after, immovable
from arable.domain.units import Size
from arable.store import (
    attention,
    carries,
    events,
    exports,
    incarnations,
    moves,
    operations,
    reservations,
)
from arable.store import wishes as manifests
from arable.store.attention import BootRow, MachineRow, NicRow, VolumeRow
from arable.store.carries import Carry
from arable.store.database import Tx
from arable.store.exports import ExportRow
from arable.store.moves import TOPIC, MoveRow
from arable.store.nudges import nudge

SECONDS = 2
"""Between rounds; what hosts say of moves nudges."""
MOST = 500
"""In one round."""

_E, _S = MoveEvent, MoveStage
_COLUMNS = ("host", "attention", "told", "epoch", "fenced", "generation", "changed_at")
_OWN = ("it was called off", "something else was asked for it", "it shut itself down")
"""Ends that say nothing about whether it could have moved."""


@dataclass(slots=True)
class _Round:
    """What one round has read and is about to write."""

    tx: Tx
    at: datetime
    nics: dict[MachineId, list[NicRow]]
    volumes: dict[MachineId, list[VolumeRow]]
    boots: dict[MachineId, BootRow]
    exports: dict[MachineId, ExportRow]
    places: dict[HostId, moves.Place]
    pools: dict[HostId, PoolId]
    carries: dict[MachineId, list[Carry]] = field(default_factory=dict)
    items: list[manifests.Item] = field(default_factory=list)
    presence: set[tuple[NetworkId, HostId]] = field(default_factory=set)
    changes: list[dict[str, object]] = field(default_factory=list)
    decided: list[MoveRow] = field(default_factory=list)
    back: list[tuple[HostId, Size, int]] = field(default_factory=list)
    steps: dict[OperationId, str] = field(default_factory=dict)
    ended: dict[OperationId, tuple[int, CloudError | None]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    halted: list[MachineRow] = field(default_factory=list)
    over: int = 0

    def name(self, host: HostId | None) -> str:
        place = self.places.get(host) if host else None
        return place.name if place else str(host)

    def state(self, host: HostId | None) -> HostState | None:
        place = self.places.get(host) if host else None
        return HostState(place.state) if place else None

    def step(self, move: MoveRow, text: str) -> None:
        if move.operation:
            self.steps[move.operation] = text

    def change(self, row: MachineRow, *, wake: bool) -> None:
        self.changes.append(
            {
                "id": row.id,
                "host": row.host,
                "attention": row.attention or wake,
                "told": row.told,
                "epoch": row.epoch,
                "fenced": row.fenced,
                "generation": row.generation,
                "changed_at": attention.stamp(self.at),
            }
        )

    def tell(self, row: MachineRow, move: MoveRow) -> None:
        """All three hosts, by a generation of their own."""
        told = row._replace(generation=row.generation + 1, told=row.generation + 1)
        nics, volumes = self.nics.get(row.id, []), self.volumes[row.id]
        self.items += wishes.moving(told, self.boots[row.id], nics, volumes, move)
        self.change(told, wake=False)


def watch(tx: Tx, at: datetime) -> int:
    """One round; how many moves went on."""
    if incarnations.taking_stock(tx):
        return 0
    ids = moves.under_way(tx, MOST)
    if not ids:
        return 0
    rows = attention.machines_by_id(tx, ids)
    known = {id_: row for id_, row in moves.of(tx, ids).items() if row.stage != _S.OVER}
    this = _read(tx, rows, known.values(), at)
    todo = [(move, after(_sight(this, rows.get(id_), move))) for id_, move in known.items()]
    ready = [
        (rows[move.id], move)
        for move, then in todo
        if then.do is _E.START and move.id in rows and not _unfit(this, rows[move.id], move)
    ]
    found: dict[MachineId, HostId | NoRoom] = {
        row.id: move.source for row, move in ready if move.shifts
    }
    others = [(row, move) for row, move in ready if not move.shifts]
    found |= setting_out.find(tx, others, this.volumes) if others else {}
    hosts = {host for host in found.values() if isinstance(host, str)}
    _read_more(tx, this, hosts)
    reservations.hold(tx, _touched(this, known.values(), hosts))
    _start(tx, this, [(row, move, found[row.id]) for row, move in ready if row.id in found])
    for move, then in todo:
        row = rows.get(move.id)
        if then.do is _E.DROP:
            _over(this, move, then.why, Conflict(then.why))
        elif row is not None and then.do not in (None, _E.START):
            _STEPS[then.do](this, row, move, then.why)
        elif then.do is _E.START and (row is None or (why := _unfit(this, row, move))):
            told = why if row is not None else "the machine is gone"
            if told is not _LATER:
                _over(this, move, told, Conflict(told))
    for move in known.values():
        if move.shifts and move.sent_bytes and move.id not in {one.id for one in this.decided}:
            shifting.tell(tx, this.carries.get(move.id, []), move)
    _write(tx, this)
    if gone := [move.id for move in this.decided if move.id not in rows]:
        moves.forget(tx, gone)
    return len(this.decided)


_LATER = "later"


def _unfit(this: _Round, row: MachineRow, move: MoveRow) -> str:
    """Why one that waits can't set out: for good, or `_LATER`, or nothing."""
    volumes = this.volumes.get(row.id, [])
    if move.shifts:
        stores = {move.wanted, row.host, *(volume.host for volume in volumes)}
        up = all(this.state(host) is HostState.UP for host in stores)
        fit = shifting.ready(row, this.exports.get(row.id), up)
        return shifting.unfit(row, move, volumes) or ("" if fit else _LATER)
    state = MachineState(row.state)
    if row.wish != MachineWish.RUNNING or state not in (
        MachineState.RUNNING,
        MachineState.STARTING,
    ):
        return f"it is {row.state}"
    if row.host == move.wanted:
        return "it is there already"
    if row.host != move.source:
        return "it went to another host meanwhile"
    if why := immovable([v.host if v.address else None for v in volumes]):
        return why
    known = this.exports.get(row.id)
    held = known is not None and (known.state, known.epoch, known.holder) == (
        ExportState.HELD,
        row.epoch,
        row.host,
    )
    hosts = {row.host, *(volume.host for volume in volumes)}
    if any(volume.change for volume in volumes):  # what its guest has is about to change
        return _LATER
    up = all(this.state(host) is HostState.UP for host in hosts)
    return "" if held and up and state is MachineState.RUNNING and not row.attention else _LATER


def _read(
    tx: Tx, rows: dict[MachineId, MachineRow], known: Iterable[MoveRow], at: datetime
) -> _Round:
    ids = list(rows)
    this = _Round(
        tx,
        at,
        attention.nics(tx, ids),
        attention.volumes(tx, ids),
        attention.boots(tx, ids),
        exports.some(tx, ids),
        {},
        {},
    )
    hosts = {host for move in known for host in (move.source, move.target) if host}
    hosts |= {row.host for row in rows.values() if row.host}
    hosts |= {v.host for volumes in this.volumes.values() for v in volumes if v.host}
    shifts = [move for move in known if move.shifts]
    hosts |= {move.wanted for move in shifts if move.wanted}
    _read_more(tx, this, hosts)
    this.carries = carries.with_machines(tx, [move.id for move in shifts])
    return this


def _read_more(tx: Tx, this: _Round, hosts: set[HostId]) -> None:
    new = hosts - this.places.keys()
    if new:
        this.places |= moves.places(tx, new)
        this.pools |= attention.local_pools(tx, new)


def _touched(this: _Round, known: Iterable[MoveRow], hosts: set[HostId]) -> set[HostId]:
    """All hosts that may be written of, to be held at once and in order."""
    there = {host for move in known for host in (move.source, move.target, move.wanted) if host}
    return there | hosts | {v.host for vs in this.volumes.values() for v in vs if v.host}


def _sight(this: _Round, row: MachineRow | None, move: MoveRow) -> MoveSight:
    export = this.exports.get(move.id)
    waits = move.stage == _S.WAITING
    runs = waits or (
        row is not None
        and row.host == move.source
        and (row.state, row.wish) == (MachineState.RUNNING, MachineWish.RUNNING)
        and not row.attention
    )
    held = export is not None and move.target is not None
    since, target = (attention.stamp(this.at) - move.changed_at) / 1e6, this.state(move.target)
    if move.shifts:
        since = shifting.stage_seconds(move, since)
        target = shifting.target_state(target, this.state(move.wanted))
        gone = shifting.arrived(move, export)
    else:
        gone = bool(held and export and (export.epoch, export.holder) == (move.epoch, move.target))
    return MoveSight(
        stage=MoveStage(move.stage),
        runs=runs,
        cancelled=move.cancelled,
        off=move.off,
        failing=move.failing,
        told=move.told,
        offered="" if move.shifts else move.offered,
        address=move.address,
        since=since,
        seconds=move.seconds,
        source=this.state(move.source) or HostState.DOWN,
        target=target,
        arrived=gone,
        revoked=bool(export and move.generation and export.generation == move.generation),
    )


def _start(tx: Tx, this: _Round, placed: list[tuple[MachineRow, MoveRow, HostId | NoRoom]]) -> None:
    """The room is held on both from now on, and the storage host and the target are told."""
    for _, move, answer in placed:
        if isinstance(answer, NoRoom):
            _over(this, move, answer.public, answer)
    going = [(row, move, host) for row, move, host in placed if isinstance(host, str)]
    epochs = next_epochs(tx, {row.id: row.epoch for row, _, _ in going})
    for row, move, target in going:
        if move.shifts:
            _shift(tx, this, row, move, epochs[row.id])
            continue
        if reservations.take(tx, {target: (_size(row), 1)}):
            continue  # others took the room since: the next round looks anew
        begun = _next(this, manner(tx, move), _E.START)
        begun = begun._replace(target=target, epoch=epochs[row.id], address="")
        this.decided.append(begun)
        this.presence |= {(nic.network, target) for nic in this.nics.get(row.id, ())}
        this.tell(row, begun)
        if pool := this.pools.get(target):
            this.items += wishes.arrives(target, pool, this.volumes[row.id])
        this.step(move, f"goes from {this.name(move.source)} to {this.name(target)}")


def _shift(tx: Tx, this: _Round, row: MachineRow, move: MoveRow, epoch: int) -> None:
    """Both storage hosts and the machine's are told. Their room was taken when it was asked for."""
    begun = _next(this, manner(tx, move), _E.START)._replace(target=move.source, epoch=epoch)
    this.decided.append(begun)
    this.tell(row, begun)


def _send(this: _Round, row: MachineRow, move: MoveRow, _why: str) -> None:
    """The target waits for it: its source is told where to."""
    move = _next(this, move, _E.SEND)._replace(address=move.offered)
    this.decided.append(move)
    this.tell(row, move)
    this.step(move, f"{this.name(move.target)} is ready, its memory goes over")


def _take_back(this: _Round, row: MachineRow, move: MoveRow, why: str) -> None:
    """First its storage host: until that has the wish in force, the machine may become its target's."""
    told = row._replace(generation=row.generation + 1)
    move = _next(this, move, _E.TAKE_BACK)._replace(generation=told.generation, told=why)
    this.decided.append(move)
    this.items += wishes.moving_export(told, this.volumes[row.id], move)
    this.change(told, wake=False)
    this.step(move, f"is taken back: {why}")


def _arrive(this: _Round, row: MachineRow, move: MoveRow, _why: str) -> None:
    """It is the target's: what is left at the source goes, and its hosts are told by the next round of its farm."""
    assert move.target is not None
    if move.shifts:
        this.items += shifting.arrive(this.tx, row, move, this.carries.get(row.id, []), this.at)
        this.change(row._replace(generation=row.generation + 1), wake=True)
        _over(this, move._replace(tries=0), "", None, _E.ARRIVE)
        return
    there = row._replace(
        host=move.target, epoch=move.epoch, fenced=None, generation=row.generation + 1
    )
    _leaves(this, row, move.source)
    this.change(there, wake=True)
    text = f"{row.name} moved from {this.name(move.source)} to {this.name(move.target)}"
    _over(this, move._replace(tries=0), "", None, _E.ARRIVE)
    this.step(move, f"runs on {this.name(move.target)}")
    this.events.append(
        Event(at=this.at, account=None, kind="machine.moved", subject=row.id, text=text)
    )


def _stay(this: _Round, row: MachineRow, move: MoveRow, _why: str) -> None:
    """It stays where it is, for sure: the target has no business with it any more."""
    assert move.target is not None
    this.change(row._replace(generation=row.generation + 1), wake=True)
    why = move.told or "it could not be moved"
    blame = 0 if why in _OWN else move.tries + 1
    error = Conflict(why) if why in _OWN else Unavailable(f"{row.name} could not be moved: {why}")
    _over(this, move._replace(tries=blame), why, error, _E.STAY)
    if move.off:
        this.halted.append(row)
    if move.shifts:
        rows = this.carries.get(row.id, [])
        stays = type(error)(f"the disks of {row.name} stay where they are: {why}")
        this.items += shifting.stay(this.tx, row, move, rows, this.at, stays)
        return
    _leaves(this, row, move.target)
    text = f"{row.name} stays on {this.name(move.source)}: {why}"
    this.events.append(
        Event(at=this.at, account=None, kind="machine.move-failed", subject=row.id, text=text)
    )


_STEPS = {
    _E.SEND: _send,
    _E.TAKE_BACK: _take_back,
    _E.ARRIVE: _arrive,
    _E.STAY: _stay,
}


def _leaves(this: _Round, row: MachineRow, host: HostId) -> None:
    """The host has it no more, and what it took there is given back."""
    this.items.append(wishes.guest_gone(host, row.id))
    this.items += wishes.seed_left(host, this.pools.get(host), this.volumes[row.id])
    this.back.append((host, _size(row), 1))


def _over(
    this: _Round, move: MoveRow, told: str, error: CloudError | None, event: MoveEvent = _E.DROP
) -> None:
    if move.shifts and event is _E.DROP:
        shifting.drop(this.tx, this.carries.get(move.id, []), this.at, error or Conflict(told))
    this.decided.append(_next(this, move, event)._replace(told=told))
    this.over += 1
    if move.operation:
        this.ended[move.operation] = (1, error)


def _next(this: _Round, move: MoveRow, event: MoveEvent) -> MoveRow:
    stage = MOVE.next(MoveStage(move.stage), event)
    return move._replace(stage=stage, changed_at=attention.stamp(this.at))


def _size(row: MachineRow) -> Size:
    return Size(row.cpus, row.cpu_mhz, row.memory_mib, 0)


def _write(tx: Tx, this: _Round) -> None:
    attention.change_machines(tx, _COLUMNS, this.changes)
    reservations.give(tx, this.back)
    manifests.note_presence(tx, this.presence)
    manifests.put(tx, this.items)
    moves.decide(tx, this.decided)
    operations.advance_many(tx, this.steps, this.at)
    operations.settle_many(tx, this.ended, this.at)
    events.add_many(tx, this.events)
    if this.halted:
        for row in attention.machines_by_id(tx, [row.id for row in this.halted]).values():
            settle.shut_down(tx, row, this.at)
    if this.over:
        nudge(tx, "machines")
        nudge(
            tx, "hosts"
        )  # a lost host's machines, and those of one that is being emptied, are free to go on
        nudge(tx, TOPIC)
