"""Headers of strangers' files: what leads elsewhere is refused, and nothing but a refusal ever comes out of it."""

import json
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arable.domain.errors import BadInput, TooLarge
from arable.domain.image_header import HEAD_BYTES, Header, Limits, judge, read_overlay
from arable.domain.manifest import PartFormat, PartRole
from arable.domain.units import GIB, MIB

QCOW2, RAW, BLOB = PartFormat.QCOW2, PartFormat.RAW, PartFormat.BLOB
DISK, KERNEL, INITRD = PartRole.DISK, PartRole.KERNEL, PartRole.INITRD

CLUSTER = 1 << 16
SIZE = 4 * CLUSTER + 8 * 1000

# Where each field of the header is, and how wide: name, offset, struct format.
FIELDS = {
    "magic": (0, ">4s"),
    "version": (4, ">I"),
    "backing_at": (8, ">Q"),
    "backing_length": (16, ">I"),
    "cluster_bits": (20, ">I"),
    "virtual": (24, ">Q"),
    "encryption": (32, ">I"),
    "l1_entries": (36, ">I"),
    "l1_at": (40, ">Q"),
    "refcounts_at": (48, ">Q"),
    "refcount_clusters": (56, ">I"),
    "snapshots": (60, ">I"),
    "snapshots_at": (64, ">Q"),
    "incompatible": (72, ">Q"),
    "compatible": (80, ">Q"),
    "autoclear": (88, ">Q"),
    "refcount_order": (96, ">I"),
    "header_length": (100, ">I"),
    "compression": (104, ">B"),
}
GOOD = {
    "magic": b"QFI\xfb",
    "version": 3,
    "cluster_bits": 16,
    "virtual": GIB,
    "l1_entries": 2,
    "l1_at": 3 * CLUSTER,
    "refcounts_at": CLUSTER,
    "refcount_clusters": 1,
    "refcount_order": 4,
    "header_length": 112,
}


def qcow2(extensions: bytes = b"", **but: int | bytes) -> bytes:
    """The beginning of a valid image of 1 GiB, or one with these fields changed."""
    head = bytearray(HEAD_BYTES)
    for name, value in (GOOD | but).items():
        at, shape = FIELDS[name]
        struct.pack_into(shape, head, at, value)
    at = int((GOOD | but)["header_length"]) if (GOOD | but)["version"] == 3 else 72
    head[at : at + len(extensions)] = extensions
    return bytes(head[:HEAD_BYTES])


