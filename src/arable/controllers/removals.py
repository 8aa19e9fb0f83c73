"""Hosts that will never come back: what they had is given up, and then they are forgotten.

An operator has said that such a host is gone for good, and from that moment none of its certificates counts
(`services/removals.py`). So nobody waits for its reports any more: VLANs that it held are free (rule 3), what it was to
erase is gone with it, and so are the disks that were in its own pool. Their machines are in error, and say why: started
again they begin anew from their image. Machines with shared disks lost nothing; the right to run them is kept elsewhere.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from arable.controllers import attachments, endings, pairs, rights, snapshots
from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.host import Host
from arable.domain.ids import HostId, MachineId, OperationId
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.units import Size
from arable.store import (
    attention,
    events,
    idle_pool,
    incarnations,
    moves,
    removals,
    reservations,
    routing,
    sights,
)
from arable.store import wishes as manifests
from arable.store.attention import MachineRow, VolumeRow
from arable.store.database import Tx
from arable.store.nudges import nudge

log = logging.getLogger(__name__)

SECONDS = 5
MOST = 500
LOST = "its disks were lost with their host; started again, it begins anew from its image, with empty disks"
_LEFT = "its host was lost for good; its disks were not, and it can be started again"

_S, _E, _W = MachineState, MachineEvent, MachineWish
_COLUMNS = (
    *("state", "wish", "host", "attention", "giving_up", "ran", "operation", "recovery"),
    *("why", "tries", "fenced", "generation", "changed_at"),
)


@dataclass(slots=True)
class _Clearing:
    """What one round is about to write of one host."""

    host: Host
    at: datetime
    changed: list[MachineRow] = field(default_factory=list)
    ended: list[tuple[OperationId | None, CloudError | None]] = field(default_factory=list)
    told: list[tuple[MachineRow, str, str]] = field(default_factory=list)
    left: dict[MachineId, HostId] = field(default_factory=dict)
    back: list[tuple[HostId, Size, int]] = field(default_factory=list)
    erased: list[MachineRow] = field(default_factory=list)


def attend(tx: Tx, at: datetime) -> int:
    """One round; how much was given up."""
    if incarnations.taking_stock(tx):
        return 0
    done = 0
    for host in removals.begun(tx):
        if moves.concern(tx, host.id):  # only the storage host knows whose these machines are
            continue
        ids = removals.machines(tx, host, MOST)
        if ids:
            _clear(tx, _Clearing(host, at), ids)
            done += len(ids)
            continue
        for row in routing.networks_by_id(tx, removals.networks(tx, host)):
            pairs.forsake(tx, row, host.id)
        attachments.lost(tx, host.id, host.pool, at)
        removals.finish(tx, host)
        text = f"{host.name} was removed, with all that was on it"
        events.add_many(
            tx, [Event(at=at, account=None, kind="host.removed", subject=host.id, text=text)]
        )
        nudge(tx, "networks")
        log.warning("%s (%s) was removed for good", host.name, host.id)
        done += 1
    return done


def _clear(tx: Tx, this: _Clearing, ids: Sequence[MachineId]) -> None:
    rows = attention.machines_by_id(tx, ids)
    volumes = attention.volumes(tx, ids)
    for row in rows.values():
        _give_up(this, row, volumes.get(row.id, []))
    lost = [v for disks in volumes.values() for v in disks if v.pool == this.host.pool]
    this.back += [(this.host.id, Size(disk_mib=v.mib), 0) for v in lost]
    manifests.put(tx, rights.leave(tx, this.left))
    reservations.give(tx, this.back)
    snapshots.lost(tx, [v.id for v in lost], this.at)
    sights.unpool(tx, [v.id for v in lost])
    attention.change_machines(tx, _COLUMNS, [_columns(row, this.at) for row in this.changed])
    idle_pool.note(tx, this.at, went=[row for row in rows.values() if row.host == this.host.id])
    endings.settle(tx, this.ended, this.at)
    endings.tell(tx, this.told, this.at)
    endings.gone(tx, this.erased, this.at)
    if any(row.attention for row in this.changed):
        nudge(tx, "machines")


def _give_up(this: _Clearing, row: MachineRow, disks: Sequence[VolumeRow]) -> None:
    before = row
    here = row.host == this.host.id
    if here:
        this.back.append((this.host.id, Size(row.cpus, row.cpu_mhz, row.memory_mib, 0), 1))
        if row.epoch:
            this.left[row.id] = this.host.id
        row = row._replace(host=None)
    if any(disk.pool == this.host.pool for disk in disks):
        row = _without_disks(this, row, disks)
    elif here:
        row = _without_host(this, row)
    if row is not before:
        this.changed.append(row._replace(generation=row.generation + 1))


def _without_disks(this: _Clearing, row: MachineRow, disks: Sequence[VolumeRow]) -> MachineRow:
    if row.wish in (_W.DESTROYED, _W.GONE):
        row = _stopped(row)
        elsewhere = any(disk.pool not in (None, this.host.pool) for disk in disks)
        if row.state == _S.EXPUNGING and not elsewhere:
            this.erased.append(row)
            return row
    else:
        state = MACHINE.next(_S(row.state), _E.LOSE_DISKS)
        row = row._replace(state=state, wish=_W.STOPPED, attention=False)
        this.told.append((row, "machine.error", LOST))
    return _ended(this, row._replace(ran=0), LOST)


def _without_host(this: _Clearing, row: MachineRow) -> MachineRow:
    """All of its disks are elsewhere."""
    if row.wish == _W.RUNNING and row.highly_available:
        state = _S(row.state)
        for event in (_E.LOSE_HOST, _E.RETRY):
            state = MACHINE.next(state, event)
        return row._replace(state=state, attention=True, tries=0)
    row = _stopped(row)
    if row.wish == _W.RUNNING:
        row = row._replace(wish=_W.STOPPED)
        this.told.append((row, "machine.stopped", _LEFT))
        return _ended(this, row, _LEFT)
    if row.state == _S.EXPUNGING:
        return row._replace(attention=True)
    this.ended.append((row.operation, None))
    return row._replace(operation=None)


def _stopped(row: MachineRow) -> MachineRow:
    """It is off, and what its owner wanted after that has come true."""
    state = _S(row.state)
    if MACHINE.allows(state, _E.SEE_STOPPED):
        state = MACHINE.next(state, _E.SEE_STOPPED)
        if row.wish == _W.DESTROYED:
            state = MACHINE.next(state, _E.DESTROY)
        elif row.wish == _W.GONE:
            state = MACHINE.next(state, _E.EXPUNGE)
    return row._replace(state=state)


def _ended(this: _Clearing, row: MachineRow, why: str) -> MachineRow:
    """Its operation has failed; a machine that goes away has what was wished for it."""
    if row.state == _S.EXPUNGING:
        return row._replace(attention=True)
    failed = None if row.wish == _W.DESTROYED else Unavailable(f"{row.name}: {why}")
    this.ended.append((row.operation, failed))
    told = msgspec.json.encode({"failed": why}).decode()
    return row._replace(operation=None, why=told, tries=0)


def _columns(row: MachineRow, at: datetime) -> dict[str, object]:
    return {
        "id": row.id,
        "state": row.state,
        "wish": row.wish,
        "host": row.host,
        "attention": row.attention,
        "giving_up": False,
        "ran": row.ran,
        "operation": row.operation,
        "recovery": None,
        "why": row.why,
        "tries": row.tries,
        "fenced": None,
        "generation": row.generation,
        "changed_at": attention.stamp(at),
    }
