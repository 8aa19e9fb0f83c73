"""What every storage driver promises: images that were verified where they are used (rule 7), and volumes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from arable.domain.errors import Conflict, NoRoom
from arable.domain.ids import HostId, OperationId, PoolId, ReplicaId, SnapshotId, VolumeId
from arable.domain.manifest import ImagePart, PartFormat, PoolSeen
from arable.drivers.storage.leases import Leases
from arable.runtime.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFound:
    """A volume as it is here."""

    volume: VolumeId
    path: Path
    format: PartFormat
    bytes: int  # size to the guest
    used_bytes: int  # on the pool
    view_of: VolumeId | None = None  # it shows what is on that one


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportAt:
    """Where the holder of a lease reaches a shared volume: an NBD server over TLS, and what it calls the volume.

    With a `secret` it is an iSCSI target instead, which lets in an initiator that knows it and is called as the holder
    is (`iscsi/names.py`). Another epoch's name and secret are others, and nobody but the holder is let in.

    With a `pool` it is a file of that name in the pool's directory (`file/exports.py`), which its holder has mounted.
    """

    volume: VolumeId
    address: str
    port: int
    name: str
    initiator: str = ""  # what its holder calls itself; a storage host knows that without
    storage_zone: str = ""  # that the volume is in; an initiator's name has it, too
    secret: Secret | None = field(default=None, compare=False)
    pool: PoolId | None = None
    host: HostId | None = field(default=None, compare=False)  # whose certificate is shown there


def export_name(volume: VolumeId, epoch: int) -> str:
    """What an NBD client asks for. It names the epoch, so a client of an earlier one asks in vain."""
    return f"{volume}.e{epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """What a snapshot keeps, as the bytes of one qcow2 file that stands over nothing. Each `read` begins anew."""

    sha256: str
    length: int  # bytes
    read: Callable[[], Iterator[bytes]]


@dataclass(slots=True)
class Passing:
    """A volume's file on its way from pool to pool, as it is, with its snapshots. It is read once."""

    length: int  # bytes
    room: int  # bytes that it takes on a disk
    pieces: Iterator[bytes]
    sha256: str = ""  # of all of it; known when the last piece was read


class InUse(Conflict):
    """Somebody may be writing to it; later, perhaps nobody."""


class Stranger(Conflict):
    """There is such a volume, and it is not what was asked for."""


class Promised(NoRoom):
    """All volumes of a pool together would promise too much: no byte that is freed would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedImage:
    """A verified part in a pool. One that is `in_use` is stood on by something in the pool."""

    sha256: str
    length: int  # bytes
    used_at: (
        datetime  # when it was last admitted, or anything was seen to be made or to stand on it
    )
    in_use: bool


Fetch = Callable[[str], Iterable[bytes]]
"""Gets the bytes that a SHA-256 names, from wherever they are. Raises `NoRoom` when they can't be held until somebody reads them."""


@dataclass(frozen=True, slots=True)
class Received:
    """A file with what is here of a part that is fetched, on the file system of that number (`st_dev`)."""

    path: Path
    bytes: int
    device: int
    whole: bool


@runtime_checkable
class Receives(Protocol):
    """A `Fetch` that receives into files of its own. What it gives is such a file's bytes, and takes it away at their end."""

    def received(self, sha256: str) -> Received | None:
        """The file; whoever verified a whole one may move it away instead of reading what is fetched."""


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

    def cached(self) -> Sequence[CachedImage]:
        """Every part that is here, as `images` names them. Those in use are noted to be used now."""

    def evict(self, sha256: str) -> None:
        """The part is not here any more, and its room is free; already gone is fine.

        Raises `Conflict` when anything in the pool stands on it, before touching it.
        """

    def volumes(self) -> Mapping[VolumeId, VolumeFound]:
        """Every volume here."""

    def ensure(self, volume: VolumeId, size: int, source: ImagePart | None) -> VolumeFound:
        """The volume, made on first use: thin over the (admitted) `source`, or blank. Grown to `size` if smaller.

        Never shrunk, never made anew. Raises `NoRoom` before touching anything, and `Conflict` where its replica is.
        """

    def view(self, volume: VolumeId, of: VolumeId) -> VolumeFound:
        """A volume that shows what is on another one, to be read alone; made on first use.

        Any number of them may be used at once, by whoever opens them to read, and while any is the other one can be
        written to by nobody. Raises `NotFound` when there is no such volume, `NoRoom`.
        """

    def seed(self, volume: VolumeId, meta_data: str, user_data: str) -> Path:
        """A read-only NoCloud disk (label `cidata`) beside the volume, as given; kept if already the same."""

    def erase(self, volume: VolumeId) -> None:
        """What it held can't be read any more, and its space is free; already gone is fine.

        Raises `Conflict` while there is a view of it, before touching anything.
        """

    def usage(self) -> PoolSeen:
        """Bytes in all and in use."""


