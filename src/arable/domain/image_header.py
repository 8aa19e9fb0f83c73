"""Judges the header of a file that says it is a disk image, a kernel or an initial file system. Pure: bytes in.

Image files come from strangers, and the programs that open them follow what the file says: to a backing file,
to an external data file, into gigabytes of tables (CVE-2024-32498 and its family). So before any
other program sees a file, this reads its first bytes and refuses whatever we have no use for. Two rules. The
format is what the owner *said*; content never chooses it, it can only contradict. And what is not known to be
harmless is refused: an unknown feature bit, an unknown header extension, a field that should be zero.

What this does not do is follow the tables behind the header: QEMU checks every offset there as it uses it, and
opens the file read-only, with the format given, inside the confinement of the machine it belongs to.
"""

import struct
from dataclasses import dataclass
from typing import NoReturn

from arable.domain.errors import BadInput, TooLarge
from arable.domain.manifest import PartFormat, PartRole
from arable.domain.units import GIB, MIB

HEAD_BYTES = 64 * 1024
"""How much of a file's beginning is read; a header that goes on beyond it is refused."""

SECTOR = 512

_QCOW2 = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")  # 72 bytes: what version 2 and 3 share
_V3 = struct.Struct(">QQQII")  # 32 bytes more: features, refcount order, header length
_EXTENSION = struct.Struct(">II")
_L1_LIMIT = 32 * MIB  # QEMU's own limits
_REFCOUNT_LIMIT = 8 * MIB

# Incompatible features by bit. The refused ones name a file, or a state in which nobody should start from it.
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_RAW_EXTERNAL = 1 << 1  # an autoclear feature

_BACKING_FORMAT = 0xE2792ACA
_EXTENSIONS_REFUSED = {
    _BACKING_FORMAT: "names the format of a backing file",
    0x44415441: "names an external data file",
    0x0537BE77: "is encrypted",
    0x23852875: "carries persistent bitmaps",
}
_FEATURE_NAMES = 0x6803F857  # text for people, harmless

