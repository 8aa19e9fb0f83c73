"""Files that are there completely or not at all, also after a power cut; and files that are gone for good."""

import os
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """What was created, renamed or removed in `folder` is on the disk when this returns."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def new_file(path: Path, data: bytes = b"") -> Path:
    """A file of its owner's alone, for a staging folder: what is there already is overwritten.

    Not yet on the disk: `put_in_place` sees to that.
    """
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(opened, "wb") as file:
        file.write(data)
    return path


def put_in_place(made: Path, path: Path) -> None:
    """Give a file that is complete its name, in one step, replacing what had it."""
    opened = os.open(made, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
    made.replace(path)
    sync_folder(path.parent)


def write_whole(path: Path, data: bytes, staging: Path) -> None:
    """Write `path` by way of `staging`."""
    put_in_place(new_file(staging / f"{path.parent.name}-{path.name}", data), path)


def destroy(path: Path) -> None:
    """Nobody can read what was in the file any more, not even one who still has it open; already gone is fine.

    Cut to nothing first and then unlinked. Cutting gives every block back to the file system, which hands blocks
    out again only as zeros, and which tells the disk (discard) where it is mounted so. Unlinking alone would leave
    the content readable to a process that holds the file open, or by a second link. Overwriting is not done: on
    flash and on copying file systems it does not reach the old blocks, and it costs the volume's size in writes.
    Whoever may read the raw disk is kept out by encrypting it below the file system.
    """
    with suppress(FileNotFoundError):
        opened = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            os.ftruncate(opened, 0)
            os.fsync(opened)
        finally:
            os.close(opened)
        path.unlink()
        sync_folder(path.parent)
