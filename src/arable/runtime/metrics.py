"""What a process counts of itself: plain numbers, added to where the work is done and read when somebody looks.

Adding must cost next to nothing, so nothing here locks, formats or knows of Prometheus (`api/figures.py` does). Each
number has one thread that adds to it; a reader may see one that is a moment old.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PIECES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


class Tally:
    """How often a value fell between two bounds, and the sum of all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


@dataclass(slots=True)
class WriterFigures:
    """Of the store's writer."""

    pieces: Tally = field(default_factory=lambda: Tally(PIECES))  # in one transaction
    seconds: Tally = field(default_factory=lambda: Tally(SECONDS))  # of one transaction
    failures: int = 0  # transactions that failed as a whole


@dataclass(slots=True)
class ControllerFigures:
    """Of one controller. `row` are its failures since it last succeeded."""

    rounds: int = 0
    handled: int = 0
    seconds: float = 0.0
    last: float = 0.0  # seconds of the last round
    failures: int = 0
    row: int = 0
    told: str = ""  # what its last failure said
    since: float | None = None  # by the monotonic clock, while a round is under way
    about: str = ""  # what that round is about


@dataclass(slots=True)
class GatewayFigures:
    """Of the agents' gateway: messages and bytes within them, without TLS and framing."""

    frames: int = 0
    sent: int = 0
    received: int = 0
    reports: int = 0


@dataclass(slots=True)
class MasterFigures:
    """Whether this server acts for the region, and since which election. Whoever elects sets it."""

    acting: bool = False
    epoch: int = 0


@dataclass(slots=True)
class FarmFigures:
    """Of the farms that this server acts for."""

    held: int = 0
    failing: int = 0  # their work fails, and is tried less and less often


@dataclass(slots=True)
class DeliveryFigures:
    """Of telling operators."""

    delivered: int = 0
    failures: int = 0


@dataclass(slots=True)
class Figures:
    """All that one management server counts."""

    writer: WriterFigures = field(default_factory=WriterFigures)
    controllers: dict[str, ControllerFigures] = field(default_factory=dict)
    gateway: GatewayFigures = field(default_factory=GatewayFigures)
    master: MasterFigures = field(default_factory=MasterFigures)
    farms: FarmFigures = field(default_factory=FarmFigures)
    deliveries: DeliveryFigures = field(default_factory=DeliveryFigures)
    lag: Tally = field(default_factory=lambda: Tally(SECONDS))  # how late the event loop comes

    def controller(self, name: str) -> ControllerFigures:
        """Those of one controller."""
        return self.controllers.setdefault(name, ControllerFigures())
