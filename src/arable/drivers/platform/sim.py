"""A platform for simulated clouds: what should happen to a server is handed on, and what was asked is remembered."""

from collections.abc import Callable
from dataclasses import dataclass, field

from arable.domain.platform import Place


@dataclass(slots=True)
class SimPlatform:
    """`restarts` does it. Servers that were started or stopped are for the world to look at."""

    restarts: Callable[[Place], None] = lambda _place: None
    name: str = "sim"
    restarted: list[Place] = field(default_factory=list)
    started: int = 0
    stopped: list[Place] = field(default_factory=list)

    def restart(self, place: Place) -> None:
        self.restarted.append(place)
        self.restarts(place)

    def start(self) -> None:
        self.started += 1

    def stop(self, place: Place) -> None:
        self.stopped.append(place)
