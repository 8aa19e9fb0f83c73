"""A zone: where machines can be, with the VLANs or VNIs that its guest networks are told apart by."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import ZoneId
from arable.domain.layer2 import FIRST_VNI, LAST_VLAN, LAST_VNI, OVERHEAD, is_vni
from arable.domain.router_runtime import RouterRuntime

FIRST_TAG, LAST_TAG = 2, LAST_VLAN
"""802.1Q: 0 and 4095 are reserved, and 1 is what switches take untagged frames for."""
MOST_VNIS = 65_536
"""Of a run: each is a row."""
USUAL_MTU = 1500
"""Of guests at most: what every card and every guest can."""


class Isolation(StrEnum):
    """How guest networks of a zone are kept apart."""

    VLAN = "vlan"  # 802.1Q, on switches that carry the zone's VLANs to every pod
    VXLAN = "vxlan"  # RFC 7348, between hosts: between pods layer 3 is enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """`guest_cidr` is what networks get that are made on first use, `underlay_mtu` what goes between its hosts.

    `router_runtime` is what routing appliances are that start from now on.
    """

    id: ZoneId
    name: str
    region: str = "local"
    enabled: bool = True
    dns_domain: str = "internal"
    resolvers: tuple[str, ...] = ()
    guest_cidr: str = "10.1.1.0/24"
    isolation: Isolation = Isolation.VLAN
    underlay_mtu: int = USUAL_MTU
    router_runtime: RouterRuntime = RouterRuntime.NAMESPACE
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Zone":
        """The same zone with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, order=True)
class Tags:
    """A run of VLAN tags, or of VNIs, both ends included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, tag: int) -> bool:
        return self.first <= tag <= self.last

    def meets(self, other: "Tags") -> bool:
        """Whether the two have a tag in common."""
        return self.first <= other.last and other.first <= self.last


def check_tags(
    asked: Tags, there: Iterable[Tags], field: str, isolation: Isolation = Isolation.VLAN
) -> None:
    """Raises unless `asked` can be added to a zone of that isolation that has the runs `there`."""
    tunnelled = isolation is Isolation.VXLAN
    first, last = (FIRST_VNI, LAST_VNI) if tunnelled else (FIRST_TAG, LAST_TAG)
    what = "VNI" if tunnelled else "VLAN"
    if asked.first > asked.last:
        raise BadInput(f"the first {what} comes after the last, so there is none", field=field)
    if asked.first < first or asked.last > last:
        raise BadInput(f"{what}s are numbers from {first} to {last}", field=field)
    if len(asked) > MOST_VNIS:
        raise BadInput(f"at most {MOST_VNIS} at once; add more when they are used", field=field)
    for run in there:
        if run.meets(asked):
            raise Conflict(
                f"the zone has the {what}s {run.first} to {run.last} already", field=field
            )


def guest_mtu(underlay: int, tag: int) -> int:
    """What a guest may send in a frame, where the underlay takes so much."""
    return min(USUAL_MTU, underlay - OVERHEAD if is_vni(tag) else underlay)
