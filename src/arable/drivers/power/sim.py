"""A simulated machine's power: what a switch does is handed on, and may fail before it or after it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from arable.domain.power import PowerState
from arable.drivers.faults import Faults


@dataclass(slots=True)
class SimPower:
    """`powered` tells and `switch` does. `slow` looks see it neither on nor off after it was switched."""

    powered: Callable[[], bool]
    switch: Callable[[bool], None]
    faults: Faults = field(default_factory=Faults)
    slow: int = 0
    _changing: int = 0

    def state(self) -> PowerState:
        with self.faults.around("state"):
            if self._changing:
                self._changing -= 1
                return PowerState.CHANGING
            return PowerState.ON if self.powered() else PowerState.OFF

    def off(self) -> None:
        self._set(on=False)

    def on(self) -> None:
        self._set(on=True)

    def _set(self, *, on: bool) -> None:
        with self.faults.around("on" if on else "off"):
            if self.powered() != on:
                self.switch(on)
                self._changing = self.slow
