"""What the driver asks of whoever runs routers' machines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from arable.domain.ids import NetworkId


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A network card: the tap device behind it, its MAC, and its place. Only the first place is always taken."""

    device: str
    mac: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A router's machine as it should run. Its end of the line is bound to `line`; what it says goes to `log`."""

    network: NetworkId
    cards: tuple[Card, ...]
    line: Path
    log: Path


class Machines(Protocol):
    """Whoever runs routers' machines."""

    def running(self) -> frozenset[NetworkId]:
        """Those that run here."""

    def ensure(self, machine: Machine) -> None:
        """It runs, with these cards and no others. One that runs is not started again."""

    def remove(self, network: NetworkId) -> None:
        """No such machine runs; none is fine."""
