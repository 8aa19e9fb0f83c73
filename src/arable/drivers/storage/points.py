"""What changed on a volume between two points: snapshots inside its qcow2 file, of which nothing is ever written to again.

A snapshot has a table of tables: which cluster of the file holds which part of the disk. Whatever a guest writes after a
snapshot goes to clusters of its own, so what differs between the tables of two snapshots is what was written between
them, and nothing else; a table that both share is the same table. No list of changes is kept while a guest writes, so
none is lost when anything dies. This only reads, and only what snapshots keep, so the file may be in use.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from arable.domain.errors import Corrupt, NotFound
from arable.domain.units import MIB

BITS = 16
CLUSTER = 1 << BITS
PER_TABLE = CLUSTER // 8
OFFSET = 0x00FFFFFFFFFFFE00
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
FRAME = struct.Struct(">BQI")  # what, the first cluster of the disk, how many
_AT_ONCE = MIB // CLUSTER

_HEAD = struct.Struct(">4sIQIIQ")  # magic, version, backing at, length, cluster bits, size
_HEAD_BYTES = 104
_SNAPSHOTS = struct.Struct(">IQ")
_SNAPSHOTS_AT = 60
_FEATURES_AT = 72
_HARMLESS = 1  # the file is being written to
_ENTRY = struct.Struct(">QIHHIIQII")
_SIZES = struct.Struct(">QQ")
_LONGEST = MIB


class What(IntEnum):
    """What became of a cluster of a disk."""

    DATA = 1  # it holds these bytes
    ZEROS = 2
    NOTHING = 3  # it is as the image below has it


@dataclass(frozen=True, slots=True)
class Run:
    """Clusters of a disk that follow one another; those with data begin `at` places of the file."""

    what: What
    first: int
    at: tuple[int, ...]  # for each cluster; 0 for those without data


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot: its name, its table of tables, how large the disk was."""

    name: str
    table_at: int
    entries: int
    bytes: int


def kept(opened: int, volume: str) -> dict[str, Kept]:
    """The snapshots of a file. Raises `Corrupt`."""
    head = os.pread(opened, _HEAD_BYTES, 0)
    if len(head) < _HEAD_BYTES:
        raise Corrupt(f"{volume} is damaged")
    magic, version, _at, _length, bits, size = _HEAD.unpack_from(head)
    (features,) = struct.unpack_from(">Q", head, _FEATURES_AT)
    if magic != b"QFI\xfb" or version != 3 or bits != BITS or features & ~_HARMLESS:
        raise Corrupt(f"{volume} is in a file that can't be followed")
    count, at = _SNAPSHOTS.unpack_from(head, _SNAPSHOTS_AT)
    table, found, position = os.pread(opened, _LONGEST, at) if count else b"", {}, 0
    try:
        for _ in range(count):
            one, length = _kept(table, position, size)
            found[one.name] = one
            position += length
    except (struct.error, UnicodeDecodeError) as error:
        raise Corrupt(f"the snapshots of {volume} can't be read", detail=str(error)) from error
    return found


def _kept(table: bytes, at: int, size: int) -> tuple[Kept, int]:
    l1_at, entries, id_bytes, name_bytes, _s, _ns, _clock, _state, extra = _ENTRY.unpack_from(
        table, at
    )
    more = at + _ENTRY.size
    if extra >= _SIZES.size:
        _state_bytes, size = _SIZES.unpack_from(table, more)
    name_at = more + extra + id_bytes
    name = table[name_at : name_at + name_bytes].decode()
    return Kept(name, l1_at, entries, size), -(-(name_at + name_bytes) // 8) * 8 - at


def named(opened: int, volume: str, name: str) -> Kept:
    """That snapshot. Raises `NotFound`, `Corrupt`."""
    try:
        return kept(opened, volume)[name]
    except KeyError:
        raise NotFound(f"{volume} has no such point") from None


def changed(opened: int, since: Kept | None, now: Kept) -> Iterator[Run]:
    """What is on the disk now and was not then, in order; all that is there when there is no `since`."""
    tables = _words(opened, now.table_at, now.entries)
    before = _words(opened, since.table_at, since.entries) if since else []
    clusters = -(-now.bytes // CLUSTER)
    for index, entry in enumerate(tables[: -(-clusters // PER_TABLE)]):
        old = before[index] & OFFSET if index < len(before) else 0
        if entry & OFFSET == old:
            continue
        here, there = _table(opened, entry & OFFSET), _table(opened, old)
        if here == there:
            continue
        first = index * PER_TABLE
        most = min(PER_TABLE, clusters - first)
        differing = (
            at
            for at in range(most)
            if (here[at] ^ there[at]) & ~COPIED and _plain(here[at]) != _plain(there[at])
        )
        yield from _runs(first, here, differing)


def _runs(first: int, table: list[int], indices: Iterable[int]) -> Iterator[Run]:
    what, begin, at = What.NOTHING, 0, list[int]()
    for index in indices:
        now, where = _sort(table[index])
        if at and (now is not what or begin + len(at) != index or len(at) == _AT_ONCE):
            yield Run(what, first + begin, tuple(at))
            at = []
        if not at:
            what, begin = now, index
        at.append(where)
    if at:
        yield Run(what, first + begin, tuple(at))


def _plain(entry: int) -> int:
    return ZERO if entry & ZERO and not entry & COMPRESSED else entry & ~COPIED


def _sort(entry: int) -> tuple[What, int]:
    if entry & COMPRESSED:
        raise Corrupt("it has compressed clusters, which can't be followed")
    if entry & ZERO:
        return What.ZEROS, 0
    where = entry & OFFSET
    return (What.DATA, where) if where else (What.NOTHING, 0)


def _table(opened: int, at: int) -> list[int]:
    return _words(opened, at, PER_TABLE) if at else [0] * PER_TABLE


def _words(opened: int, at: int, count: int) -> list[int]:
    held = os.pread(opened, count * 8, at)
    if len(held) < count * 8:
        raise Corrupt("a table of the file is cut off")
    return list(struct.unpack(f">{count}Q", held))


def length_of(runs: Iterable[Run]) -> tuple[int, int]:
    """Bytes of all frames of these, and how many of them are data."""
    length = data = 0
    for run in runs:
        own = len(run.at) * CLUSTER if run.what is What.DATA else 0
        length += FRAME.size + own
        data += own
    return length, data


def frames(opened: int, runs: Iterable[Run]) -> Iterator[bytes]:
    """As it is sent."""
    for run in runs:
        yield FRAME.pack(run.what, run.first, len(run.at))
        if run.what is What.DATA:
            yield b"".join(_cluster(opened, at) for at in run.at)


def _cluster(opened: int, at: int) -> bytes:
    return os.pread(opened, CLUSTER, at).ljust(
        CLUSTER, b"\0"
    )  # the last one of a file may be short


def taken(path: Path, begin: int) -> Iterator[tuple[What, int, int, bytes]]:
    """The frames in a file, from that place on: what, the first cluster, how many, and their data. Raises `Corrupt`."""
    with path.open("rb") as file:
        file.seek(begin)
        while head := file.read(FRAME.size):
            try:
                said, first, count = FRAME.unpack(head)
                what = What(said)
            except (struct.error, ValueError) as error:
                raise Corrupt("what came is no increment") from error
            size = count * CLUSTER if what is What.DATA else 0
            if size > MIB:
                raise Corrupt("what came is no increment")
            data = file.read(size)
            if len(data) < size:
                raise Corrupt("what came is cut off")
            yield what, first, count, data
