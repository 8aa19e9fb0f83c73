"""The little that building a guest needs to know of ELF files: sections, and a kernel without its padding."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from arable.domain.errors import Corrupt

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian: the only kind we meet
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_LOAD = 1


@dataclass(frozen=True, slots=True)
class _Section:
    name: bytes
    offset: int
    size: int


def section(elf: bytes, name: str) -> bytes:
    """The content of the section of that name; empty when there is none."""
    for found in _sections(elf):
        if found.name == name.encode():
            return elf[found.offset : found.offset + found.size]
    return b""


def _sections(elf: bytes) -> Iterator[_Section]:
    head = _header(elf)
    at, size, count, names = head[6], head[11], head[12], head[13]
    rows = [_SECTION.unpack_from(elf, at + index * size) for index in range(count)]
    text_at = rows[names][4] if rows else 0
    for row in rows:
        start = text_at + row[0]
        yield _Section(elf[start : elf.index(b"\0", start)], row[4], row[5])


def compact(elf: bytes) -> bytes:
    """The same program with what it doesn't load left out: sections, alignment in the file, zeros at the ends.

    A Debian kernel shrinks from 53 to about 34 MB, which is that much less to hash, to keep and to read.
    """
    head = _header(elf)
    at, size, count = head[5], head[9], head[10]
    programs = [_PROGRAM.unpack_from(elf, at + index * size) for index in range(count)]
    start = _HEADER.size + _PROGRAM.size * count
    body, rows = bytearray(), []
    placed: list[
        tuple[int, int, int]
    ] = []  # of each loaded segment: old offset, its end, new offset
    for kind, flags, offset, virtual, physical, in_file, in_memory, align in programs:
        if kind == _LOAD:
            data = elf[offset : offset + in_file].rstrip(b"\0")
            body += bytes(-len(body) % 16)
            placed.append((offset, offset + in_file, start + len(body)))
            rows.append(
                (kind, flags, start + len(body), virtual, physical, len(data), in_memory, 1)
            )
            body += data
        else:
            rows.append((kind, flags, offset, virtual, physical, in_file, in_memory, align))
    rows = [row if row[0] == _LOAD else _moved(row, placed) for row in rows]
    fields = list(head)
    fields[5], fields[6] = _HEADER.size, 0  # programs follow at once; no sections
    fields[9], fields[11], fields[12], fields[13] = _PROGRAM.size, 0, 0, 0
    table = b"".join(_PROGRAM.pack(*row) for row in rows)
    return _HEADER.pack(*fields) + table + bytes(body)


def _moved(
    row: tuple[int, int, int, int, int, int, int, int], placed: list[tuple[int, int, int]]
) -> tuple[int, int, int, int, int, int, int, int]:
    """A note lies inside a loaded segment and moves with it."""
    kind, flags, offset, virtual, physical, in_file, in_memory, align = row
    for old, end, new in placed:
        if old <= offset < end:
            return kind, flags, offset - old + new, virtual, physical, in_file, in_memory, align
    raise Corrupt("the program has a part that is not loaded with it")


def _header(elf: bytes) -> tuple[int, ...]:
    if not elf.startswith(_MAGIC) or len(elf) < _HEADER.size:
        raise Corrupt("not an ELF file for 64 bits")
    return _HEADER.unpack_from(elf)
