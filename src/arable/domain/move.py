"""A machine's move to another host while it runs: its stages, and what is to be done next (docs/decisions/0008, 0010).

`after` is the whole of the contract with hosts, and pure: rows and what hosts said in, one thing to do out. Whoever does
it may die at any time and do it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.lifecycle import table

PREPARES = 300.0
"""Seconds that a target has to get ready: it may have to fetch an image."""
SETTLES = 60.0
"""Seconds beyond those that a source has, after which nobody waits for its word."""


class MoveWhy(StrEnum):
    """Who wants it."""

    ASKED = "asked"  # an operator, for this one machine
    MAINTENANCE = "maintenance"  # its host is being emptied
    BALANCE = "balance"  # its host has more to do than others
    STORAGE = "storage"  # its disks are to be in another pool; it stays where it is


class MoveStage(StrEnum):
    """How far it is. In all but the first and the last, the room for it is held on both hosts."""

    WAITING = "waiting"  # for its turn, and a host
    PREPARING = "preparing"  # its storage host and its target know
    MOVING = "moving"  # its source knows where to
    RETURNING = "returning"  # it is being taken back, and may have happened all the same
    OVER = "over"


class MoveEvent(StrEnum):
    """What happens to it."""

    START = "start"
    SEND = "send"
    TAKE_BACK = "take back"
    ARRIVE = "arrive"  # its storage host says that the machine is its target's
    STAY = "stay"  # its storage host says that it never will be
    DROP = "drop"  # nobody was told of it yet


_S, _E = MoveStage, MoveEvent
MOVE = table(
    _S.WAITING,
    {_S.OVER},
    #  while        this happens  it becomes
    (_S.WAITING, _E.START, _S.PREPARING),
    (_S.WAITING, _E.DROP, _S.OVER),
    (_S.PREPARING, _E.SEND, _S.MOVING),
    (_S.PREPARING, _E.TAKE_BACK, _S.RETURNING),
    (_S.PREPARING, _E.ARRIVE, _S.OVER),
    (_S.MOVING, _E.SEND, _S.MOVING),  # the target tells another address
    (_S.MOVING, _E.TAKE_BACK, _S.RETURNING),
    (_S.MOVING, _E.ARRIVE, _S.OVER),
    (_S.RETURNING, _E.ARRIVE, _S.OVER),
    (_S.RETURNING, _E.STAY, _S.OVER),
)


def immovable(stores: Sequence[HostId | None]) -> str:
    """Why a machine can't move while it runs whose disks are on these storage hosts, None for its own; nothing if it can."""
    if not stores or None in stores:
        return "its disks are on its host"
    if len(set(stores)) > 1:
        return "its disks are on several storage hosts"
    return ""


BOUND = (MoveStage.PREPARING, MoveStage.MOVING, MoveStage.RETURNING)
"""Hosts may know of it, so nothing else is told about its machine until it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveSight:
    """All that decides. Times are in seconds; `target` is None while there is none."""

    stage: MoveStage
    runs: bool  # and should, on the source, and nothing else was asked for since
    cancelled: bool = False
    off: bool = False
    failing: bool = False
    told: str = ""
    offered: str = ""
    address: str = ""
    since: float = 0.0  # in this stage
    seconds: int = 600
    source: HostState = HostState.UP
    target: HostState | None = None
    arrived: bool = False  # the storage host says that the lease is the target's
    revoked: bool = False  # it has the wish in force that takes it back


class Next(NamedTuple):
    """What to do, and for what reason if it is an end. None: wait."""

    do: MoveEvent | None = None
    why: str = ""


def after(now: MoveSight) -> Next:
    """The next thing to do. `START` only says that nothing is against it: there has to be a host, and a turn."""
    match now.stage:
        case MoveStage.OVER:
            return Next()
        case MoveStage.WAITING:
            if now.cancelled:
                return Next(MoveEvent.DROP, "it was called off")
            return Next(MoveEvent.START) if now.runs else Next()
        case _ if now.arrived:  # whatever hosts tell, and whoever wants it back
            return Next(MoveEvent.ARRIVE)
        case MoveStage.RETURNING:
            return Next(MoveEvent.STAY) if now.revoked else Next()
    if why := _against(now):
        return Next(MoveEvent.TAKE_BACK, why)
    if now.offered and now.offered != now.address:
        return Next(MoveEvent.SEND)
    return Next()


def _against(now: MoveSight) -> str:
    """Why a move is taken back, or nothing."""
    if now.off:
        return "it shut itself down"
    if now.cancelled:
        return "it was called off"
    if not now.runs:
        return "something else was asked for it"
    if now.failing:
        return now.told or "its host could not send it"
    if now.source is HostState.DOWN:
        return "its host is down"
    if now.target is not HostState.UP:
        return f"the host that it was to go to is {now.target or 'gone'}"
    if now.stage is MoveStage.PREPARING and now.since > PREPARES:
        return "the host that it was to go to did not get ready"
    if now.stage is MoveStage.MOVING and now.since > now.seconds + SETTLES:
        return "it took too long"
    return ""
