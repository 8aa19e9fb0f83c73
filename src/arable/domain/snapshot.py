"""A snapshot: what was on a volume at one moment, kept beside it in the same file (docs/decisions/0018).

Also what is wished of the host that has it (`manifest.py` has the rest of that protocol), and what that says.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import AccountId, HostId, OperationId, PoolId, SnapshotId, VolumeId, ZoneId
from arable.domain.lifecycle import table

MOST_OF_A_VOLUME = 32
"""Snapshots: each one's table of clusters is read whenever the volume is opened."""


class SnapshotState(StrEnum):
    """How far its host has come."""

    CREATING = "creating"  # its host is to take it
    AVAILABLE = "available"
    RESTORING = "restoring"  # its volume is being set back to it
    DELETING = "deleting"
    GONE = "gone"


class SnapshotEvent(StrEnum):
    """What can happen to one."""

    SEE_TAKEN = "see taken"
    FAIL = "fail"  # its host can't take it
    RESTORE = "restore"
    SEE_RESTORED = "see restored"  # or that it can't be
    DELETE = "delete"
    SEE_GONE = "see gone"


_S, _E = SnapshotState, SnapshotEvent
SNAPSHOT = table(
    _S.CREATING,
    {_S.GONE},
    #  while          this happens       it becomes
    (_S.CREATING, _E.SEE_TAKEN, _S.AVAILABLE),
    (_S.CREATING, _E.FAIL, _S.DELETING),
    (_S.CREATING, _E.DELETE, _S.DELETING),
    (_S.AVAILABLE, _E.RESTORE, _S.RESTORING),
    (_S.AVAILABLE, _E.DELETE, _S.DELETING),
    (_S.RESTORING, _E.SEE_RESTORED, _S.AVAILABLE),
    (_S.DELETING, _E.DELETE, _S.DELETING),
    (_S.DELETING, _E.SEE_GONE, _S.GONE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`mib` is what its volume had when it was taken: so much of its pool may be needed to keep it.

    `by` is a host that is told of what is under way beside the one of its pool: there a guest has the volume's file open.
    """

    id: SnapshotId
    account: AccountId
    zone: ZoneId
    volume: VolumeId
    name: str
    mib: int
    state: SnapshotState = SnapshotState.CREATING
    operation: OperationId | None = None  # that waits for what is under way
    by: HostId | None = None
    told: str = ""  # why that is not over yet
    generation: int = 1
    created_at: datetime

    def after(self, event: SnapshotEvent, **but: Any) -> "Snapshot":
        """The same snapshot one event later."""
        state = SNAPSHOT.next(self.state, event)
        return replace(self, state=state, told="", generation=self.generation + 1, **but)


class SnapshotAct(StrEnum):
    """What is wished of a snapshot."""

    TAKE = "take"  # it is there
    DROP = "drop"  # it is not there, and what only it kept is free
    RESTORE = "restore"  # its volume was set back to it, once
    COPY = "copy"  # another volume is there, with what the snapshot keeps on it
    BRING = "bring"  # the management servers have it, as the disk of an image


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWish:
    """What an operation waits for, on the host whose pool has the volume. Taken back when it was reported to be done.

    Each is safe to do again but to set a volume back, which is done once for each operation; and only while nobody has
    the volume, nor may have it by another item.
    """

    operation: OperationId
    act: SnapshotAct
    snapshot: SnapshotId
    volume: VolumeId
    pool: PoolId
    bytes: int = 0  # that the volume has at least when it was set back, or the copy
    target: VolumeId | None = None  # the copy


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSeen:
    """How far its host is with a `SnapshotWish`. After `GIVE_UP` failures it tries no more to set a volume back."""

    operation: OperationId
    act: SnapshotAct
    done: bool
    told: str = ""
    tries: int = 0  # failed attempts in a row
