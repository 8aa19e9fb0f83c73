"""What every storage driver promises: images that were verified where they are used (rule 7), and volumes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from arable.domain.ids import PoolId, VolumeId
from arable.domain.manifest import ImagePart, PartFormat, PoolSeen
from arable.drivers.storage.leases import Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFound:
    """A volume as it is here."""

    volume: VolumeId
    path: Path
    format: PartFormat
    bytes: int  # size to the guest
    used_bytes: int  # on the pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportAt:
    """Where the holder of a lease reaches a shared volume: an NBD server over TLS, and what it calls the volume.

    Another epoch's name is another one, and nobody but the holder is let in under it.
    """

    volume: VolumeId
    address: str
    port: int
    name: str


def export_name(volume: VolumeId, epoch: int) -> str:
    """What an NBD client asks for. It names the epoch, so a client of an earlier one asks in vain."""
    return f"{volume}.e{epoch}"


Fetch = Callable[[str], Iterable[bytes]]
"""Gets the bytes that a SHA-256 names, from wherever they are."""


class Storage(Protocol):
    """One pool. Volumes that nobody asked to erase are never erased (`domain/manifest.py`)."""

    @property
    def name(self) -> str:
        """What was chosen, for people: "local (qcow2)"."""

    @property
    def pool(self) -> PoolId: ...

    def images(self) -> frozenset[str]:
        """SHA-256 of every part that is here and was verified here."""

    def admit(self, part: ImagePart, fetch: Fetch) -> Path:
        """The part's file, fetched and verified first if it is not here yet.

        Raises `Corrupt` when digest, length, header or format are not what `part` says (nothing is kept then),
        `NoRoom` when the pool is full, `Unavailable` when it can't be fetched now.
        """

    def volumes(self) -> Mapping[VolumeId, VolumeFound]:
        """Every volume here."""

    def ensure(self, volume: VolumeId, size: int, source: ImagePart | None) -> VolumeFound:
        """The volume, made on first use: thin over the (admitted) `source`, or blank. Grown to `size` if smaller.

        Never shrunk, never made anew. Raises `NoRoom` before touching anything.
        """

    def seed(self, volume: VolumeId, meta_data: str, user_data: str) -> Path:
        """A read-only NoCloud disk (label `cidata`) beside the volume, as given; kept if already the same."""

    def erase(self, volume: VolumeId) -> None:
        """What it held can't be read any more, and its space is free; already gone is fine."""

    def usage(self) -> PoolSeen:
        """Bytes in all and in use."""


@runtime_checkable
class Shares(Protocol):
    """A pool whose volumes other hosts may use: those that have a lease, while they have it."""

    leases: Leases

    @property
    def pool(self) -> PoolId: ...

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        """What the volume allows from its next opening on; 0 means no limit."""

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        """Where the holder of that epoch finds the volume."""

    def await_trouble(self, seconds: float) -> None:
        """Return when a volume is served no more that should be, or after that many seconds, or for nothing."""
