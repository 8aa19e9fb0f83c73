"""Volumes that go to another pool: what hosts say of them, and what follows (docs/decisions/0041).

There is one step in which a volume is somewhere else: the transaction that notes that its new host has all of it. Before that
it is where it was, and what is at the other host is a copy that nobody is told of; afterwards it is the other way round.
What is not the volume is erased by a `ScrapWish`, and holds its room until its host has said so.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from arable.domain.carry import CarrySeen
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import HostId, PoolId, VolumeId
from arable.domain.manifest import GIVE_UP, HostReport, ItemKind
from arable.domain.units import MIB
from arable.store import carries, carry_ends, carry_wishes, moves, operations, volumes
from arable.store import wishes as manifests
from arable.store.carries import Carry
from arable.store.database import Tx
from arable.store.nudges import nudge

SECONDS = 15


def attend(tx: Tx, at: datetime) -> int:  # noqa: ARG001 - a controller takes the time
    """One round: what hosts are told follows their addresses and the settings; how many wishes changed."""
    rows = carries.going(tx)
    if not rows:
        return 0
    found = volumes.some(tx, [row.volume for row in rows])
    told = carries.told(tx)
    items = [
        item
        for row in rows
        if row.volume in found
        for item in carry_wishes.items(tx, row, found[row.volume])
        if told.get((item.host, item.id), item.body) != item.body
    ]
    manifests.put(tx, items)
    return len(items)


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """What these hosts have of volumes that are to come to them."""
    said = {seen.operation: (report.host, seen) for report in reports for seen in report.carries}
    if not said:
        return
    rows = carries.waiting(tx, said.keys())
    for operation, row in rows.items():
        host, seen = said[operation]
        if host != row.target_host:
            continue
        if seen.done:
            _arrived(tx, row, at)
        elif seen.tries >= GIVE_UP or seen.stranger:
            _give_up(tx, row, seen, at)
        else:
            copied = seen.copied_bytes // MIB
            if (seen.told, copied) != (row.told, row.copied_mib):
                carries.tell(tx, row, seen.told, copied)
            if seen.told not in ("", row.told):
                operations.advance(tx, operation, f"waits: {seen.told}", at)
    # Those for which nobody waits any more.
    gone = [(host, key) for key, (host, _seen) in said.items() if key not in rows]
    manifests.take_back(tx, ItemKind.CARRY, gone)


def erased(tx: Tx, said: Collection[tuple[HostId, VolumeId]], at: datetime) -> None:
    """What was left of these volumes on these hosts is no more, and its room is free."""
    rows = carries.left(tx, said)
    carries.forget(tx, rows)
    carry_ends.give(tx, [(row.left_host, row.mib) for row in rows])
    for row in rows:
        carry_ends.tell(tx, row, "volume.cleared", "what was left of it elsewhere is erased", at)


def let_be(tx: Tx, volumes: Collection[VolumeId], at: datetime, why: CloudError) -> None:
    """These volumes go nowhere any more."""
    rows = carries.going_of(tx, volumes)
    _call_off(tx, rows)
    for row in rows:
        if row.machine is None:
            carry_ends.stop(tx, row, at, why)


def lost(tx: Tx, pool: PoolId, at: datetime) -> None:
    """The pool is given up: nothing comes to it, and nothing is left in it."""
    error = Unavailable("where it was to go was lost for good")
    rows = carries.into(tx, pool)
    _call_off(tx, rows)
    for row in rows:
        if row.going and row.machine:
            continue
        if row.going:
            carry_ends.end(tx, row, at, error)
        carries.over(tx, row, left=None)
        carry_ends.give(tx, [(row.target_host if row.going else row.left_host, row.mib)])


def _call_off(tx: Tx, rows: Sequence[Carry]) -> None:
    """Where the disks of machines that run are, their storage hosts say first (`shifting.py`)."""
    if machines := {row.machine for row in rows if row.going and row.machine}:
        moves.cancel(tx, machines)
        nudge(tx, moves.TOPIC)


def _arrived(tx: Tx, row: Carry, at: datetime) -> None:
    if row.there == row.source and not row.erasing:
        carry_ends.arrive(tx, row, at)
    else:  # it is on its way out where it was
        carry_ends.stop(tx, row, at, Unavailable("it is being erased"))


def _give_up(tx: Tx, row: Carry, seen: CarrySeen, at: datetime) -> None:
    error = Unavailable(f"{row.name} can't be carried to the other pool: {seen.told}")
    if not seen.stranger:
        carry_ends.stop(tx, row, at, error)
        return
    carry_ends.end(tx, row, at, error)  # what is there is not of our making, and not ours to erase
    carries.over(tx, row, left=None)
    carry_ends.give(tx, [(row.target_host, row.mib)])
