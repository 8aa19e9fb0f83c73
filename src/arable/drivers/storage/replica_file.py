"""A replica's file: a qcow2 in which every cluster of the disk has its place from the beginning, and takes none until written.

    cluster 0        the header                  1  the table of reference counts     2-5  the table of tables
    6 + g * 8193     table g, followed by the places of the 8192 clusters that it tells of
    behind all       reference counts

So a point is applied by writing clusters where they belong, and to apply it again does no harm. Header, table of tables and
reference counts are written when the replica becomes the volume, all from what is in the tables then: that costs
nothing of the disk's size in writes.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from arable.drivers.storage.points import (
    BITS,
    CLUSTER,
    COPIED,
    OFFSET,
    PER_TABLE,
    ZERO,
    What,
)

_COUNTS_AT, _TOP_AT, _FIRST = 1, 2, 6  # clusters
_PER_COUNTS = CLUSTER // 2  # 16 bits each
LARGEST = (_FIRST - _TOP_AT) * PER_TABLE * PER_TABLE * CLUSTER
"""Bytes of a disk."""
_SIZE_AT, _TOP = (
    24,
    struct.Struct(">IQQII"),
)  # of the header: entries, tables, counts, their clusters, snapshots
_TOP_HEAD_AT = 36
_KEEP_SIZE, _PUNCH = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _table_at(table: int) -> int:
    return (_FIRST + table * (PER_TABLE + 1)) * CLUSTER


def _place(cluster: int) -> int:
    table, index = divmod(cluster, PER_TABLE)
    return _table_at(table) + (1 + index) * CLUSTER


def apply(opened: int, frames: Iterable[tuple[What, int, int, bytes]]) -> None:
    """What these say is so in the file; not yet safe on the disk."""
    for what, first, count, data in frames:
        for table, begin, end in _split(first, count):
            places = range(_place(begin), _place(begin) + (end - begin) * CLUSTER, CLUSTER)
            if what is What.DATA:
                os.pwrite(
                    opened, data[(begin - first) * CLUSTER : (end - first) * CLUSTER], places[0]
                )
                entries = [at | COPIED for at in places]
            else:
                _punch(opened, places[0], len(places) * CLUSTER)
                entries = [ZERO if what is What.ZEROS else 0] * len(places)
            at = _table_at(table) + begin % PER_TABLE * 8
            os.pwrite(opened, struct.pack(f">{len(entries)}Q", *entries), at)


def _split(first: int, count: int) -> list[tuple[int, int, int]]:
    """By tables: which, from which cluster, up to which one."""
    end = first + count
    edges = [first, *range((first // PER_TABLE + 1) * PER_TABLE, end, PER_TABLE), end]
    return [(begin // PER_TABLE, begin, stop) for begin, stop in pairwise(edges)]


def _punch(opened: int, at: int, length: int) -> None:
    """Nothing is there. Beyond the file's end nothing is anyway."""
    size = os.fstat(opened).st_size
    length = min(length, size - at)
    if length <= 0:
        return
    mode = _KEEP_SIZE | _PUNCH
    if _libc.fallocate(opened, mode, ctypes.c_long(at), ctypes.c_long(length)):
        for begin in range(at, at + length, CLUSTER):  # of a file system that can't
            os.pwrite(opened, bytes(min(CLUSTER, at + length - begin)), begin)


def finish(opened: int, size: int, blank: Path) -> None:
    """It is a qcow2 of so many bytes, with the header of `blank`, an empty one over the same image; not yet safe on the disk."""
    tables = -(-size // (CLUSTER * PER_TABLE))
    tail = _FIRST + tables * (PER_TABLE + 1)
    used = set(range(_TOP_AT + -(-tables * 8 // CLUSTER)))
    top = []
    file_bytes = os.fstat(opened).st_size
    for table in range(tables):
        at = _table_at(table)
        held = os.pread(opened, CLUSTER, at) if at < file_bytes else b""
        if not held.strip(b"\0"):
            top.append(0)
            continue
        top.append(at | COPIED)
        used.add(at // CLUSTER)
        words = struct.unpack(f">{PER_TABLE}Q", held.ljust(CLUSTER, b"\0"))
        used.update((word & OFFSET) // CLUSTER for word in words if word & OFFSET)
    counted = _counts(used, tail)
    os.ftruncate(opened, (tail + len(counted)) * CLUSTER)
    blocks = [0] * (max(counted) + 1)
    for position, (block, counts) in enumerate(sorted(counted.items())):
        blocks[block] = (tail + position) * CLUSTER
        os.pwrite(opened, bytes(counts), blocks[block])
    os.pwrite(opened, struct.pack(f">{len(blocks)}Q", *blocks).ljust(CLUSTER, b"\0"), CLUSTER)
    room = (_FIRST - _TOP_AT) * CLUSTER
    os.pwrite(opened, struct.pack(f">{len(top)}Q", *top).ljust(room, b"\0"), _TOP_AT * CLUSTER)
    with blank.open("rb") as file:
        head = bytearray(file.read(CLUSTER).ljust(CLUSTER, b"\0"))
    struct.pack_into(">Q", head, _SIZE_AT, size)
    _TOP.pack_into(head, _TOP_HEAD_AT, len(top), _TOP_AT * CLUSTER, _COUNTS_AT * CLUSTER, 1, 0)
    os.pwrite(opened, head, 0)


def _counts(used: set[int], tail: int) -> dict[int, bytearray]:
    """Blocks of reference counts by their number, for these clusters and for the blocks themselves, behind `tail`."""
    blocks = {cluster // _PER_COUNTS for cluster in used}
    while True:
        own = range(tail, tail + len(blocks))
        more = {cluster // _PER_COUNTS for cluster in own} - blocks
        if not more:
            break
        blocks |= more
    counted = {block: bytearray(CLUSTER) for block in blocks}
    for cluster in (*used, *own):
        block, index = divmod(cluster, _PER_COUNTS)
        counted[block][index * 2 + 1] = 1
    return counted


assert 1 << BITS == CLUSTER
