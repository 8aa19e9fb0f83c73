"""Image parts for other regions: which chunks a part has, and the chunks.

    GET /grid/v1/parts/SHA256                     the chunk list (`domain/chunks.py`), as it is kept
    GET /grid/v1/parts/SHA256/chunks?want=0-3,7   those chunks, each packed by itself, in that order
    GET /grid/v1/load                             how much is being sent, for those who choose whom to ask

Whoever asks says which chunks it lacks, so an answer that was cut off costs at most one of them again. What is read,
packed and checked is on threads, so that other calls are answered meanwhile.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from arable.api.grid.app import GridAnswer, GridRequest, GridRoute, json_answer
from arable.domain import chunks as cut
from arable.domain.chunks import ChunkList
from arable.domain.errors import BadInput
from arable.services.grid_desk import GridDesk
from arable.wire.grid import LOAD, SendingLoad

_LIST = re.compile(r"/grid/v1/parts/([0-9a-f]{64})")
_LOAD = re.compile(re.escape(LOAD))
_CHUNKS = re.compile(r"/grid/v1/parts/([0-9a-f]{64})/chunks")
_BYTES = ((b"content-type", b"application/octet-stream"),)
_THREADS = 4
_AT_ONCE = 32  # answers on their way
_READ = 4  # chunks that are read and packed at a time


class Parts:
    """Made and called on the event loop."""

    def __init__(self, desk: GridDesk) -> None:
        self._desk = desk
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="grid-parts")
        self._sending = asyncio.Semaphore(_AT_ONCE)
        self._asked = 0  # answers on their way, or waiting for their turn
        self._loop = asyncio.get_running_loop()

    def routes(self) -> list[GridRoute]:
        """For `GridApp`."""
        return [
            GridRoute("GET", _LIST, self._list),
            GridRoute("GET", _CHUNKS, self._chunks),
            GridRoute("GET", _LOAD, self._load),
        ]

    def close(self) -> None:
        """Nothing more."""
        self._threads.shutdown(cancel_futures=True)

    async def _list(self, request: GridRequest) -> GridAnswer:
        part = await self._run(self._desk.part, request.region, request.found[0])
        return GridAnswer(part.encode(), headers=_BYTES)

    async def _load(self, _request: GridRequest) -> GridAnswer:
        return json_answer(SendingLoad(load=min(1.0, self._asked / _AT_ONCE)))

    async def _chunks(self, request: GridRequest) -> GridAnswer:
        query = request.query()
        wants = query.pop("want", [])
        if query:
            raise BadInput("there is no such parameter", field=next(iter(query))[:64])
        if len(wants) != 1:
            raise BadInput("say once which chunks", field="want")
        part = await self._run(self._desk.part, request.region, request.found[0])
        numbers = cut.read(wants[0], len(part))
        return GridAnswer(self._packed(part, numbers), headers=_BYTES)

    async def _packed(self, part: ChunkList, numbers: Sequence[int]) -> AsyncIterator[bytes]:
        self._asked += 1
        try:
            async with self._sending:
                for at in range(0, len(numbers), _READ):
                    yield await self._run(self._some, part, numbers[at : at + _READ])
        finally:
            self._asked -= 1

    def _some(self, part: ChunkList, numbers: Sequence[int]) -> bytes:
        found = self._desk.read(part, numbers)
        return b"".join(
            cut.packed(number, data) for number, data in zip(numbers, found, strict=True)
        )

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._threads, work, *args)
