"""Pools of files that this host has mounted, for the machines that it runs (docs/decisions/0043).

Which pool is in which directory stands in the directory, and is not believed before it was seen there that the pool is
kept: by the lock that its keeper holds, which is seen here only where it is the same file system and locks pass from host to
host. A file system that does not answer may hold up whoever asks it for ever, so each directory is looked at by a thread
of its own, and what is known of it is over when that was not heard for a while.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from arable.agent.pool_marks import MARK
from arable.domain import ids
from arable.domain.errors import BadInput
from arable.domain.ids import PoolId, VolumeId
from arable.drivers.storage import file_locks
from arable.drivers.storage.file.exports import LEASED
from arable.drivers.storage.file.pool import KEEPER
from arable.drivers.storage.protocol import export_name
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
_KNOWN_SECONDS = 4 * LOOK_SECONDS
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Look:
    """A directory as it was seen: the pool in it, and why no machine can start from it now, if so."""

    at: float
    pool: PoolId | None
    told: str


class Mounted(Protocol):
    """Pools of files, as a host that runs machines knows them."""

    def reached(self) -> tuple[PoolId, ...]:
        """Pools that were seen to be kept here, and whose directories are there: also while their keeper is away."""

    def lacks(self, pool: PoolId) -> str:
        """Why no machine can start from that pool now; empty when one can."""

    def path(self, pool: PoolId, volume: VolumeId, epoch: int) -> Path:
        """The file by which the holder of that epoch has the volume. Only of a pool that lacks nothing."""


class FilePools:
    """Of these directories. `changed` is called when another set of pools can be reached than before."""

    def __init__(
        self, directories: Sequence[Path], clock: Clock, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._looks: dict[Path, Look] = {}
        self._directories = tuple(directories)
        self._proved: dict[Path, PoolId] = {}
        self._leaving = threading.Event()

    def start(self) -> None:
        """Look again and again, until closed."""
        for each in self._directories:
            threading.Thread(
                target=self._watch, args=(each,), name=f"pool {each}", daemon=True
            ).start()

    def close(self) -> None:
        """Look no more. A look that does not end is left alone."""
        self._leaving.set()

    def look(self, directory: Path) -> None:
        """Once."""
        pool, told = _seen(directory)
        before = self._looks.get(directory)
        if told and (before is None or before.told != told):
            log.warning("%s: %s", directory, told)
        self._looks[directory] = Look(self._clock.monotonic(), pool, told)
        proved = self._proved.get(directory)
        if pool and not told:
            self._proved[directory] = pool
        elif proved and proved != pool:
            del self._proved[directory]
        if self._proved.get(directory) != proved:
            self._changed()

    def reached(self) -> tuple[PoolId, ...]:
        """Pools that were seen to be kept here, and whose directories are there: also while their keeper is away."""
        return tuple(sorted(set(self._proved.values())))

    def lacks(self, pool: PoolId) -> str:
        """Why no machine can start from that pool now; empty when one can."""
        directory = self._directory(pool)
        if directory is None:
            others = [f"{path}: {look.told}" for path, look in self._looks.items() if look.told]
            return "; ".join([f"{pool} is not mounted on this host", *others])
        look = self._looks[directory]
        if self._clock.monotonic() > look.at + _KNOWN_SECONDS:
            return f"{directory} does not answer"
        return f"{directory}: {look.told}" if look.told else ""

    def path(self, pool: PoolId, volume: VolumeId, epoch: int) -> Path:
        """The file by which the holder of that epoch has the volume. Only of a pool that lacks nothing."""
        directory = self._directory(pool)
        assert directory, "it lacks nothing"
        return directory / LEASED / export_name(volume, epoch)

    def _directory(self, pool: PoolId) -> Path | None:
        return next((path for path, look in self._looks.items() if look.pool == pool), None)

    def _watch(self, directory: Path) -> None:
        while not self._leaving.is_set():
            self.look(directory)
            self._leaving.wait(LOOK_SECONDS)


def _seen(directory: Path) -> tuple[PoolId | None, str]:
    try:
        mark = (directory / MARK).read_text()[:_LONGEST]
        pool = PoolId(ids.check("pool", mark))
        keeper = directory / KEEPER
        where = keeper.read_text()[:_LONGEST]
        if where != str(directory):
            return pool, f"its keeper has it at {where}: mount it at that path here, too"
        if not file_locks.is_held(keeper):
            return pool, (
                "the lock of its keeper is not seen: either no agent keeps it now, or this file system passes no locks"
                " from host to host, and is not safe"
            )
    except FileNotFoundError:
        return None, "no pool is there: is it mounted?"
    except (BadInput, UnicodeDecodeError):
        return None, f"what is in its {MARK} is no pool's id"
    except OSError as error:
        return None, f"it can't be read: {error.strerror}"
    return pool, ""
