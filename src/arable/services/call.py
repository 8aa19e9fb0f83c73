"""What a use case gets besides its arguments: who asks, in which transaction, and the doors to time and chance.

Nothing else is ambient. A use case's first line says which permission it needs; then the domain decides and the
store keeps. Path ids, query and body follow the call as plain arguments, in this order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from arable.domain.access import Caller
from arable.domain.console import FarVisit, Visit
from arable.domain.ids import MachineId, SegmentId
from arable.domain.image_files import ImageFiles, PartChunks, PartialFiles
from arable.runtime.ca import Authority
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.secret import Secret
from arable.runtime.tickets import Tickets
from arable.services.attempts import Attempts
from arable.store.attention import Fresh, Landed
from arable.store.database import Tx
from arable.store.grid_members import Link
from arable.wire.grid import PassIn, PassOut


class GridRole(StrEnum):
    """What the process is in the grid."""

    REGION = "region"  # one that is in no grid is one, too
    GRID = "grid"


class Joined(Protocol):
    """What a region is given when it joins a grid."""

    @property
    def authorities(self) -> tuple[str, ...]:
        """Of the grid, PEM."""

    @property
    def certificate(self) -> str:
        """Its own, PEM."""

    @property
    def key(self) -> Secret:
        """That goes with it."""


class FarLine(Protocol):
    """What lasts between this region and another: a console of a machine there, a stream of events from there."""

    async def receive(self) -> bytes | tuple[int, str]:
        """What it says next; at the end with which code, and why."""

    async def send(self, data: bytes) -> None:
        """To the other end. Raises `OSError` when the way there is gone."""


class GridDoor(Protocol):
    """How a region reaches a grid manager (`controllers/grid_wire.py`; services know no controllers)."""

    def join(self, grid: str, token: str, region: str, /) -> Joined:
        """Be let in at HOST:PORT. Raises `Unavailable`, or what it was refused with."""

    def carry(self, link: Link, url: str, region: str, ask: PassIn, waits: int, /) -> PassOut:
        """Ask another region at its grid port, as this one; `waits`: seconds that the answer may take longer."""

    def send(
        self, link: Link, url: str, region: str, ask: PassIn, pieces: Iterator[bytes], /
    ) -> PassOut:
        """The same with a file that follows, piece by piece."""

    def console(
        self, link: Link, url: str, region: str, ticket: str, /
    ) -> AbstractAsyncContextManager[FarLine]:
        """A console of a machine there; raises `Unavailable` when it can't be had."""

    def follow(self, link: Link, url: str, region: str, /) -> AbstractAsyncContextManager[FarLine]:
        """A line for a stream of events from there (`api/passed_streams.py`); raises `Unavailable`."""


Land = Callable[[Tx, Sequence[Fresh], datetime], Mapping[MachineId, Landed]]
"""Finds hosts for what is deployed, in the same transaction (`controllers/landing.py`; services know no controllers)."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all calls of a process."""

    clock: Clock
    entropy: Entropy
    ids: Ids
    images: ImageFiles
    authority: Authority
    attempts: Attempts = field(default_factory=Attempts)  # at guessing passwords
    inbox: Path | None = None  # where operators lay image files for `by path`; None: nowhere
    consoles: Tickets[Visit | FarVisit] | None = None  # None: where no console can be opened
    chunks: PartChunks | None = (
        None  # the image store by chunks; None: nothing is exchanged with other regions
    )
    partial: PartialFiles | None = None  # None: no upload goes on where it broke off
    server: SegmentId | None = None  # this management server
    grid: GridDoor | None = None  # None: this process can't join a grid
    grid_role: GridRole = GridRole.REGION
    land: Land | None = None  # None: controllers place what is deployed, a moment later


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    tx: Tx
    caller: Caller
    around: Surroundings
    dry_run: bool = False
    expects: int | None = None  # If-Match: the generation that the caller saw


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of many that one batch function executes together; `args` are what the use case would get.

    A dry run never shares a batch: it is executed alone and rolled back.
    """

    caller: Caller
    around: Surroundings
    args: tuple[Any, ...]
    dry_run: bool = False
    expects: int | None = None

    def on(self, tx: Tx) -> Call:
        """The call that a use case for this one request alone would get."""
        return Call(tx, self.caller, self.around, self.dry_run, self.expects)


@dataclass(frozen=True, slots=True)
class Prelude:
    """What goes before a write and would hold up the writer: hashing passwords, receiving a stream.

    A prelude runs on a thread of its own, outside of any transaction; `look()` opens one for reading. What it
    returns is the use case's last argument. What it saw may have changed since: the use case decides.
    """

    caller: Caller
    around: Surroundings
    look: Callable[[], AbstractContextManager[Call]]
