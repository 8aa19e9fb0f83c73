"""A file of an image version: what a disk begins as, or what a machine boots."""

from dataclasses import dataclass
from enum import StrEnum


class PartRole(StrEnum):
    """What a file of an image version is for."""

    DISK = "disk"
    KERNEL = "kernel"
    INITRD = "initrd"


class PartFormat(StrEnum):
    """How a part is opened. Never guessed from content."""

    QCOW2 = "qcow2"
    RAW = "raw"
    BLOB = "blob"  # kernel and initrd: handed to the hypervisor as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """One file of an image version, named by what is in it. `virtual_bytes` is a disk's size to the guest."""

    role: PartRole
    sha256: str
    bytes: int
    format: PartFormat
    virtual_bytes: int = 0
