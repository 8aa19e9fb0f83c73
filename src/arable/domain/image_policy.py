"""In which regions an image should be, and which copies may be let go: pure.

A policy stands at the region that has the image, and is told to all. Each region that it means brings what it lacks by
itself: nobody is commanded, and nobody has to be reached at that moment.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from arable.domain.ids import ImageId


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """Of an image of this region. It means a region by its name (`at`), or by any of its `labels`.

    `versions`: how many of the newest should be there. `upto`: of those that are no newer than this; 0: newer ones
    follow.
    """

    image: ImageId
    at: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    versions: int = 1
    upto: int = 0
    created_at: datetime

    def means(self, region: str, labels: Collection[str]) -> bool:
        """Whether it is about that region."""
        return means(self.at, self.labels, region, labels)

    def wanted(self, numbers: Iterable[int]) -> list[int]:
        """Which of these versions should be there, the newest first."""
        return wanted(numbers, self.versions, self.upto)


def means(at: Collection[str], by: Collection[str], region: str, labels: Collection[str]) -> bool:
    """Whether a policy for these regions, and for those of these labels, means that region."""
    return region in at or not set(by).isdisjoint(labels)


def wanted(numbers: Iterable[int], versions: int, upto: int) -> list[int]:
    """The newest `versions` of these numbers, none above `upto` (0: any)."""
    fit = {number for number in numbers if not upto or number <= upto}
    return sorted(fit, reverse=True)[:versions]


class EvictionState(StrEnum):
    """Of a copy that is to be let go."""

    ASKED = "asked"  # the grid manager, which has not answered
    LEAVING = "leaving"  # it may go; nobody gets it any more, and whoever got it just before is waited for
    DONE = "done"  # it is not here any more
    KEPT = "kept"  # it was needed after all, and the grid manager has to hear so
    REFUSED = "refused"  # and is not asked for again soon


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A fetched version that nothing here uses, since then. `bytes` of parts that no other version has."""

    image: ImageId
    number: int
    bytes: int
    since: datetime


def to_go(
    copies: Iterable[Copy], over: int, age: timedelta | None, rest: timedelta, now: datetime
) -> list[tuple[Copy, str]]:
    """Which copies should go, and why: all that were unused for `age`, and then as many as free `over` bytes.

    Those that were unused for longest go first; none goes that was unused for less than `rest`. `age` None: however old.
    """
    chosen: list[tuple[Copy, str]] = []
    freed = 0
    for copy in sorted(copies, key=lambda each: (each.since, each.image, each.number)):
        unused = now - copy.since
        if age is not None and unused >= age:
            chosen.append((copy, f"nobody used it for {unused // timedelta(hours=1)} hours"))
        elif freed < over and unused >= rest:
            chosen.append((copy, "the image store needs room"))
        else:
            continue
        freed += copy.bytes
    return chosen


def refusal(region: str, others: Sequence[str], least: int) -> str:
    """Why a region must keep its copy; empty: it may go. `others` have one, can be reached, and don't let theirs go."""
    there = len([other for other in set(others) if other != region])
    if there >= least:
        return ""
    if not there:
        return "no other region that can be reached has it"
    return f"only {there} other regions that can be reached have it, and {least} should"