@runtime_checkable
class KeepsSnapshots(Protocol):
    """A pool whose volumes keep what was on them at earlier moments, which goes with them when they are erased.

    A shared volume's are taken and dropped while it is served, too; a local one that a guest has open is its
    hypervisor's to see to (`hypervisor/protocol.py`), and refused here with `Conflict`.
    """

    def snapshots(self, volume: VolumeId) -> frozenset[SnapshotId]:
        """Those that the volume has, in use or not. Raises `NotFound`, and `Corrupt` when that can't be known."""

    def take(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        """It has this snapshot: of what is on it now, unless it has it already.

        What was answered to its user as written is in it. Raises `NotFound`, `NoRoom`, `Unavailable`.
        """

    def drop(self, volume: VolumeId, snapshot: SnapshotId) -> None:
        """It has no such snapshot, and what only that one kept is free. The volume and its others stay as they are.

        Nor does it get it by a `take` that was given up before it had an end: whoever has the file open is asked anyway.
        """

    def restore(
        self, volume: VolumeId, snapshot: SnapshotId, size: int, by: OperationId
    ) -> VolumeFound:
        """On it is what the snapshot keeps, and nothing beyond that up to `size`.

        Once for each operation: said again, after others have written to it, it does nothing. Raises `NotFound` for no
        such snapshot, and `Conflict` while anybody may be using the volume, before it touches anything.
        """

    def copy(self, volume: VolumeId, snapshot: SnapshotId, to: VolumeId, size: int) -> VolumeFound:
        """Another volume that has on it what the snapshot keeps, and is independent of it from then on.

        Of at least `size`, and as large as the first one is. Already there is fine. It may take minutes, for which
        others may use the pool, and the volume. Raises `NotFound` when the snapshot is, or goes, away.
        """

    def flat(self, volume: VolumeId, snapshot: SnapshotId) -> AbstractContextManager[Flat]:
        """What the snapshot keeps, to be brought elsewhere; nothing is left of it here at the end.

        It may take minutes, as a copy does. Raises `NotFound` when the snapshot is, or goes, away, and `NoRoom`.
        """


@runtime_checkable
class Carries(Protocol):
    """A pool whose volumes can go to others of any kind, while nobody has them, and come from there."""

    @property
    def pool(self) -> PoolId: ...

    def admit(self, part: ImagePart, fetch: Fetch) -> Path:
        """As of `Storage`."""

    def lend(self, volume: VolumeId) -> AbstractContextManager[Passing]:
        """The volume as one file, to be read by another host. Nobody writes to it meanwhile: QEMU's locks see to that.

        Raises `NotFound`, and `InUse` while anybody may be using it.
        """

    def take_in(
        self,
        volume: VolumeId,
        size: int,
        image: ImagePart | None,
        passing: Callable[[], AbstractContextManager[Passing]],
        by: OperationId,
    ) -> VolumeFound:
        """The volume, of so many bytes to a guest, is here as it was lent, over the (admitted) `image`.

        Compared on the disk before it is anything's. Once for each operation: already there by this one is fine, and
        nothing is read then. Raises `Stranger` when another one is there, `Corrupt` for what is not as it was sent or is
        no volume of ours, `NoRoom`.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFound:
    """A replica that is here: its last whole point, when that was taken, and how large the volume was then."""

    replica: ReplicaId
    volume: VolumeId
    point: int
    at: datetime
    bytes: int


@runtime_checkable
class Replicates(Protocol):
    """A pool whose volumes may have replicas in others, and that keeps replicas of others' volumes (docs/decisions/0051).

    A replica takes whole points, one after the other. It is no volume, and nobody can use it, until it is promoted.
    """

    @property
    def pool(self) -> PoolId: ...

    by_mount: bool

    def admit(self, part: ImagePart, fetch: Fetch) -> Path:
        """As of `Storage`."""

    def increment(
        self, volume: VolumeId, replica: ReplicaId, since: int
    ) -> AbstractContextManager[Passing]:
        """A new point of the volume, which may be in use, as what changed since that one; 0, or one that is lost: all of it.

        Earlier points, but the one that is counted from, are dropped: whoever asks has that one. Raises `NotFound`,
        `NoRoom`, `Conflict` when somebody has the volume who can't be asked, `Unavailable`.
        """

    def replicas(self) -> Mapping[VolumeId, ReplicaFound]:
        """Every replica here that has a whole point."""

    def follow(
        self,
        volume: VolumeId,
        replica: ReplicaId,
        size: int,
        image: ImagePart | None,
        increment: Callable[[int], AbstractContextManager[Passing]],
    ) -> ReplicaFound:
        """The replica has one more whole point, of what `increment` lends since the last one; another replica is given up.

        Whatever fails, the last whole point is had as before. Raises `Stranger` when the volume itself is here, `Corrupt`
        for what is not as it was sent, `NoRoom`, also when the volume has more than `size` bytes.
        """

    def promote(self, volume: VolumeId, replica: ReplicaId, image: ImagePart | None) -> VolumeFound:
        """The replica is the volume from now on, as of its last whole point. Once: already so is fine.

        Raises `NotFound` when there is no such replica with a point, `Stranger` when another copy is there.
        """


@runtime_checkable
class Shares(Protocol):
    """A pool whose volumes other hosts may use: those that have a lease, while they have it.

    With `by_mount` they have the files themselves: who runs a machine grows its disks and holds them to their limits.
    """

    leases: Leases
    by_mount: bool

    @property
    def pool(self) -> PoolId: ...

    def expect(self, volume: VolumeId, size: int) -> None:
        """A lease of it is given when it has so many bytes, and not before: who has it would not see it grow."""

    def check_room(self, volume: VolumeId, size: int) -> None:
        """Raises `NoRoom` when the volume can't be made so large now, and touches nothing."""

    def limit(self, volume: VolumeId, iops: int, bytes_per_second: int) -> None:
        """What the volume allows from now on; 0 means no limit. Raises `Unavailable` when that can't be changed now."""

    def mask(self, volume: VolumeId, storage_zone: str, zoned: int) -> None:
        """It is in that storage zone from now on, also after a restart; empty: in none.

        Of two words about a volume the one that was `zoned` later holds, whenever it comes. Raises `Forbidden` for an
        earlier one that differs, and `Conflict` for a later one while anybody has the volume.
        """

    def where(self, volume: VolumeId, epoch: int) -> ExportAt:
        """Where the holder of that epoch finds the volume."""

    def await_trouble(self, seconds: float) -> None:
        """Return when a volume is served no more that should be, or after that many seconds, or for nothing."""
