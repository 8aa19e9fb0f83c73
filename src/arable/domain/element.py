"""An element of a tier: a place with a number that stays, and at most one machine at a time.

What stays with it when it gets another machine (its name; address and volumes where the blueprint says so) is the
element's, not the machine's. So to replace a machine is: the same element, another machine (docs/decisions/0022).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import (
    AccountId,
    ElementId,
    FarmId,
    MachineId,
    NetworkId,
    OperationId,
    TierId,
)
from arable.domain.lifecycle import table


class ElementState(StrEnum):
    """How far it is."""

    WAITING = "waiting"  # has no machine
    MAKING = "making"  # a machine was accepted, and is no way to anybody yet
    PROVING = "proving"  # it runs, and was not seen well
    SERVING = "serving"
    STANDBY = "standby"  # it could serve, and gets nobody before it is needed
    DRAINING = "draining"  # gets nobody new
    LEAVING = "leaving"  # is no member of any balancer; one may not have heard yet
    DROPPING = "dropping"  # its machine is shut down and goes
    GONE = "gone"


class ElementEvent(StrEnum):
    """What happens to it."""

    MAKE = "make"
    REFUSE = "refuse"  # the machine could not be had
    SEE_RUN = "see run"
    SEE_OFF = "see off"
    SEE_WELL = "see well"
    SEE_ILL = "see ill"
    SEE_READY = "see ready"  # it is well, and not needed yet
    PROMOTE = "promote"  # it is needed
    FAIL = "fail"
    DRAIN = "drain"
    TAKE_BACK = "take back"
    SEE_IDLE = (
        "see idle"  # nobody is led to it, and nobody is there; or that was waited for long enough
    )
    SEE_OUT = "see out"
    SEE_DROPPED = "see dropped"
    REST = "rest"  # nobody is at it any more, and it is kept ready
    DISMISS = "dismiss"


_S, _E = ElementState, ElementEvent
ELEMENT = table(
    _S.WAITING,
    {_S.GONE},
    #  while          this happens      it becomes
    (_S.WAITING, _E.MAKE, _S.MAKING),
    (_S.WAITING, _E.DISMISS, _S.GONE),
    (_S.MAKING, _E.SEE_RUN, _S.PROVING),
    (_S.MAKING, _E.REFUSE, _S.WAITING),
    (_S.MAKING, _E.FAIL, _S.LEAVING),
    (_S.MAKING, _E.DRAIN, _S.DRAINING),
    (_S.PROVING, _E.SEE_WELL, _S.SERVING),
    (_S.PROVING, _E.SEE_READY, _S.STANDBY),
    (_S.PROVING, _E.SEE_OFF, _S.MAKING),
    (_S.PROVING, _E.FAIL, _S.LEAVING),
    (_S.PROVING, _E.DRAIN, _S.DRAINING),
    (_S.SERVING, _E.SEE_ILL, _S.PROVING),
    (_S.SERVING, _E.SEE_OFF, _S.MAKING),
    (_S.SERVING, _E.FAIL, _S.LEAVING),
    (_S.SERVING, _E.DRAIN, _S.DRAINING),
    (_S.STANDBY, _E.PROMOTE, _S.PROVING),
    (_S.STANDBY, _E.SEE_ILL, _S.PROVING),
    (_S.STANDBY, _E.SEE_OFF, _S.MAKING),
    (_S.STANDBY, _E.FAIL, _S.LEAVING),
    (_S.STANDBY, _E.DRAIN, _S.DRAINING),
    (_S.DRAINING, _E.REST, _S.STANDBY),
    (_S.DRAINING, _E.SEE_IDLE, _S.LEAVING),
    (_S.DRAINING, _E.FAIL, _S.LEAVING),
    (_S.DRAINING, _E.TAKE_BACK, _S.PROVING),
    (_S.LEAVING, _E.SEE_OUT, _S.DROPPING),
    (_S.DROPPING, _E.SEE_DROPPED, _S.WAITING),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """As it is kept. `kept` are the addresses that stay, by network.

    `replaces` is a machine that it is not to keep, although nothing is wrong with it: somebody asked for another one
    (`operation` waits for that), `by_force` even if fewer elements serve then than always should. It stays until the
    next machine serves.
    """

    id: ElementId
    tier: TierId
    farm: FarmId
    account: AccountId
    number: int
    state: ElementState = ElementState.WAITING
    machine: MachineId | None = None
    blueprint_number: int = 0  # of what its machine is made
    image_version: int = 0
    kept: Mapping[NetworkId, str] = field(default_factory=dict)
    surplus: bool = False  # of a rollout, with which it ends
    tries: int = 0
    told: str = ""
    replaces: MachineId | None = None
    by_force: bool = False
    operation: OperationId | None = None
    since: datetime
    generation: int = 1

    @property
    def replaced(self) -> bool:
        """Whether it still has the machine that it is not to keep."""
        return self.replaces is not None and self.machine == self.replaces

    def after(self, event: ElementEvent, at: datetime, **but: Any) -> "Element":
        """The same element one event later; raises `Conflict` when the event can't happen now."""
        return self.changed(state=ELEMENT.next(self.state, event), since=at, **but)

    def changed(self, **but: Any) -> "Element":
        """The same element with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)
