"""Which member holds which farm, and how many members there should be. Pure: the master acts on what comes out.

A farm weighs one for its row and one more for each thing it has to do. Placing is the heaviest first, each to the
lightest member, ties by id, so the same farms and members give the same answer in any order. Balancing moves a farm
only when the heaviest and the lightest member are further apart than a band around the mean, and never a farm that
would only swap their roles, so it comes to rest: what it leaves is a state in which it does nothing.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import Holding

BAND = 0.25
"""How far apart the heaviest and the lightest may be, as a part of the mean."""
MOST_MOVES = 50
"""Farms moved for balance in one round: a move costs the farm a pause."""
HIGH, LOW = 75, 40
"""Percent of CPU above which there should be one member more, and below which the others could do with one less."""


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """`farm` goes to `to`."""

    farm: FarmId
    to: SegmentId


def weight(farm: Holding) -> int:
    """What holding it costs."""
    return 1 + farm.load


def weights(held: Iterable[Holding], members: Iterable[SegmentId]) -> dict[SegmentId, int]:
    """What each member holds; farms of others are left out."""
    found = dict.fromkeys(members, 0)
    for farm in held:
        if farm.holder in found:
            found[farm.holder] += weight(farm)
    return found


def placed(farms: Iterable[Holding], loads: Mapping[SegmentId, int]) -> list[Move]:
    """A holder for each of these farms, given what members hold already. None when there are no members."""
    line = [(load, member) for member, load in loads.items()]
    heapq.heapify(line)
    moves = []
    for farm in sorted(farms, key=lambda each: (-weight(each), each.farm)):
        if not line:
            break
        load, member = line[0]
        heapq.heapreplace(line, (load + weight(farm), member))
        moves.append(Move(farm.farm, member))
    return moves


def balanced(held: Iterable[Holding], members: Iterable[SegmentId]) -> list[Move]:
    """The few moves that bring members within the band of each other."""
    loads = weights(held := list(held), members)
    if len(loads) < 2:
        return []
    owned: dict[SegmentId, list[tuple[int, FarmId]]] = {member: [] for member in loads}
    for farm in held:
        if farm.holder in owned and farm.confirmed:  # one that is on its way stays on it
            owned[farm.holder].append((weight(farm), farm.farm))
    for farms in owned.values():
        farms.sort()
    moves: list[Move] = []
    band = max(1.0, BAND * sum(loads.values()) / len(loads))
    while len(moves) < MOST_MOVES:
        low, high = _ends(loads)
        apart = loads[high] - loads[low]
        at = bisect_right(owned[high], apart / 2, key=lambda each: each[0]) - 1
        if apart <= band or at < 0:
            break
        size, farm_id = owned[high].pop(at)
        loads[high] -= size
        loads[low] += size  # not into `owned`: nothing moves twice in a round
        moves.append(Move(farm_id, low))
    return moves


def wanted(percents: Sequence[int], least: int, most: int) -> int:
    """How many members there should be, given the CPU of those that are live: one more, one less, or as many."""
    count = len(percents)
    if count < least:
        return least
    if count > most:
        return max(most, 1)
    total = sum(percents)
    if count and total / count > HIGH and count < most:
        return count + 1
    if count > max(least, 1) and total / (count - 1) < LOW:
        return count - 1
    return count


def _ends(loads: Mapping[SegmentId, int]) -> tuple[SegmentId, SegmentId]:
    """The lightest and the heaviest."""
    low = min(loads, key=lambda member: (loads[member], member))
    high = max(loads, key=lambda member: (loads[member], member))
    return low, high
