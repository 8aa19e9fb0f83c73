"""What the master asks of whatever management servers run on. Controllers are handed one; they know no driver.

Each verb may be said again: whoever asked may have died before the answer came, and the next master asks anew.
"""

from dataclasses import dataclass
from typing import Protocol

from arable.domain.ids import SegmentId


@dataclass(frozen=True, slots=True)
class Place:
    """Which server is meant. `address` is its gateway's, HOST:PORT."""

    segment: SegmentId
    address: str = ""
    site: str = ""


class Platform(Protocol):
    """Raises `Unavailable` for what it can't do, with what to do about it. Calls block, for seconds at most."""

    @property
    def name(self) -> str:
        """As it is chosen."""

    def restart(self, place: Place) -> None:
        """End that server's process, however it clings to life, and have it started again."""

    def start(self) -> None:
        """One server more."""

    def stop(self, place: Place) -> None:
        """That server ends in order and is not started again."""
