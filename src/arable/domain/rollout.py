"""A rollout: the elements of a tier are made anew, some at a time, of another release; or, when that fails, of the one before."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.blueprint import Update
from arable.domain.ids import AccountId, FarmId, OperationId, RolloutId, TierId
from arable.domain.lifecycle import table
from arable.domain.tier import Release


class RolloutState(StrEnum):
    """How far it is. A tier has at most one that is not over."""

    ROLLING = "rolling"
    PAUSED = "paused"
    BACK = "back"  # the release before is being rolled out
    DONE = "done"
    FAILED = "failed"  # the tier has the release of before


class RolloutEvent(StrEnum):
    """What happens to it."""

    PAUSE = "pause"
    RESUME = "resume"
    TURN_BACK = "turn back"
    FINISH = "finish"  # every element is made of what it should be
    DROP = "drop"  # its tier is leaving


_S, _E = RolloutState, RolloutEvent
ROLLOUT = table(
    _S.ROLLING,
    {_S.DONE, _S.FAILED},
    #  while         this happens    it becomes
    (_S.ROLLING, _E.PAUSE, _S.PAUSED),
    (_S.ROLLING, _E.TURN_BACK, _S.BACK),
    (_S.ROLLING, _E.FINISH, _S.DONE),
    (_S.ROLLING, _E.DROP, _S.FAILED),
    (_S.PAUSED, _E.RESUME, _S.ROLLING),
    (_S.PAUSED, _E.TURN_BACK, _S.BACK),
    (_S.PAUSED, _E.DROP, _S.FAILED),
    (_S.BACK, _E.FINISH, _S.FAILED),
    (_S.BACK, _E.DROP, _S.FAILED),
)


class Cause(StrEnum):
    """Why it was turned back."""

    FAILURES = "failures"  # by itself
    HAND = "hand"
    DOCUMENT = "document"  # which asks for the release before again


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """As it is kept. `failures` are new elements that failed, `renewed` is how many are of what they should be.

    At `due_at` it is looked at even if nothing happens to an element: then a gate is over.
    """

    id: RolloutId
    tier: TierId
    farm: FarmId
    account: AccountId
    state: RolloutState = RolloutState.ROLLING
    before: Release
    goal: Release
    policy: Update
    failures: int = 0
    renewed: int = 0
    cause: Cause | None = None
    due_at: datetime | None = None
    told: str = ""
    operation: OperationId | None = None
    generation: int = 1
    created_at: datetime
    ended_at: datetime | None = None

    def after(self, event: RolloutEvent, at: datetime, **but: Any) -> "Rollout":
        """The same rollout one event later; raises `Conflict` when the event can't happen now."""
        state = ROLLOUT.next(self.state, event)
        ended = at if state in ROLLOUT.final else None
        return replace(self, state=state, generation=self.generation + 1, ended_at=ended, **but)

    def changed(self, **but: Any) -> "Rollout":
        """The same rollout with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)
