"""An image version on its way here from other regions, and what follows from how an attempt ended. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from arable.domain.errors import CloudError, Conflict, Corrupt, Unavailable
from arable.domain.ids import ImageId, TransferId
from arable.domain.units import MIB

AGAIN = timedelta(seconds=1)
"""After the first failure; doubled with each, up to `LONGEST`."""
LONGEST = timedelta(minutes=1)
DAMAGED = 3
"""Attempts in which all that could be had was damaged, until that is believed."""


class TransferState(StrEnum):
    """`FAILED`: given up; whoever wants the version again begins anew."""

    WANTED = "wanted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One version. `done` and `total` are bytes of all of its parts."""

    id: TransferId
    image: ImageId
    number: int
    state: TransferState
    holder: str = ""  # the management server that fetches it
    held_until: datetime | None = None
    done: int = 0
    total: int
    sources: str = ""
    told: str = ""
    tries: int = 0
    next_at: datetime
    moved_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a failed attempt: another one at `next_at`, or None: it is given up."""

    tries: int
    next_at: datetime | None


def judge(transfer: Transfer, error: CloudError, now: datetime, patience: timedelta) -> Verdict:
    """`transfer` as it is after the attempt: with `moved_at` if something came. `patience` is for standing still.

    What can't be reached may be reached later. Where everybody has damaged bytes, or this region can't take them (no
    room, no image at all), waiting helps nobody.
    """
    if isinstance(error, Conflict):  # another one is at it: no attempt at all
        return Verdict(transfer.tries, now + AGAIN)
    tries = transfer.tries + 1
    match error:
        case Corrupt():
            over = tries >= DAMAGED
        case Unavailable():
            over = now - transfer.moved_at >= patience
        case _:
            over = True
    pause = min(LONGEST, AGAIN * 2 ** min(tries - 1, 10))
    return Verdict(tries, None if over else now + pause)


def told(name: str, number: int, sources: str, done: int, total: int) -> str:
    """What an operation says: "fetches image web/3 from london: 40 of 120 MiB"."""
    of = f" from {sources}" if sources else ""
    return f"fetches image {name}/{number}{of}: {done // MIB} of {-(-total // MIB)} MiB"
