"""One process for each data directory: two would undo each other's work."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arable.domain.errors import Conflict


@contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the directory; raises `Conflict` when another process does. The kernel lets go when we end, however."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another process works in {directory}") from error
        yield
    finally:
        os.close(lock)
