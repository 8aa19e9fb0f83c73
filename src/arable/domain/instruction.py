"""What grid operators may tell regions to do, and how that goes on there.

An instruction is given once, to some regions. Each carries it out by itself, once, or says why not. Nothing here knows how it
is kept or sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from arable.domain.settings import (
    GRID_MAY_CHANGE_ACCOUNTS,
    GRID_MAY_EVACUATE,
    GRID_MAY_OPEN_ACCOUNTS,
)

LONGEST_SECONDS = 30 * 86_400
_FOR = b"arable grid instruction 1\n"
"""What is signed begins with what it is for: a signature of the same key over something else can't be taken for one."""


class InstructionKind(StrEnum):
    """What is to be done."""

    EVACUATE = "evacuate"  # a zone: all its hosts go into maintenance, and what can leave them does
    CAP = "cap"  # an account: that region's own limits of it
    SUSPEND = "suspend"  # an account: its users are not let in; what it runs, runs on
    RESUME = "resume"  # an account: they are again
    OPEN = (
        "open"  # an account: it is made, if it is not there, and may be asked for from some regions
    )


class InstructionState(StrEnum):
    """How far a region is."""

    WAITING = "waiting"  # the region has not said anything of it
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # it was tried, and refused there for what `told` says
    REFUSED = "refused"  # that region follows no such instruction
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN = frozenset({InstructionState.WAITING, InstructionState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """To one region. `number`: the how-manieth to that region. `subject`: a zone's name, or an account's path.

    `origins`: from which regions an account that is opened may be asked for. `stops`: what can't leave a zone that is
    evacuated is stopped.
    """

    id: str
    region: str
    number: int
    kind: InstructionKind
    subject: str
    limits: Mapping[str, int] = field(default_factory=dict)  # -1: none
    origins: tuple[str, ...] = ()
    stops: bool = False
    given_by: str
    given_at: datetime
    expires_at: datetime

    def signed(self) -> bytes:
        """The bytes to be signed: everything, in one order. What few kinds have comes last, and only if it is said."""
        more = [self.origins, self.stops] if self.origins or self.stops else []
        return _FOR + msgspec.json.encode(
            [
                *(self.id, self.region, self.number, str(self.kind), self.subject),
                sorted(self.limits.items()),
                *(self.given_by, self.given_at.isoformat(), self.expires_at.isoformat()),
                *more,
            ]
        )


MAY = {
    InstructionKind.EVACUATE: GRID_MAY_EVACUATE,
    InstructionKind.CAP: GRID_MAY_CHANGE_ACCOUNTS,
    InstructionKind.SUSPEND: GRID_MAY_CHANGE_ACCOUNTS,
    InstructionKind.RESUME: GRID_MAY_CHANGE_ACCOUNTS,
    InstructionKind.OPEN: GRID_MAY_OPEN_ACCOUNTS,
}
"""By which setting a region's operators say whether it is followed there."""


def refusal(
    said: Instruction, *, region: str, follows: bool, signed: bool, now: datetime
) -> tuple[InstructionState, str] | None:
    """Why a region does not begin to carry it out; None: it does."""
    if not signed or said.region != region:
        return InstructionState.REFUSED, "it is not signed by the grid's authority for this region"
    if now >= said.expires_at:
        return InstructionState.EXPIRED, "its time was over before this region heard of it"
    if not follows:
        name = MAY[said.kind].name
        return (
            InstructionState.REFUSED,
            f"{region} follows no such instructions (its setting {name})",
        )
    return None
