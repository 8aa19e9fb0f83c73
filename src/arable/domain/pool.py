"""A storage pool: disks presented to hosts. It belongs to its host and goes with it; a shared one is for its pod."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from arable.domain.ids import HostId, OperationId, PoolId, ZoneId

LOCAL = "local"
NBD = "nbd"
ISCSI = "iscsi"
FILE = "file"
SHARED = frozenset({NBD, ISCSI, FILE})
"""Hosts that run machines reach these by the leases of docs/decisions/0007, which are kept at `address`; the disks of `FILE`
in a directory that they have mounted.
"""


class Fill(StrEnum):
    """How much of a pool is in use, for whoever has to see to it. Disks are thin: it fills as guests write."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    FULL = "full"  # it gets no further disks; those that are there stay in use


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From how many percent on. The more severe one counts, whatever their order."""

    warning: int
    critical: int
    full: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """As it is kept; `used_mib`, `images` and `image_mib` are what its host last said."""

    id: PoolId
    zone: ZoneId
    host: HostId | None = None
    name: str
    kind: str = LOCAL
    address: str = ""
    total_mib: int = 0
    used_mib: int = 0
    images: int = 0
    image_mib: int = 0
    fail_over: OperationId | None = None  # an operator wants its volumes brought back elsewhere
    generation: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEvicted:
    """An image part that nothing needed any more, and that went out of a pool."""

    pool: PoolId
    sha256: str
    bytes: int
    why: str


def fill(total_mib: int, used_mib: int, at: Thresholds) -> Fill:
    """Of a pool. One of which nothing is known yet is not full."""
    used, reached = used_mib * 100, Fill.OK
    if total_mib <= 0:
        return reached
    for percent, state in (
        (at.warning, Fill.WARNING),
        (at.critical, Fill.CRITICAL),
        (at.full, Fill.FULL),
    ):
        if used >= total_mib * percent:
            reached = state
    return reached
