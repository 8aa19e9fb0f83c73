"""Snapshots within a volume's own file: qcow2 keeps them beside what is there now (docs/decisions/0018).

Which ones a file has is read from its header and table by ourselves, also while a QEMU has it open: both are written
whole, by us alone. Everything else is done by whoever has the file open, or by `qemu-img` in the jail when nobody has:
its own lock on the file keeps it out otherwise.

QEMU orders what it writes so that a file whose writer dies in between has the snapshot or has not, and is sound; at worst
some room stays taken that nothing uses. To set a volume back ends with one write of its table of clusters, which a cut of
power may tear: it is done again before anything else is done with the volume.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

from arable.domain.errors import Corrupt
from arable.domain.ids import SnapshotId
from arable.domain.image_header import HEAD_BYTES, read_overlay
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.storage.blanks import must_be_fine
from arable.drivers.storage.durable import new_file
from arable.drivers.storage.jail import Bounds, Jail

_COUNT = struct.Struct(">IQ")  # snapshots, and where their table is
_COUNT_AT = 60
_ENTRY = struct.Struct(">QIHHIIQII")  # 40 bytes, followed by extra data, an id and a name
_LONGEST = 1 * MIB  # of a table: we keep some dozens of short names
_LENGTH, _LENGTH_AT = struct.Struct(">I"), 100  # of the header
_EXTENSION, _BACKING_FORMAT = struct.Struct(">II"), 0xE2792ACA
_COPY_SECONDS = 6 * 3600
_METADATA = 64 * MIB  # that a snapshot of a large file may add to it


def names(path: Path) -> frozenset[SnapshotId]:
    """The snapshots that a file has. Raises `Corrupt`."""
    with path.open("rb") as file:
        head = file.read(_COUNT_AT + _COUNT.size)
        if len(head) < _COUNT_AT + _COUNT.size:
            raise Corrupt(f"{path.stem} is damaged")
        count, at = _COUNT.unpack_from(head, _COUNT_AT)
        if not count:
            return frozenset()
        file.seek(at)
        table = file.read(_LONGEST)
    try:
        return frozenset(_names(table, count))
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise Corrupt(f"the snapshots of {path.stem} can't be read", detail=str(error)) from error


def _names(table: bytes, count: int) -> list[SnapshotId]:
    found: list[SnapshotId] = []
    at = 0
    for _ in range(count):
        *_where, id_bytes, name_bytes, _s, _ns, _clock, _state, extra = _ENTRY.unpack_from(
            table, at
        )
        name_at = at + _ENTRY.size + extra + id_bytes
        name = table[name_at : name_at + name_bytes]
        if len(name) < name_bytes:
            raise IndexError(f"snapshot {len(found)} of {count} is cut off")
        found.append(SnapshotId(name.decode()))
        at = -(-(name_at + name_bytes) // 8) * 8
    return found


def backing_format(path: Path) -> str:
    """The format of the image below a file, as we wrote it there. Raises `Corrupt`."""
    head = _head(path)
    at = _LENGTH.unpack_from(head, _LENGTH_AT)[0]
    while at + _EXTENSION.size <= len(head):
        kind, length = _EXTENSION.unpack_from(head, at)
        if kind == _BACKING_FORMAT:
            said = head[at + _EXTENSION.size :][:length].decode(errors="replace")
            if said in (PartFormat.QCOW2, PartFormat.RAW):
                return said
        if kind == 0:
            break
        at += _EXTENSION.size + -(-length // 8) * 8
    raise Corrupt(f"{path.stem} does not say what is below it")


def _virtual(path: Path) -> int:
    return read_overlay(_head(path)).virtual_bytes


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        raise Corrupt(f"{path.stem} is damaged")
    return head


class SnapshotTool:
    """`qemu-img snapshot` on files that nobody has open. `read` are the files that one stands over."""

    def __init__(self, jail: Jail) -> None:
        self._jail = jail

    def take(self, path: Path, snapshot: SnapshotId, read: Sequence[Path]) -> None:
        """Raises `Conflict` when somebody has it open, `NoRoom`, `Unavailable`."""
        self._run(path, "-c", snapshot, read)

    def drop(self, path: Path, snapshot: SnapshotId, read: Sequence[Path]) -> None:
        """The same."""
        self._run(path, "-d", snapshot, read)

    def apply(self, path: Path, snapshot: SnapshotId, read: Sequence[Path]) -> None:
        """The file is as it was then, in size as well. May be done again."""
        self._run(path, "-a", snapshot, read)

    def copy(self, path: Path, snapshot: SnapshotId, to: Path, below: Sequence[Path]) -> None:
        """A file at `to` with what the snapshot keeps, over the same image; not yet safe on the disk.

        Whoever has the first one open goes on with it: what a snapshot keeps is never written to.
        """
        new_file(to)
        over = [word for each in below for word in ("-B", str(each), "-F", backing_format(path))]
        done = self._jail.run(
            "qemu-img",
            [
                *("convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2"),
                *("-l", f"snapshot.name={snapshot}", *over, "--", str(path), str(to)),
            ],
            read=[path, *below],
            write=[to],
            bounds=Bounds(
                seconds=_COPY_SECONDS, file_bytes=path.stat().st_size + _virtual(path) + _METADATA
            ),
        )
        must_be_fine(done, path.stem)

    def flatten(self, path: Path, snapshot: SnapshotId, to: Path, below: Sequence[Path]) -> None:
        """A file at `to` with what the snapshot keeps and what lies below that: it stands over nothing."""
        new_file(to)
        done = self._jail.run(
            "qemu-img",
            [
                *("convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2"),
                *("-l", f"snapshot.name={snapshot}", "--", str(path), str(to)),
            ],
            read=[path, *below],
            write=[to],
            bounds=Bounds(
                seconds=_COPY_SECONDS, file_bytes=path.stat().st_size + _virtual(path) + _METADATA
            ),
        )
        must_be_fine(done, path.stem)

    def _run(self, path: Path, how: str, snapshot: SnapshotId, read: Sequence[Path]) -> None:
        # With its format: nothing is ever guessed. A comma ends an option's value unless it is doubled.
        opened = f"driver=qcow2,file.driver=file,file.filename={str(path).replace(',', ',,')}"
        done = self._jail.run(
            "qemu-img",
            ["snapshot", "-q", how, snapshot, "--image-opts", opened],
            read=read,
            write=[path],
            bounds=Bounds(file_bytes=path.stat().st_size + _METADATA),
        )
        must_be_fine(done, path.stem)
