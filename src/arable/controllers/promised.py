"""Machines find room only beside what is promised to orders (`store/promises.py`), unless it is promised to their farms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from arable.domain.ids import FarmId, MachineId, OrderId, ZoneId
from arable.domain.order import Promise
from arable.domain.units import Size
from arable.placement.choose import Refused
from arable.store import capacity, promises
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.promises import Taken

WHY = "have room that is promised to orders"


@dataclass(slots=True)
class Kept:
    """Of one zone in one round: what is promised, and who may have no room because of that."""

    own: dict[FarmId, Promise] = field(default_factory=dict)
    farms: dict[MachineId, FarmId] = field(default_factory=dict)
    refused: dict[MachineId, Refused] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        tx: Tx,
        zone: ZoneId,
        rows: Sequence[MachineRow],
        sizes: Mapping[MachineId, Size],
        at: datetime,
    ) -> "Kept":
        """Who gets room, in turn, as long as there is more of it than is promised to others. It holds the promises."""
        found = promises.of_zone(tx, zone, at, lock=True) if promises.there(tx, zone, at) else []
        if not found:
            return cls()
        farms = promises.farms(tx, [row.id for row in rows])
        kept = cls({each.farm: each for each in found if each.farm is not None}, farms)
        counts, idle = capacity.of_zone(tx, zone)
        mhz = idle["cpu_mhz"].idle - sum(each.cpu_mhz for each in found)
        mib = idle["memory_mib"].idle - sum(each.memory_mib for each in found)
        own = {farm: [each.cpu_mhz, each.memory_mib] for farm, each in kept.own.items()}
        for row in rows:
            size, left = sizes[row.id], own.get(farms[row.id], [0, 0])
            of_own = min(size.cpu_mhz, left[0]), min(size.memory_mib, left[1])
            more = size.cpu_mhz - of_own[0], size.memory_mib - of_own[1]
            lacks = (more[0] and more[0] > mhz) or (more[1] and more[1] > mib)
            if lacks and not row.recovery:  # what was lost comes back first
                kept.refused[row.id] = Refused(row.id, {WHY: counts.total})
                continue
            left[0], left[1] = left[0] - of_own[0], left[1] - of_own[1]
            mhz, mib = mhz - more[0], mib - more[1]
        return kept

    def used(self, tx: Tx, came: Sequence[MachineRow]) -> None:
        """These have their room."""
        taken: dict[OrderId, Taken] = {}
        for row in came:
            promise = self.own.get(self.farms[row.id]) if self.own else None
            if promise is not None:
                before = taken.get(promise.order, Taken())
                taken[promise.order] = Taken(
                    before.machines + 1,
                    before.cpus + row.cpus,
                    before.cpu_mhz + row.cpu_mhz,
                    before.memory_mib + row.memory_mib,
                )
        promises.used(tx, taken)
