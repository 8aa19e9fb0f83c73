"""What a region knows of the others: who they are, which image versions they hold, and how that reached it.

The grid manager pushes it; nothing of it is needed for what runs in this region (a copy that is old still serves, and
says how old it is). Of its own images a region believes its own tables alone.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from arable.domain.manifest import ImagePart


class PeerState(StrEnum):
    """How another region was seen last, by the grid manager or by this region itself."""

    REACHED = "reached"
    SILENT = "silent"  # asked last when others answer
    GONE = "gone"  # it left the grid: nothing is asked of it, and nothing given to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another region of the grid.

    It is who its certificate says: one of the grid's authority, of the kind `IdentityKind.REGION`, for its name. The
    address is only where to look for it.
    """

    name: str
    url: str  # of its grid port: https://HOST:PORT, without a path
    fingerprint: str  # SHA-256 of the authority that certifies it, hex
    authority: str  # that authority's certificate, PEM
    state: PeerState = PeerState.REACHED
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguedVersion:
    """An image version that a region holds completely. `account` is a path that means the same in every region:

    the path of its domain, a slash, its name ("root/acme/web-team").
    """

    region: str
    account: str
    image: str
    number: int
    digest: str
    parts: tuple[ImagePart, ...]
    public: bool = False
    command_line: str = ""
    minimum_memory_mib: int = 0
    created_at: datetime

    @property
    def bytes(self) -> int:
        """Of all parts together."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionKey:
    """Which version of a region is no longer there."""

    account: str
    image: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueChange:
    """What changed in a region's holdings. `number` is one more than that of the change, or snapshot, before it."""

    region: str
    number: int
    put: tuple[
        CataloguedVersion, ...
    ] = ()  # new, or changed in what may change: public and the like
    dropped: tuple[VersionKey, ...] = ()
    parts: tuple[str, ...] = ()  # SHA-256 of parts that it holds now
    parts_gone: tuple[str, ...] = ()


class Applied(StrEnum):
    """What became of a change."""

    NEW = "new"
    KNOWN = "known"  # it, or a later one, is applied already: nothing was done
    GAP = "gap"  # changes before it are missing: nothing was done; bring a snapshot
