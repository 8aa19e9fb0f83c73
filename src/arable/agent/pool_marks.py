"""The mark in a pool's directory, and the memory that it was there: an empty mount point is not taken for the pool.

After a reboot without its mount a pool's directory is empty. Disks are made on first use, so every machine would start
from a blank one, and write to a file system that the mount hides later. So the directory has a mark, and the agent
remembers elsewhere, with its identity, that it set one; whoever remembers a mark and finds none serves nothing.
"""

from pathlib import Path

from arable.domain.errors import Unavailable
from arable.domain.ids import PoolId
from arable.drivers.storage.durable import new_file, put_in_place

MARK, MEMORY = "pool.id", "pools"


def recognise(home: Path, storage: Path, pool: PoolId) -> None:
    """The pool of a host, whose agent lives in `home`, is in `storage`. Raises `Unavailable` where it was and is not."""
    mark, memory = storage / MARK, home / MEMORY / pool
    if not mark.exists() and memory.exists():
        raise Unavailable(
            f"{storage} held the disks of this host, and nothing of them is there: is it mounted? Nothing is served"
            " until it is; if it is lost for good: `arable host remove-lost`, and join anew"
        )
    storage.mkdir(mode=0o711, parents=True, exist_ok=True)
    memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (mark, memory):  # what is remembered is there
        if not path.exists() or path.read_text() != pool:
            put_in_place(new_file(path.with_name(f".{path.name}"), pool.encode()), path)
