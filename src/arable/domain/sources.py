"""Which of the regions that hold an image version are asked for it: the nearest, and of those alike the one with less to do. Pure.

How far a region is, is measured: the round trip of one call to its grid port, made just before. What it has to do is the
larger of two shares: of its capacity that is reserved, as it told the grid, and of the answers it can send at once that
are on their way, as it says itself when it is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TOGETHER = 3
"""Regions that are asked at once; each brings as much as it can."""
LOOKED_AT = 8
"""Regions that are measured before a fetch."""

_ALIKE = 1.5  # times the nearest one's round trip, or so much more than that:
_JITTER = 0.003  # seconds


@dataclass(frozen=True, slots=True)
class Seen:
    """A region that holds it. `away` are seconds of a round trip; None: it did not answer. `load` is a share, 0 to 1."""

    region: str
    away: float | None = None
    load: float = 0.0

    def __str__(self) -> str:
        if self.away is None:
            return f"{self.region} (does not answer)"
        return f"{self.region} ({_milliseconds(self.away)} away, load {self.load:.0%})"


def ranked(seen: Sequence[Seen], turn: int = 0) -> list[Seen]:
    """The one to be asked first, first. Whoever is as near as makes no difference counts as equal: load decides.

    `turn` counts attempts that came to nothing: with each, another one of those that answer is first.
    """
    near = sorted(
        (each for each in seen if each.away is not None), key=lambda s: (s.away or 0.0, s.region)
    )
    found: list[Seen] = []
    while near:
        first = near[0].away or 0.0
        reach = max(first * _ALIKE, first + _JITTER)
        alike = [each for each in near if (each.away or 0.0) <= reach]
        found += sorted(alike, key=lambda s: (s.load, s.region))
        near = near[len(alike) :]
    turn = turn % len(found) if found else 0
    silent = sorted((each for each in seen if each.away is None), key=lambda s: s.region)
    return [*found[turn:], *found[:turn], *silent]


def told(image: str, chosen: Sequence[Seen], holders: int) -> str:
    """Why these: "image web/3: of 4 regions that have it, asks london (3 ms away, load 20%) and …"."""
    return (
        f"image {image}: of {holders} regions that have it, asks {' and '.join(map(str, chosen))}"
    )


def _milliseconds(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"
