"""How much room a pool needs so that who comes is seldom sent away. Pure, by the theory of lost calls.

Machines come by chance, stay a while and go; who finds no room is refused and does not wait. Then the chance of a
refusal depends on the offered load alone: the mean number that would be there if there were room for all. How long each
stays has no say in it, only the mean has (the formulas are insensitive), so nobody's holding time need be known.

Erlang B is for machines of one size. Kaufman and Roberts reckon with several sizes that share one pool: J. S. Kaufman,
"Blocking in a shared resource environment", IEEE Transactions on Communications 29 (1981); J. W. Roberts, "A service
system with heterogeneous user requirements" (1981).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

_LARGE = (
    1e200  # weights are relative, so they are made smaller before they are too large for a float
)


@dataclass(frozen=True, slots=True)
class Class:
    """Machines of one size: how many units each takes, and how many there would be with room for all (in the mean)."""

    units: int
    load: float

    def __post_init__(self) -> None:
        if self.units < 1 or not 0 <= self.load < float("inf"):
            raise ValueError(f"nothing can be reckoned with {self}")


def erlang_b(servers: int, load: float) -> float:
    """The chance that all of so many servers are busy when somebody comes."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked


def blocking(classes: Sequence[Class], units: int) -> list[float]:
    """The chance, for each class, that one of it finds no room in a pool of so many units."""
    return next(islice(_pools(classes), units, None))


def units_for(classes: Sequence[Class], target: float, most: int) -> int | None:
    """The smallest pool in which no class that comes at all is refused more often than `target`; `None` above `most`."""
    for units, blocked in enumerate(islice(_pools(classes), most + 1)):
        if all(
            chance <= target for each, chance in zip(classes, blocked, strict=True) if each.load
        ):
            return units
    return None


def _pools(classes: Sequence[Class]) -> Iterator[list[float]]:
    """The chances of refusal in a pool of 0, 1, 2 … units.

    The weight of "so many units are taken" is the same in every pool, so one walk tells of them all.
    """
    last = deque([1.0], maxlen=max((each.units for each in classes), default=1))
    total, units = 1.0, 0
    while True:
        weights = list(last)
        yield [min(1.0, sum(weights[-each.units :]) / total) for each in classes]
        units += 1
        weight = sum(
            each.load * each.units * weights[-each.units]
            for each in classes
            if each.units <= len(weights)
        )
        last.append(weight / units)
        total += last[-1]
        if total > _LARGE:
            total /= _LARGE
            last = deque([each / _LARGE for each in last], maxlen=last.maxlen)