def extension(kind: int, content: bytes) -> bytes:
    padded = content.ljust(-(-len(content) // 8) * 8, b"\0")
    return struct.pack(">II", kind, len(content)) + padded


def judged(
    head: bytes, said: PartFormat = QCOW2, role: PartRole = DISK, size: int = SIZE
) -> Header:
    return judge(head, size, role, said)


def test_a_plain_image_passes_and_tells_its_size() -> None:
    assert judged(qcow2()) == Header(GIB)


def test_version_2_passes_without_the_later_fields() -> None:
    assert judged(qcow2(version=2)) == Header(GIB)
    # What would be feature bits in version 3 is the extension area here.
    with pytest.raises(BadInput, match="extension"):
        judged(qcow2(version=2, incompatible=1 << 63))


def test_names_of_features_are_harmless() -> None:
    names = extension(0x6803F857, b"\0\0dirty bit".ljust(48, b"\0") * 5)
    assert judged(qcow2(names)) == Header(GIB)


def test_zstd_and_small_l2_entries_are_known() -> None:
    assert judged(qcow2(incompatible=1 << 3, compression=1)) == Header(GIB)
    assert judged(qcow2(incompatible=1 << 4, l1_entries=4)) == Header(GIB)
    with pytest.raises(BadInput, match="L1 table is too small"):
        judged(qcow2(incompatible=1 << 4, l1_entries=3))


@pytest.mark.parametrize(
    ("but", "why"),
    [
        ({"magic": b"QFI\xfa"}, "not"),
        ({"version": 1}, "version 1"),
        ({"version": 4}, "version 4"),
        ({"backing_at": 512, "backing_length": 11}, "backing file"),
        ({"backing_at": 512}, "backing file"),
        ({"backing_length": 11}, "backing file"),
        ({"encryption": 1}, "encrypted"),
        ({"encryption": 2}, "encrypted"),
        ({"snapshots": 1}, "snapshots"),
        ({"cluster_bits": 8}, "cluster size"),
        ({"cluster_bits": 22}, "cluster size"),
        ({"cluster_bits": 1 << 31}, "cluster size"),
        ({"virtual": 0}, "size"),
        ({"virtual": GIB + 1}, "sectors"),
        ({"virtual": 2049 * GIB}, "larger than 2048 GiB"),
        ({"virtual": 1 << 63}, "larger"),
        ({"l1_entries": 1}, "too small"),
        ({"l1_entries": 0}, "too small"),
        ({"l1_entries": 10_000}, "within the file"),
        ({"l1_entries": 1 << 31}, "absurdly"),
        ({"l1_at": 0}, "within the file"),
        ({"l1_at": 3 * CLUSTER + 8}, "within the file"),
        ({"l1_at": 5 * CLUSTER}, "within the file"),
        ({"l1_at": (1 << 64) - CLUSTER}, "within the file"),
        ({"refcounts_at": 0}, "within the file"),
        ({"refcounts_at": 100}, "within the file"),
        ({"refcounts_at": 5 * CLUSTER}, "within the file"),
        ({"refcount_clusters": 0}, "no refcount table"),
        ({"refcount_clusters": 5}, "within the file"),
        ({"refcount_clusters": 1 << 31}, "absurdly"),
        ({"refcount_order": 7}, "refcount width"),
        ({"incompatible": 1 << 0}, "closed cleanly"),
        ({"incompatible": 1 << 1}, "closed cleanly"),
        ({"incompatible": 1 << 2}, "another file"),
        ({"incompatible": 1 << 5}, "not known"),
        ({"incompatible": 1 << 63}, "not known"),
        ({"autoclear": 1 << 1}, "another file"),
        ({"incompatible": 1 << 3}, "compression"),
        ({"compression": 1}, "compression"),
        ({"incompatible": 1 << 3, "compression": 2}, "compression"),
        ({"incompatible": 1 << 4, "cluster_bits": 13, "l1_entries": 999}, "too small"),
        ({"header_length": 96}, "length"),
        ({"header_length": 105}, "length"),
        ({"header_length": 1 << 31}, "length"),
        ({"header_length": CLUSTER + 8}, "length"),
    ],
    ids=str,
)
def test_an_image_with_this_is_refused(but, why) -> None:
    with pytest.raises(BadInput, match=why):
        judged(qcow2(**but))


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        (0xE2792ACA, b"raw", "backing file"),
        (0x44415441, b"/etc/shadow", "external data file"),
        (0x0537BE77, b"\0" * 16, "encrypted"),
        (0x23852875, b"\0" * 24, "bitmaps"),
        (0x12345678, b"", "unknown header extension"),
    ],
)
def test_an_extension_that_leads_elsewhere_is_refused_wherever_it_stands(
    kind, content, why
) -> None:
    harmless = extension(0x6803F857, b"\0" * 45)
    for before in (b"", harmless, harmless * 3):
        for version in (2, 3):
            with pytest.raises(BadInput, match=why):
                judged(qcow2(before + extension(kind, content), version=version))


def test_an_extension_that_hides_the_end_is_refused() -> None:
    with pytest.raises(BadInput, match="no end"):
        judged(qcow2(struct.pack(">II", 0x6803F857, 0xFFFFFFFF)))
    with pytest.raises(BadInput, match="no end"):
        judged(qcow2(struct.pack(">II", 0x6803F857, CLUSTER)))


def test_a_field_of_a_later_version_is_refused() -> None:
    head = bytearray(qcow2(header_length=120))
    assert judged(bytes(head)) == Header(GIB)
    head[119] = 1
    with pytest.raises(BadInput, match="not known"):
        judged(bytes(head))


@pytest.mark.parametrize("length", [*range(0, 120, 7), 104, 112, 119])
def test_a_header_that_is_cut_off_is_refused(length) -> None:
    with pytest.raises(BadInput):
        judged(qcow2()[:length], size=length)


def test_less_of_the_file_than_is_needed_is_not_judged() -> None:
    with pytest.raises(BadInput, match="shorter"):
        judged(qcow2()[:1000])


def test_a_larger_disk_than_allowed_is_told_apart() -> None:
    with pytest.raises(TooLarge) as refused:
        judge(qcow2(), SIZE, DISK, QCOW2, Limits(virtual_bytes=GIB - 512))
    assert refused.value.field == "virtual_bytes"
    assert judge(qcow2(), SIZE, DISK, QCOW2, Limits(virtual_bytes=GIB)) == Header(GIB)
    with pytest.raises(TooLarge):
        judge(qcow2(), SIZE, DISK, QCOW2, Limits(file_bytes=SIZE - 1))
    with pytest.raises(TooLarge):
        judge(b"\x7fELF" + b"\0" * 60, 64, KERNEL, BLOB, Limits(blob_bytes=63))


