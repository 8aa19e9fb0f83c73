"""The lines between simulated regions and their grid manager: messages are lost, doubled, late, and lines are cut.

Whoever asks gets the answer, or hears that there was none; then what was asked may have been done, may be done later,
or never. Every message is really encoded and parsed by whoever uses this.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from arable.client.errors import CallError, Unreachable
from arable.domain import chunks as cut
from arable.domain.chunks import ChunkList
from arable.domain.errors import CloudError, Corrupt, Unavailable
from arable.runtime.clock import Clock
from arable.runtime.entropy import Random
from arable.services.grid_desk import GridDesk

MANAGER = "grid"
FATES = ("ask", "answer", "double", "late", "again")
"""Lost before it arrives; done, and the answer lost; done twice; done later, and not heard of; done, and later again."""
_LATEST = 120.0  # seconds

T = TypeVar("T")


class DiedError(BaseException):
    """Whoever asked dies where it stands."""


@dataclass
class Wan:
    """`trouble`: the share of messages to which something happens. `fates` are of the next ones, before the dice."""

    clock: Clock
    dice: Random
    trouble: float = 0.0
    deaths: float = 0.0  # the share of answers after which whoever asked dies
    cut: set[frozenset[str]] = field(default_factory=set)
    fates: list[str] = field(default_factory=list)
    delivered: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """How often a chunk came whole: to which region, of which part, which one."""
    _waiting: list[tuple[float, str, str, Callable[[], Any]]] = field(default_factory=list)

    def linked(self, one: str, other: str) -> bool:
        """Whether there is a way between them."""
        return frozenset((one, other)) not in self.cut

    def ask(self, source: str, target: str, deliver: Callable[[], T]) -> T:
        """Have that done there. Raises `Unavailable` without an answer, or what it was refused with."""
        if not self.linked(source, target):
            raise Unavailable(f"{target} can't be reached")
        fate = self._fate()
        if fate == "ask":
            raise Unavailable(f"{target} does not answer")
        if fate in ("late", "again"):
            due = self.clock.monotonic() + self.dice.uniform(0.0, _LATEST)
            self._waiting.append((due, source, target, deliver))
        if fate == "late":
            raise Unavailable(f"{target} does not answer")
        answer = deliver()
        if fate == "double":
            answer = deliver()
        if fate == "answer":
            raise Unavailable(f"the answer of {target} was lost")
        if self.deaths and self.dice.random() < self.deaths:
            raise DiedError(source)
        return answer

    def tick(self) -> None:
        """What is late arrives, if there is a way by now; nobody hears what becomes of it."""
        now = self.clock.monotonic()
        due = [each for each in self._waiting if each[0] <= now]
        self._waiting = [each for each in self._waiting if each[0] > now]
        self.dice.shuffle(due)
        for _at, source, target, deliver in due:
            if self.linked(source, target):
                with suppress(CloudError):
                    deliver()

    def forget(self, region: str, sha256: str) -> None:
        """That part is not there any more: it may come again."""
        for key in [key for key in self.delivered if key[:2] == (region, sha256)]:
            del self.delivered[key]

    def heal(self) -> None:
        """All of it is whole. What is on its way arrives."""
        self.trouble = self.deaths = 0.0
        self.cut.clear()
        self.fates.clear()

    def _fate(self) -> str:
        if self.fates:
            return self.fates.pop(0)
        if self.trouble and self.dice.random() < self.trouble:
            return self.dice.choice(FATES)
        return ""


@dataclass
class Source:
    """A region that is asked for parts (`controllers/fetching.py`), and the one line to it."""

    name: str
    by: str  # the region that asks
    wan: Wan
    desk: Callable[[], GridDesk]
    """Of some management server there. Raises `Unavailable`."""

    def line(self) -> "Source":
        self._asked(lambda: None)
        return self

    def load(self) -> float:
        return self._asked(lambda: 0.0)

    def chunk_list(self, sha256: str, most: int) -> bytes:
        return self._asked(lambda: self.desk().part(self.by, sha256).encode()[:most])

    def chunks(self, sha256: str, want: str) -> Any:
        """One after the other; the line may be cut between two, and a chunk be damaged on its way."""
        desk = self.desk
        part = self._asked(lambda: desk().part(self.by, sha256))
        for number in cut.read(want, len(part)):
            (data,) = self._asked(partial(_read, desk, part, number))
            packed = bytearray(cut.packed(number, data))
            if self.wan.trouble and self.wan.dice.random() < self.wan.trouble / 4:
                packed[-1] ^= 1
            else:
                self.wan.delivered[self.by, sha256, number] += 1
            yield bytes(packed)

    def keep(self, _line: object) -> None:
        pass

    def close(self) -> None:
        pass

    def hang_up(self) -> None:
        pass

    def _asked(self, deliver: Callable[[], T]) -> T:
        """A line is one connection: it loses nothing and doubles nothing, but it may be cut."""
        if not self.wan.linked(self.by, self.name):
            raise Unreachable(f"{self.name} can't be reached")
        if self.wan.trouble and self.wan.dice.random() < self.wan.trouble / 2:
            raise Unreachable(f"the line to {self.name} was cut")
        try:
            return deliver()
        except Corrupt:
            raise
        except CloudError as error:
            raise CallError(f"{self.name}: {error.public}") from error


def _read(desk: Callable[[], GridDesk], part: ChunkList, number: int) -> list[bytes]:
    return desk().read(part, [number])


def names(regions: Sequence[str]) -> list[frozenset[str]]:
    """All links between them, and to the grid manager."""
    ends = [*regions, MANAGER]
    return [frozenset((a, b)) for at, a in enumerate(ends) for b in ends[at + 1 :]]
