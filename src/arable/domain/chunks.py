"""A part of an image as chunks named by their content, and how they go over a wire. Pure.

A chunk is 64 KiB of the file at a multiple of 64 KiB: a cluster of a qcow2 file as QEMU makes it. Such a file that
gained clusters in its middle has the others at other places but with the same content, and a chunk is found by content,
so nothing but what is new moves (docs/decisions/0033 has the figures, also of cutting where the content says).

What a chunk list says is believed only as far as the whole: the part's own SHA-256 decides in the end.
"""

import hashlib
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from arable.domain.errors import BadInput, Corrupt
from arable.domain.units import MIB

CHUNK = MIB // 16
"""Bytes of each chunk but the last one of a part."""
TOGETHER = 64
"""Chunks that are asked for at once: 4 MiB."""

_HASH = 32
_MAGIC = b"arable-chunks-1\n"
_HEAD = struct.Struct(f">{len(_MAGIC)}s32sQ")
_FRAME = struct.Struct(">IIB")  # number of the chunk, bytes that follow, how they are packed
_PLAIN, _DEFLATED = 0, 1
_WORTH = 0.9  # what does not shrink below this is sent as it is
_MOST = 1 << 25  # chunks of a part: 2 TiB

ZERO = hashlib.sha256(bytes(CHUNK)).digest()
"""Of a chunk of nothing, which never moves."""


@dataclass(frozen=True, slots=True)
class ChunkList:
    """Of the part with that SHA-256 (hex) and so many bytes: the SHA-256 of each chunk, one after the other."""

    sha256: str
    size: int
    hashes: bytes

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != _HASH * count_of(self.size):
            raise Corrupt("the chunk list does not fit the part's length")

    def __len__(self) -> int:
        return len(self.hashes) // _HASH

    def digest(self, number: int) -> bytes:
        """Of one chunk."""
        return self.hashes[number * _HASH : (number + 1) * _HASH]

    def length(self, number: int) -> int:
        """Bytes of one chunk."""
        return min(CHUNK, self.size - number * CHUNK)

    def check(self, number: int, data: bytes) -> None:
        """Raises `Corrupt` unless that is the chunk."""
        if not 0 <= number < len(self):
            raise Corrupt("there is no such chunk in the part")
        if hashlib.sha256(data).digest() != self.digest(number):
            raise Corrupt("a chunk is not what the list says")

    def encode(self) -> bytes:
        """As it is kept, and as it is sent."""
        return _HEAD.pack(_MAGIC, bytes.fromhex(self.sha256), self.size) + self.hashes


def decode(data: bytes) -> ChunkList:
    """Raises `Corrupt` for what is no chunk list."""
    if len(data) < _HEAD.size:
        raise Corrupt("this is no chunk list")
    magic, sha256, size = _HEAD.unpack_from(data)
    if magic != _MAGIC or count_of(size) > _MOST:
        raise Corrupt("this is no chunk list")
    return ChunkList(sha256.hex(), size, data[_HEAD.size :])


def most_of_list(size: int) -> int:
    """Bytes that the chunk list of a part of that many bytes has when it is sent."""
    return _HEAD.size + _HASH * count_of(size)


def count_of(size: int) -> int:
    """Chunks of so many bytes."""
    return -(-size // CHUNK)


def list_of(sha256: str, size: int, chunks: Iterable[bytes]) -> ChunkList:
    """The list of a part whose chunks come one after the other."""
    return ChunkList(sha256, size, b"".join(hashlib.sha256(chunk).digest() for chunk in chunks))


# --- what to ask for


def requests(missing: Iterable[int], most: int = TOGETHER) -> list[tuple[int, ...]]:
    """Missing chunks in order, so many at once."""
    ordered = sorted(missing)
    return [tuple(ordered[at : at + most]) for at in range(0, len(ordered), most)]


def written(numbers: Sequence[int]) -> str:
    """Ascending numbers as a query says them: "0-3,7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def read(text: str, count: int, most: int = 4 * TOGETHER) -> tuple[int, ...]:
    """The numbers that a query names, of a part with `count` chunks. Raises `BadInput`."""
    found: list[int] = []
    if len(text) > 16 * most:
        raise BadInput("too many chunks at once", field="want")
    for run in text.split(","):
        first, _, last = run.partition("-")
        ends = (first, last or first)
        if not all(end.isascii() and end.isdigit() and len(end) <= 9 for end in ends):
            raise BadInput('numbers of chunks look like "0-3,7"', field="want")
        low, high = int(ends[0]), int(ends[1])
        if low > high or (found and low <= found[-1]):
            raise BadInput("numbers of chunks ascend", field="want")
        if high >= count:
            raise BadInput(f"the part has {count} chunks", field="want")
        if len(found) + high - low + 1 > most:
            raise BadInput(f"at most {most} chunks at once", field="want")
        found.extend(range(low, high + 1))
    return tuple(found)


# --- how they are sent


def packed(number: int, data: bytes) -> bytes:
    """A chunk as it is sent: deflated where that is worth it."""
    small = zlib.compress(data, 1)
    if len(small) < _WORTH * len(data):
        return _FRAME.pack(number, len(small), _DEFLATED) + small
    return _FRAME.pack(number, len(data), _PLAIN) + data


def unpacked(pieces: Iterable[bytes], wanted: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Numbers and chunks out of what was received, as soon as each is complete.

    Raises `Corrupt` for what was not `wanted` or can't be unpacked; what is cut off ends early. Nothing larger than a
    chunk is ever made of what a sender says.
    """
    kept = bytearray()
    for piece in pieces:
        kept += piece
        while len(kept) >= _FRAME.size:
            number, length, how = _FRAME.unpack_from(kept)
            if number not in wanted or length > CHUNK or how not in (_PLAIN, _DEFLATED):
                raise Corrupt("the sender sends something else than chunks that were asked for")
            end = _FRAME.size + length
            if len(kept) < end:
                break
            data = bytes(kept[_FRAME.size : end])
            del kept[:end]
            yield number, _inflated(data) if how == _DEFLATED else data


def _inflated(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, CHUNK + 1)
    except zlib.error as error:
        raise Corrupt("a chunk can't be unpacked") from error
    if len(plain) > CHUNK or not unpacker.eof:
        raise Corrupt("a chunk is larger than a chunk")
    return plain