@pytest.mark.parametrize(
    ("at", "magic", "what"),
    [
        (0, b"QFI\xfb\0\0\0\3", "qcow2"),
        (0, b"KDMV\1\0\0\0", "VMDK"),
        (0, b"COWD", "VMDK"),
        (0, b"# Disk DescriptorFile\nversion=1\n", "VMDK"),
        (0, b"conectix", "VHD"),
        (0, b"vhdxfile", "VHDX"),
        (64, struct.pack("<I", 0xBEDA107F), "VDI"),
        (0, b"QED\0", "QED"),
        (0, b"LUKS\xba\xbe\0\1", "LUKS"),
        (0, b"WithoutFreeSpace", "Parallels"),
        (0, b"\x1f\x8b\x08", "gzip"),
        (0, b"\xfd7zXZ\0", "xz"),
        (0, b"\x28\xb5\x2f\xfd", "zstd"),
        (0, b"BZh9", "bzip2"),
        (0, b"PK\x03\x04", "zip"),
        (257, b"ustar\x0000", "OVA"),
    ],
)
def test_a_container_is_not_taken_for_a_raw_disk(at, magic, what) -> None:
    head = (b"\0" * at + magic).ljust(4096, b"\0")
    with pytest.raises(BadInput, match=what):
        judged(head, RAW, size=4096)


def test_a_disk_with_a_boot_sector_or_a_cd_is_raw() -> None:
    boot = b"\xeb\x63\x90".ljust(510, b"\0") + b"\x55\xaa"
    assert judged(boot, RAW, size=512) == Header(512)
    cd = (b"\0" * 0x8000 + b"\x01CD001\x01").ljust(MIB, b"\0")
    assert judged(cd, RAW, size=MIB) == Header(MIB)


@pytest.mark.parametrize("size", [0, 1, 511, 513])
def test_a_raw_disk_is_whole_sectors(size) -> None:
    with pytest.raises(BadInput, match="sectors"):
        judged(b"\0" * size, RAW, size=size)


@pytest.mark.parametrize(
    ("role", "content"),
    [
        (KERNEL, b"\0" * 0x202 + b"HdrS" + b"\0" * 100),
        (KERNEL, b"\x7fELF" + b"\0" * 100),
        (KERNEL, b"MZ" + b"\0" * 100),
        (INITRD, b"070701" + b"0" * 104),
        (INITRD, b"\x1f\x8b\x08\0"),
        (INITRD, b"\x02\x21\x4c\x18"),
        (INITRD, b"\x28\xb5\x2f\xfd"),
        (INITRD, b"\xfd7zXZ\0"),
    ],
)
def test_a_kernel_looks_like_one_and_so_does_an_initial_file_system(role, content) -> None:
    assert judged(content, BLOB, role, len(content)) == Header(0)
    other = INITRD if role is KERNEL else KERNEL
    with pytest.raises(BadInput, match=f"does not look like a {other}"):
        judged(content, BLOB, other, len(content))


@pytest.mark.parametrize(("role", "said"), [(DISK, BLOB), (KERNEL, RAW), (INITRD, QCOW2)])
def test_a_role_has_its_formats(role, said) -> None:
    with pytest.raises(BadInput, match="can't have the format"):
        judged(qcow2(), said, role)


@given(
    head=st.binary(max_size=300),
    size=st.integers(0, 1 << 65),
    role=st.sampled_from(PartRole),
    said=st.sampled_from(PartFormat),
)
@settings(deadline=None, max_examples=500)
def test_any_bytes_are_judged_or_refused(head, size, role, said) -> None:
    with suppress(BadInput):
        assert 0 <= judge(head, size, role, said).virtual_bytes <= Limits().virtual_bytes


numbers = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 64).map(lambda bit: 1 << bit),
    st.integers(0, 64).map(lambda bit: (1 << bit) - 1),
)


@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(FIELDS.keys() - {"magic"})), numbers, max_size=4
    ),
    flips=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=4),
    size=st.integers(0, SIZE),
    cut=st.integers(0, HEAD_BYTES),
)
@example(changes={}, flips=[], size=SIZE, cut=HEAD_BYTES)
@settings(deadline=None, max_examples=1000)
def test_a_spoiled_header_is_refused_or_still_holds_what_it_promises(
    changes, flips, size, cut
) -> None:
    head = bytearray(qcow2())
    for name, value in changes.items():
        at, shape = FIELDS[name]
        struct.pack_into(shape, head, at, value % (1 << 8 * struct.calcsize(shape)))
    for at, value in flips:
        head[at] = value
    try:
        passed = judged(bytes(head[: min(cut, size)]), size=size)
    except BadInput:
        return
    field = {name: struct.unpack_from(shape, head, at)[0] for name, (at, shape) in FIELDS.items()}
    assert field["magic"] == b"QFI\xfb"
    assert passed.virtual_bytes == field["virtual"] <= Limits().virtual_bytes
    assert not field["backing_at"] | field["backing_length"] | field["encryption"]
    assert field["l1_at"] + 8 * field["l1_entries"] <= size
    assert field["version"] == 2 or not field["incompatible"] & 0b111


