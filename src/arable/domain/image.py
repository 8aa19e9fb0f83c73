"""A boot image and its versions. A version never changes: it is the files that its digest names."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from arable.domain.errors import BadInput
from arable.domain.ids import AccountId, ImageId, OperationId, SnapshotId
from arable.domain.manifest import ImagePart, PartFormat, PartRole

FORMATS: dict[PartRole, tuple[PartFormat, ...]] = {
    PartRole.DISK: (PartFormat.QCOW2, PartFormat.RAW),
    PartRole.KERNEL: (PartFormat.BLOB,),
    PartRole.INITRD: (PartFormat.BLOB,),
}
"""Which formats a part of each role can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """As it is kept. `command_line` is for versions that boot by kernel and initrd."""

    id: ImageId
    account: AccountId
    name: str
    public: bool = False
    command_line: str = ""
    minimum_memory_mib: int = 0
    newest: int = 0  # the highest version number that was ever given: none is given twice
    snapshot: SnapshotId | None = None  # that its first version is, or was, made of
    beside: tuple[ImagePart, ...] = ()  # what that version has besides the disk: a kernel
    operation: OperationId | None = None  # that waits for that version
    told: str = ""  # why it is not there yet
    home: str = (
        ""  # its versions have what is on shared volumes of that region, for farms' parts in others
    )
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Image":
        """The same image with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVersion:
    """Immutable. `bytes` is that of all parts together. One that is `arriving` has its bytes in other regions alone.

    One that was `fetched` from there may be let go when nobody uses it (`unused_since`), unless it is `pinned`.
    """

    image: ImageId
    number: int
    digest: str
    parts: tuple[ImagePart, ...]
    bytes: int
    arriving: bool = False
    fetched: bool = False
    pinned: bool = False
    unused_since: datetime | None = None
    created_at: datetime

    def part(self, role: PartRole) -> ImagePart | None:
        """Its part of that role, if it has one."""
        return next((part for part in self.parts if part.role == role), None)

    @property
    def disk(self) -> ImagePart | None:
        """What a machine's first disk is laid over; a version without one boots into its initrd."""
        return self.part(PartRole.DISK)

    @property
    def virtual_bytes(self) -> int:
        """The size of its disk to the guest; 0 without one."""
        return self.disk.virtual_bytes if self.disk else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPart:
    """A part that an account brought, and may make versions of."""

    account: AccountId
    part: ImagePart
    created_at: datetime


def digest(parts: Iterable[ImagePart]) -> str:
    """A version's digest: that of its one part, or of all parts' digests (hex, one after the other) in order of role."""
    found = sorted((str(part.role), part.sha256) for part in parts)
    if len(found) == 1:
        return found[0][1]
    return hashlib.sha256("".join(sha256 for _, sha256 in found).encode()).hexdigest()


def check_parts(parts: Sequence[ImagePart], field: str = "parts") -> None:
    """Raises `BadInput` unless a machine can boot from these: a disk, or a kernel with an initrd, each at most once."""
    roles = [part.role for part in parts]
    if len(roles) != len(set(roles)):
        raise BadInput("at most one part for each role", field=field)
    if PartRole.INITRD in roles and PartRole.KERNEL not in roles:
        raise BadInput("an initrd needs a kernel", field=field)
    if PartRole.DISK not in roles and PartRole.INITRD not in roles:
        raise BadInput("a version needs a disk, or a kernel and an initrd", field=field)
    for part in parts:
        if part.format not in FORMATS[part.role]:
            raise BadInput(f"a {part.role} can't be {part.format}", field=field)
