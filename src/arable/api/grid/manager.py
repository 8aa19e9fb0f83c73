"""The grid manager's port: regions say what is new and hear what is new elsewhere; who has a token joins.

Everything but joining is for regions, by their certificates (`api/grid/app.py`). What a call does is one transaction of
the store's writer.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from arable.api import incoming, problems
from arable.api.gateway.door import Door
from arable.api.grid.app import (
    GridAnswer,
    GridApp,
    GridRequest,
    GridRoute,
    Send,
    json_answer,
    refuse,
    send_answer,
)
from arable.api.incoming import ClientGone, Receive, Scope
from arable.domain.errors import BadInput, CloudError
from arable.runtime.ca import Peer
from arable.services import grid_manager
from arable.services.call import Surroundings
from arable.services.execution import Writer
from arable.services.grid_manager import Sender
from arable.wire.grid import JOIN, RENEW, SYNC, GridJoinIn, GridRenewIn, SyncIn

log = logging.getLogger(__name__)

_JOIN_BODY = 64 << 10
T = TypeVar("T")


class ManagerApp:
    """ASGI application of the grid manager's port."""

    def __init__(self, writer: Writer, around: Surroundings) -> None:
        self._writer = writer
        self._around = around
        self._door = Door(around.clock)
        self._app = GridApp(
            [
                GridRoute("POST", re.compile(re.escape(SYNC)), self._sync),
                GridRoute("POST", re.compile(re.escape(RENEW)), self._renew),
            ],
            around.clock,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != JOIN or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await send_answer(send, await self._join(scope, receive))
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - told, and logged there
            await refuse(send, error)

    async def _join(self, scope: Scope, receive: Receive) -> GridAnswer:
        if scope["method"] != "POST":
            raise problems.Fault(405, "method-not-allowed", "this is for POST", {b"allow": b"POST"})
        client = scope.get("client")
        source = client[0] if client else ""
        self._door.check(source)
        try:
            body = await incoming.body(receive, incoming.headers(scope), limit=_JOIN_BODY)
            ask = _parsed(body, GridJoinIn)
            answer = await self._done(grid_manager.join, ask)
        except CloudError:
            self._door.failed(source)
            raise
        log.info("%s joined from %s", answer.region, source)
        return json_answer(answer, 201)

    async def _sync(self, request: GridRequest) -> GridAnswer:
        ask = _parsed(await request.body(), SyncIn)
        return json_answer(await self._done(grid_manager.take, _sender(request), ask))

    async def _renew(self, request: GridRequest) -> GridAnswer:
        ask = _parsed(await request.body(), GridRenewIn)
        return json_answer(await self._done(grid_manager.renew, _sender(request), ask))

    async def _done(self, does: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.wrap_future(
            self._writer.submit(lambda tx: does(tx, self._around, *args))
        )


def _sender(request: GridRequest) -> Sender:
    peer: Peer = request.scope["state"]["peer"]
    return Sender(request.region, peer.epoch)


def _parsed(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise problems.of_validation(error, "body") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput("not JSON", field="body") from error
