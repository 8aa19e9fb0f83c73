"""Serial consoles: a machine's one socket, shared by all who look at it.

A hypervisor serves one client on a console's socket, so the first viewer opens it and the last one closes it. Each
viewer first gets the end of what the machine said before; what any of them types goes to the machine. A viewer that
does not take what it is sent is dropped, the machine waits for nobody.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from arable.domain.errors import CloudError, NotFound, Unavailable
from arable.domain.ids import MachineId
from arable.drivers.hypervisor.protocol import HasConsole, Hypervisor

log = logging.getLogger(__name__)

TAIL_BYTES = 32 << 10
_PIECE = 16 << 10
_QUEUE = 256  # pieces that a viewer may be behind

Ended = None
Pieces = asyncio.Queue[bytes | None]


class _Line:
    """An open console."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.users = 0  # viewers, and those who are about to be
        self.viewers: set[Pieces] = set()
        self.writer = writer
        self._reader = reader
        self._task = asyncio.create_task(self._carry())
        self.over = False

    async def _carry(self) -> None:
        try:
            while piece := await self._reader.read(_PIECE):
                for viewer in list(self.viewers):
                    self._give(viewer, piece)
        except OSError as error:
            log.info("a console ended: %s", error)
        self.over = True
        for viewer in list(self.viewers):
            self._give(viewer, Ended)

    def _give(self, viewer: Pieces, piece: bytes | None) -> None:
        try:
            viewer.put_nowait(piece)
        except asyncio.QueueFull:
            self.viewers.discard(viewer)
            viewer.get_nowait()
            viewer.put_nowait(Ended)

    async def close(self) -> None:
        self.over = True
        self._task.cancel()
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Viewer:
    """One who looks: `read` until it is None, `write` what is typed."""

    def __init__(self, line: _Line, pieces: Pieces) -> None:
        self._line = line
        self._pieces = pieces

    async def read(self) -> bytes | None:
        """What the machine says next; None at the end."""
        return await self._pieces.get()

    async def write(self, data: bytes) -> None:
        """To the machine; raises `Unavailable` when it is gone."""
        try:
            self._line.writer.write(data)
            await self._line.writer.drain()
        except OSError as error:
            raise Unavailable("the machine's console is gone") from error


class Consoles:
    """All consoles of a host. Used on one event loop."""

    def __init__(self, hypervisor: Hypervisor | None) -> None:
        self._hypervisor = hypervisor
        self._lines: dict[MachineId, _Line] = {}
        self._opening: WeakValueDictionary[MachineId, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def view(self, machine: MachineId) -> AsyncIterator[Viewer]:
        """Look at a machine's console; raises `NotFound` when it has none now."""
        hypervisor = self._hypervisor
        if not isinstance(hypervisor, HasConsole):
            raise NotFound("machines of this host have no consoles")
        lock = self._opening.setdefault(machine, asyncio.Lock())
        async with lock:
            line = self._lines.get(machine)
            if line is None or line.over:
                path = await asyncio.to_thread(hypervisor.console, machine)
                line = self._lines[machine] = await _opened(path)
            line.users += 1
        pieces: Pieces = asyncio.Queue(_QUEUE)
        try:
            log_file = await asyncio.to_thread(hypervisor.console_log, machine)
            for piece in _pieces(_tail(log_file)):
                pieces.put_nowait(piece)
            line.viewers.add(
                pieces
            )  # without a pause since the log was read, so that nothing is missed
            if line.over:  # it ended while the log was looked for, and told those it had then
                pieces.put_nowait(Ended)
            yield Viewer(line, pieces)
        finally:
            line.viewers.discard(pieces)
            line.users -= 1
            if not line.users:
                if self._lines.get(machine) is line:
                    del self._lines[machine]
                await line.close()

    async def bridge(
        self,
        machine: MachineId,
        receive: Callable[[], Awaitable[bytes | None]],
        send: Callable[[bytes], Awaitable[None]],
    ) -> str:
        """Join a machine's console and somebody far away until one of them ends; why it ended."""
        try:
            async with self.view(machine) as viewer:
                sides = {
                    asyncio.ensure_future(_show(viewer, send)),
                    asyncio.ensure_future(_type(viewer, receive)),
                }
                try:
                    done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for side in sides:
                        side.cancel()
                    await asyncio.gather(*sides, return_exceptions=True)
                return done.pop().result()
        except CloudError as error:
            return error.public


async def _show(viewer: Viewer, send: Callable[[bytes], Awaitable[None]]) -> str:
    while piece := await viewer.read():
        await send(piece)
    return "the machine's console ended"


async def _type(viewer: Viewer, receive: Callable[[], Awaitable[bytes | None]]) -> str:
    while data := await receive():
        await viewer.write(data)
    return "the viewer has gone"


async def _opened(path: Path) -> _Line:
    try:
        return _Line(*await asyncio.open_unix_connection(path))
    except OSError as error:
        raise Unavailable(f"the machine's console can't be opened: {error}") from error


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read(TAIL_BYTES)
    except OSError:
        return b""  # it has not said anything yet


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