@given(head=st.binary(max_size=200))
@settings(deadline=None)
def test_our_own_volumes_are_read_or_refused(head) -> None:
    for start in (b"", qcow2()[:72], qcow2(backing_at=80, backing_length=10)[:72]):
        with suppress(BadInput):
            assert read_overlay(start + head).virtual_bytes > 0


def test_our_own_volume_tells_its_size_and_what_it_stands_over() -> None:
    head = bytearray(qcow2(backing_at=512, backing_length=5))
    head[512:517] = b"/a/\xc3\xa4"
    overlay = read_overlay(bytes(head))
    assert (overlay.virtual_bytes, overlay.backing) == (GIB, "/a/ä")


_BUSY = "Unable to get accurate CPU usage"
"""What QEMU says, and gives up, when it would measure how fast a key is derived while others use the processor."""


def qemu_img(*arguments: object) -> str:
    for _ in range(50):
        done = subprocess.run(
            ["qemu-img", *map(str, arguments)], check=False, capture_output=True, text=True
        )
        if _BUSY not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    return done.stdout


def ours(path: Path, said: PartFormat = QCOW2) -> int:
    content = path.read_bytes()
    return judge(content, len(content), DISK, said).virtual_bytes


@pytest.mark.real
@pytest.mark.parametrize(
    "options",
    [
        "compat=0.10",
        "compat=1.1",
        "compat=1.1,lazy_refcounts=on",
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=2M,refcount_bits=64",
        "compression_type=zstd",
        "extended_l2=on",
        "preallocation=metadata",
    ],
)
@pytest.mark.parametrize("size", ["64K", "1M", "100M", "999680"])
def test_we_and_qemu_agree_on_its_images(tmp_path, options, size) -> None:
    path = tmp_path / "image"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, size)
    told = json.loads(qemu_img("info", "-f", "qcow2", "--output=json", path))
    assert ours(path) == told["virtual-size"]


@pytest.mark.real
def test_we_and_qemu_agree_on_an_image_with_content(tmp_path) -> None:
    raw, path = tmp_path / "raw", tmp_path / "image"
    raw.write_bytes(bytes(range(256)) * 4 * 4096)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-c", raw, path)
    assert ours(path) == ours(raw, RAW) == 4 * MIB


def with_backing(path: Path) -> None:
    base = path.with_name("base")
    qemu_img("create", "-q", "-f", "raw", base, "1M")
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path)


def with_data_file(path: Path) -> None:
    data = path.with_name("data")
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={data}", path, "1M")


def with_raw_data_file(path: Path) -> None:
    data = path.with_name("data")
    options = f"data_file={data},data_file_raw=on"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "1M")


def with_snapshot(path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    qemu_img("snapshot", "-q", "-c", "one", path)


def with_bitmap(path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    qemu_img("bitmap", "--add", path, "one")


def with_encryption(path: Path) -> None:
    secret = ["--object", "secret,id=s,data=abcdefgh"]
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    qemu_img("create", "-q", *secret, "-f", "qcow2", "-o", options, path, "1M")


@pytest.mark.real
@pytest.mark.parametrize(
    "make",
    [with_backing, with_data_file, with_raw_data_file, with_snapshot, with_bitmap, with_encryption],
)
def test_what_qemu_can_make_and_we_do_not_take_is_refused(
    tmp_path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "image")
    with pytest.raises(BadInput):
        ours(tmp_path / "image")


@pytest.mark.real
@pytest.mark.parametrize("kind", ["vmdk", "vdi", "vhdx", "vpc", "qed", "luks", "parallels", "qcow"])
def test_other_containers_of_qemu_are_not_taken_for_raw_disks(tmp_path, kind) -> None:
    path = tmp_path / "image"
    options = {
        "luks": ["--object", "secret,id=s,data=abcdefgh", "-o", "key-secret=s,iter-time=10"],
    }.get(kind, [])
    qemu_img("create", "-q", "-f", kind, *options, path, "1M")
    with pytest.raises(BadInput):
        ours(path, RAW)
    with pytest.raises(BadInput):
        ours(path, QCOW2)
