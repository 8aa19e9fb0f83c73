"""A zone: where machines can be, with the VLANs that its guest networks are told apart by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import ZoneId

FIRST_TAG, LAST_TAG = 2, 4094
"""802.1Q: 0 and 4095 are reserved, and 1 is what switches take untagged frames for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """`guest_cidr` is what networks get that are made on first use."""

    id: ZoneId
    name: str
    region: str = "local"
    enabled: bool = True
    dns_domain: str = "internal"
    resolvers: tuple[str, ...] = ()
    guest_cidr: str = "10.1.1.0/24"
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Zone":
        """The same zone with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, order=True)
class Tags:
    """A run of VLAN tags, both ends included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, tag: int) -> bool:
        return self.first <= tag <= self.last

    def meets(self, other: "Tags") -> bool:
        """Whether the two have a tag in common."""
        return self.first <= other.last and other.first <= self.last


def check_tags(asked: Tags, there: Iterable[Tags], field: str) -> None:
    """Raises unless `asked` can be added to a zone that has the runs `there`."""
    if asked.first > asked.last:
        raise BadInput("the first VLAN comes after the last, so there is none", field=field)
    if asked.first < FIRST_TAG or asked.last > LAST_TAG:
        raise BadInput(f"VLANs are numbers from {FIRST_TAG} to {LAST_TAG}", field=field)
    for run in there:
        if run.meets(asked):
            raise Conflict(f"the zone has the VLANs {run.first} to {run.last} already", field=field)


def runs(tags: Sequence[int]) -> tuple[Tags, ...]:
    """Tags in ascending order, as the fewest runs."""
    found: list[Tags] = []
    for tag in tags:
        if found and found[-1].last == tag - 1:
            found[-1] = Tags(found[-1].first, tag)
        else:
            found.append(Tags(tag, tag))
    return tuple(found)