# What a file that is said to be raw must not begin with: offset, magic, what it is.
_NOT_RAW = (
    (0, _QCOW2, "a qcow2 image"),
    (0, b"KDMV", "a VMDK image"),
    (0, b"COWD", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor"),
    (0, b"conectix", "a VHD image"),
    (0, b"vhdxfile", "a VHDX image"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"QED\0", "a QED image"),
    (0, b"LUKS\xba\xbe", "encrypted (LUKS)"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"Bochs Virtual HD Image", "a Bochs image"),
    (0, b"#!/bin/sh\n#V2.0 Format", "a cloop image"),
    (0, b"\x1f\x8b", "compressed (gzip)"),
    (0, b"\xfd7zXZ\0", "compressed (xz)"),
    (0, b"\x28\xb5\x2f\xfd", "compressed (zstd)"),
    (0, b"BZh", "compressed (bzip2)"),
    (0, b"\x04\x22\x4d\x18", "compressed (lz4)"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive (an OVA is one: upload the disk in it)"),
)

_KERNELS = (
    (0x202, b"HdrS"),  # bzImage
    (0, b"\x7fELF"),
    (0, b"MZ"),  # EFI stub, as on arm64
)
_INITRDS = (
    (0, b"070701"),  # cpio
    (0, b"070702"),
    (0, b"\x1f\x8b"),  # gzip
    (0, b"\x02\x21\x4c\x18"),  # lz4, as the kernel likes it
    (0, b"\x04\x22\x4d\x18"),
    (0, b"\x28\xb5\x2f\xfd"),  # zstd
    (0, b"\xfd7zXZ\0"),
    (0, b"BZh"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a part may be: its file, the disk it describes, a kernel or initial file system."""

    file_bytes: int = 256 * GIB
    virtual_bytes: int = 2048 * GIB
    blob_bytes: int = 1 * GIB


@dataclass(frozen=True, slots=True)
class Header:
    """What was found. `virtual_bytes` is the size of the disk to the guest; 0 for what is no disk."""

    virtual_bytes: int


def judge(
    head: bytes, size: int, role: PartRole, said: PartFormat, limits: Limits | None = None
) -> Header:
    """Whether a file of `size` bytes that begins with `head` may be used as what it is said to be.

    `head` is the whole file or at least its first `HEAD_BYTES`. Raises `BadInput` (`TooLarge`) with the reason.
    """
    limits = limits or Limits()
    is_disk = role is PartRole.DISK
    if is_disk is (said is PartFormat.BLOB):
        _refuse(f"a {role} can't have the format {said}")
    if len(head) < min(size, HEAD_BYTES):
        _refuse("the file is shorter than said")
    if size > (limits.file_bytes if is_disk else limits.blob_bytes):
        raise TooLarge(f"the file is larger than a {role} may be", field="bytes")
    head = head[: min(size, HEAD_BYTES)]
    match said:
        case PartFormat.QCOW2:
            return Header(_qcow2(head, size, limits))
        case PartFormat.RAW:
            return Header(_raw(head, size, limits))
        case PartFormat.BLOB:
            return Header(_blob(head, role))


@dataclass(frozen=True, slots=True)
class Overlay:
    """A volume that *we* made: its size to the guest, and the file it stands over, if any."""

    virtual_bytes: int
    backing: str


def read_overlay(head: bytes) -> Overlay:
    """Read the header of a qcow2 volume that we made ourselves; for nothing that came from outside.

    Raises `BadInput` when it is none.
    """
    if len(head) < _V2.size or not head.startswith(_QCOW2):
        _refuse("not a qcow2 volume")
    _magic, _version, at, length, _bits, size, *_rest = _V2.unpack_from(head)
    if not 0 < size <= 1 << 63 or at + length > len(head):
        _refuse("a qcow2 volume with a damaged header")
    try:
        return Overlay(size, head[at : at + length].decode() if at else "")
    except UnicodeDecodeError:
        _refuse("a qcow2 volume with a damaged header")


def read_carried(head: bytes) -> Overlay:
    """Read the header of a volume that another host of ours made and lent us: it is judged as a stranger's.

    It may stand over an image and have snapshots, and nothing else that an image may not. Raises `BadInput`.
    """
    found = read_overlay(head)
    _magic, version, _at, _length, bits, _size, encryption, *_rest = _V2.unpack_from(head)
    if version != 3 or not 9 <= bits <= 21 or encryption:
        _refuse("a volume as we never make them")
    _entry, at = _version_3(head, 1 << bits)
    _extensions(head[: 1 << bits], at, also=_BACKING_FORMAT if found.backing else None)
    return found


def _raw(head: bytes, size: int, limits: Limits) -> int:
    for at, magic, what in _NOT_RAW:
        if head[at : at + len(magic)] == magic:
            _refuse(f"said to be raw, but it is {what}")
    if size == 0 or size % SECTOR:
        _refuse("a raw disk is a whole number of sectors of 512 bytes, and not empty")
    return _disk_size(size, limits)


def _blob(head: bytes, role: PartRole) -> int:
    known = _KERNELS if role is PartRole.KERNEL else _INITRDS
    if not any(head[at : at + len(magic)] == magic for at, magic in known):
        expected = "bzImage, ELF, EFI" if role is PartRole.KERNEL else "cpio, possibly compressed"
        _refuse(f"does not look like a {role} ({expected})")
    return 0


def _qcow2(head: bytes, size: int, limits: Limits) -> int:
    if not head.startswith(_QCOW2):
        _refuse("said to be qcow2, but it is not")
    if len(head) < _V2.size:
        _refuse("the qcow2 header is cut off")
    (
        _magic,
        version,
        backing_at,
        backing_length,
        cluster_bits,
        virtual,
        encryption,
        l1_entries,
        l1_at,
        refcounts_at,
        refcount_clusters,
        snapshots,
        _snapshots_at,
    ) = _V2.unpack_from(head)
    if version not in {2, 3}:
        _refuse(f"qcow version {version} is not taken, only 2 and 3")
    if backing_at or backing_length:
        _refuse("the image stands over a backing file; flatten it (qemu-img convert)")
    if encryption:
        _refuse("the image is encrypted")
    if snapshots:
        _refuse("the image has internal snapshots; flatten it (qemu-img convert)")
    if not 9 <= cluster_bits <= 21:
        _refuse("cluster size out of range")
    cluster = 1 << cluster_bits
    entry, extensions_at = 8, _V2.size
    if version == 3:
        entry, extensions_at = _version_3(head, cluster)
    _extensions(head[:cluster], extensions_at)
    if virtual == 0 or virtual % SECTOR:
        _refuse("the disk's size is not a whole number of sectors, or nothing")
    _disk_size(virtual, limits)
    _table("L1 table", l1_at, l1_entries * 8, most=_L1_LIMIT, cluster=cluster, size=size)
    if l1_entries < -(-virtual // (cluster * (cluster // entry))):
        _refuse("the L1 table is too small for the disk")
    if not refcount_clusters:
        _refuse("there is no refcount table")
    counts = refcount_clusters * cluster
    _table("refcount table", refcounts_at, counts, most=_REFCOUNT_LIMIT, cluster=cluster, size=size)
    return int(virtual)


def _version_3(head: bytes, cluster: int) -> tuple[int, int]:
    """Size of an L2 entry, and where the header ends."""
    if len(head) < _V2.size + _V3.size:
        _refuse("the qcow2 header is cut off")
    incompatible, _compatible, autoclear, order, length = _V3.unpack_from(head, _V2.size)
    if incompatible & _DATA_FILE or autoclear & _RAW_EXTERNAL:
        _refuse("the image keeps its data in another file")
    if incompatible & (_DIRTY | _CORRUPT):
        _refuse("the image was not closed cleanly; repair it (qemu-img check -r all)")
    if incompatible & ~(_COMPRESSION | _EXTENDED_L2):
        _refuse("the image uses features that are not known here")
    if order > 6:
        _refuse("refcount width out of range")
    if length < _V2.size + _V3.size or length % 8 or length > min(cluster, len(head)):
        _refuse("the qcow2 header lies about its length")
    beyond = head[_V2.size + _V3.size : length]
    compression = beyond[0] if beyond else 0
    if any(beyond[1:]):
        _refuse("the qcow2 header has fields that are not known here")
    if compression > 1 or bool(compression) is not bool(incompatible & _COMPRESSION):
        _refuse("the qcow2 header contradicts itself about compression")
    if not incompatible & _EXTENDED_L2:
        return 8, length
    if cluster < 1 << 14:
        _refuse("clusters are too small for extended L2 entries")
    return 16, length


def _extensions(first_cluster: bytes, at: int, also: int | None = None) -> None:
    while True:
        if at + _EXTENSION.size > len(first_cluster):
            _refuse("the qcow2 header's extensions have no end")
        kind, length = _EXTENSION.unpack_from(first_cluster, at)
        if kind == 0:
            return
        if kind not in (_FEATURE_NAMES, also):
            told = _EXTENSIONS_REFUSED.get(kind, f"has an unknown header extension ({kind:#010x})")
            _refuse(f"the image {told}")
        at += _EXTENSION.size + -(-length // 8) * 8


def _table(what: str, at: int, length: int, *, most: int, cluster: int, size: int) -> None:
    if length > most:
        _refuse(f"the {what} is absurdly large")
    if at == 0 or at % cluster or at + length > size:
        _refuse(f"the {what} is not within the file")


def _disk_size(virtual: int, limits: Limits) -> int:
    if virtual > limits.virtual_bytes:
        most = limits.virtual_bytes // GIB
        raise TooLarge(f"the disk is larger than {most} GiB", field="virtual_bytes")
    return virtual


def _refuse(why: str) -> NoReturn:
    raise BadInput(why, field="format")
