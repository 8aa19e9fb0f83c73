"""Views: files that show what is on another volume of their pool, and have nothing of their own.

An overlay over the other one's file, of the same size, which whoever serves or runs it opens read-only. QEMU's locks do
the rest: a file below an open view is open to be read, and nobody opens it to write meanwhile, nor the other way round.
"""

from pathlib import Path

from arable.domain import ids
from arable.domain.errors import BadInput
from arable.domain.ids import VolumeId
from arable.domain.image_header import HEAD_BYTES, Overlay, read_overlay

SUFFIX = ".qcow2"


def overlay(path: Path) -> Overlay | None:
    """What a volume's file says of itself; None when that is not understood."""
    try:
        with path.open("rb") as file:
            return read_overlay(file.read(HEAD_BYTES))
    except BadInput:
        return None


def viewed(path: Path) -> VolumeId | None:
    """The volume that a file is a view of, if it is one."""
    found = overlay(path)
    return None if found is None else below(path, found)


def below(path: Path, found: Overlay) -> VolumeId | None:
    """The volume that a file with this header is a view of: one beside it."""
    backing = Path(found.backing) if found.backing else None
    if backing is None or backing.parent != path.parent or backing.suffix != SUFFIX:
        return None
    try:
        return VolumeId(ids.check("volume", backing.stem))
    except BadInput:
        return None
