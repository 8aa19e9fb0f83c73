"""How many machines may be on their way to other hosts at a time, and how they may go: the operator's limits."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from arable.domain.ids import HostId
from arable.domain.settings import (
    MOVE_DOWNTIME_MS,
    MOVE_MIB_PER_SECOND,
    MOVE_SECONDS,
    MOVES_PER_HOST,
    MOVES_PER_POD,
    MOVES_PER_ZONE,
)
from arable.domain.units import MIB
from arable.store import moves, settings
from arable.store.database import Tx
from arable.store.moves import MoveRow

Area = tuple[str, str]
"""A host, a pod or a zone: what it is, and its id."""


@dataclass(slots=True)
class Turns:
    """Of one round. `take` counts those that set out in it."""

    most: Mapping[str, int]
    areas: Mapping[HostId, tuple[Area, ...]]
    taken: Counter[Area] = field(default_factory=Counter)

    @classmethod
    def of(cls, tx: Tx, hosts: Iterable[HostId]) -> "Turns":
        """As it is now; `hosts` are those that may have to do with it."""
        under_way = moves.all_bound(tx)
        known = {*hosts, *(row.source for row in under_way)}
        known |= {row.target for row in under_way if row.target}
        places = moves.places(tx, known)
        areas = {
            host: (("host", host), ("pod", place.pod), ("zone", place.zone))
            for host, place in places.items()
        }
        most = {
            "host": settings.get(tx, MOVES_PER_HOST),
            "pod": settings.get(tx, MOVES_PER_POD),
            "zone": settings.get(tx, MOVES_PER_ZONE),
        }
        made = cls(most, areas)
        for row in under_way:
            if row.target:
                made.take(row.source, row.target)
        return made

    def free(self, host: HostId) -> bool:
        """Whether one more may begin or end there."""
        return all(self.taken[area] < self.most[area[0]] for area in self.areas.get(host, ()))

    def take(self, source: HostId, target: HostId) -> None:
        """One more goes from here to there."""
        self.taken.update({*self.areas.get(source, ()), *self.areas.get(target, ())})


def manner(tx: Tx, row: MoveRow) -> MoveRow:
    """How it goes, from now to its end, whatever becomes of the settings."""
    return row._replace(
        bytes_per_second=settings.get(tx, MOVE_MIB_PER_SECOND) * MIB,
        downtime_ms=settings.get(tx, MOVE_DOWNTIME_MS),
        seconds=settings.get(tx, MOVE_SECONDS),
    )
