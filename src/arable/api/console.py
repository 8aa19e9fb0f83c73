"""A user's websocket and an agent's, joined: the bytes of a machine's serial console, both ways.

The user shows a ticket (`POST /v1/machines/{machine}/console`) and the agent is asked, on its channel, to open its side
with another one that only its host can use. Nothing is kept: a piece that one side brought is written to the other
before the next one is read, so a slow side slows the fast one down. Both sides end together.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from arable.domain.console import FarVisit, Visit
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import HostId, MachineId, UserId
from arable.runtime.entropy import Entropy
from arable.runtime.tickets import Tickets
from arable.services.call import FarLine

log = logging.getLogger(__name__)
_quiet_log = logging.getLogger(f"{__name__}.wire")
_quiet_log.setLevel(logging.WARNING)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH = "/v1/console/"
MOST = 64 << 10
"""Bytes of one message."""
ANSWER_WITHIN = 15.0
IDLE = 15 * 60.0
"""Seconds without a byte either way, after which a console is closed."""

ENDED, TOO_LARGE, TRY_LATER = 1000, 1009, 1013
NO_TICKET, IDLE_TOO_LONG = 4401, 4408
_REASON = 100  # characters, as many bytes are allowed at least
_FAR_END = "arable.far-end"

Ask = Callable[[HostId, str, MachineId], bool]
"""`(host, ticket, machine)`: ask the host for the console; False when it can't be asked."""
Reach = Callable[[FarVisit], AbstractAsyncContextManager[FarLine]]
"""The console of a machine in another region; raises `CloudError` when it can't be had."""
Identify = Callable[[Any], Awaitable[UserId | None]]
"""Whose credential a websocket's request (its scope) carries, None for none; raises `CloudError` for a bad one."""


@dataclass
class _Meeting:
    """A user waits here for the agent."""

    host: HostId
    agent: "asyncio.Future[tuple[Receive, Send]]"
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Consoles:
    """Both sides come here, on one event loop."""

    def __init__(
        self,
        tickets: Tickets[Visit | FarVisit],
        ask: Ask,
        entropy: Entropy,
        *,
        identify: Identify | None = None,
        reach: Reach | None = None,
        idle: float = IDLE,
    ) -> None:
        self._tickets = tickets
        self._ask = ask
        self._entropy = entropy
        self._identify = identify
        self._reach = reach
        self._idle = idle
        self._meetings: dict[str, _Meeting] = {}

    async def user(self, scope: Any, receive: Receive, send: Send) -> None:
        """The websocket `/v1/console/{ticket}` of the public API.

        The ticket is enough, since browsers can't add headers to websockets; but a credential that is shown must be of
        the user whom the ticket was given to.
        """
        await receive()  # websocket.connect
        visit = self._tickets.take(str(scope["path"]).removeprefix(PATH))
        if visit is None or not await self._is(visit.user, scope):
            await send(_refusal())
        elif isinstance(visit, FarVisit):
            await self._passed_on(visit, receive, send)
        elif visit.origin:
            await send(_refusal())
        else:
            await self._visited(visit, receive, send)

    async def from_elsewhere(self, region: str, ticket: str, receive: Receive, send: Send) -> None:
        """The websocket of another region, as its certificate says, whose user was given the ticket here."""
        await receive()
        visit = self._tickets.take(ticket)
        if not isinstance(visit, Visit) or visit.origin != region:
            await send(_refusal())
        else:
            await self._visited(visit, receive, send)

    async def _passed_on(self, visit: FarVisit, receive: Receive, send: Send) -> None:
        """The user here, the machine's console in another region: that one's own limits and reasons hold."""
        await send({"type": "websocket.accept"})
        try:
            if self._reach is None:
                raise Unavailable("this management server reaches no other region")
            async with self._reach(visit) as line:
                log.info("%s opened a console in %s", visit.user, visit.region)
                await self._join((receive, send), _ends(line))
                log.info("%s left a console in %s", visit.user, visit.region)
        except CloudError as error:
            await _close(send, TRY_LATER, error.public[:_REASON])

    async def _visited(self, visit: Visit, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        meeting = _Meeting(visit.host, asyncio.get_running_loop().create_future())
        ticket = self._entropy.secret()
        self._meetings[ticket] = meeting
        try:
            if not self._ask(visit.host, ticket, visit.machine):
                why = "this management server has no channel to the machine's host; try again"
                await _close(send, TRY_LATER, why)
                return
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    theirs = await meeting.agent
            except TimeoutError:
                await _close(send, TRY_LATER, "the machine's host does not answer")
                return
            log.info("%s opened the console of %s", visit.user, visit.machine)
            await self._join((receive, send), theirs)
            log.info("%s left the console of %s", visit.user, visit.machine)
        finally:
            self._meetings.pop(ticket, None)
            meeting.over.set()

    async def agent(self, host: HostId, ticket: str, receive: Receive, send: Send) -> None:
        """The websocket of the agent on `host`, which its certificate has proven."""
        await receive()
        meeting = self._meetings.get(ticket)
        if meeting is None or meeting.host != host or meeting.agent.done():
            await send(_refusal())
            return
        meeting.agent.set_result((receive, send))
        await send({"type": "websocket.accept"})
        await meeting.over.wait()

    async def _is(self, user: UserId, scope: Any) -> bool:
        if self._identify is None:
            return True
        try:
            return await self._identify(scope) in (None, user)
        except CloudError:
            return False

    async def _join(self, one: tuple[Receive, Send], other: tuple[Receive, Send]) -> None:
        """Until one of them ends, or neither has said anything for too long."""
        stirred = asyncio.Event()
        work = {
            asyncio.ensure_future(_carry(one[0], other[1], stirred)),
            asyncio.ensure_future(_carry(other[0], one[1], stirred)),
            asyncio.ensure_future(_quiet(stirred, self._idle)),
        }
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            code, reason = done.pop().result()
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        await _close(one[1], code, reason)
        await _close(other[1], code, reason)


class ConsoleWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's websocket, for servers of either side: it waits for slow readers, and logs nobody's ticket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # They write the path of whoever comes, and the path holds the ticket.
        self.logger = self.conn.logger = _quiet_log
        self.conn.debug = False

    def shutdown(self) -> None:
        """The server stops. What the other end is closing already needs no word of ours, and takes none."""
        if self.conn.state is State.CLOSING:
            self.close_sent = True
        super().shutdown()


def route(consoles: Consoles) -> BaseRoute:
    """The users' side, for the API's application."""

    class Endpoint:  # an object, so that Starlette hands the bare websocket on
        async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
            await consoles.user(scope, receive, send)

    return WebSocketRoute(PATH + "{ticket}", Endpoint())


async def _carry(receive: Receive, send: Send, stirred: asyncio.Event) -> tuple[int, str]:
    """From one to the other, until the one ends; with which code and reason both do."""
    while True:
        message = await receive()
        if message["type"] == _FAR_END:
            return _told(message["code"]), str(message["reason"])[:_REASON]
        if message["type"] != "websocket.receive":
            return ENDED, "the console was closed"
        data = message.get("bytes")
        if data is None:
            data = (message.get("text") or "").encode()
        if len(data) > MOST:
            return TOO_LARGE, "a message is too large"
        stirred.set()
        try:
            await send({"type": "websocket.send", "bytes": data})
        except (OSError, RuntimeError):
            return ENDED, "the other side is gone"


async def _quiet(stirred: asyncio.Event, seconds: float) -> tuple[int, str]:
    while True:
        stirred.clear()
        try:
            async with asyncio.timeout(seconds):
                await stirred.wait()
        except TimeoutError:
            return IDLE_TOO_LONG, "closed, because nobody has used it for a while"


def _told(code: int) -> int:
    """A code that may be said; what stands for a broken connection may not."""
    return code if code in (ENDED, TOO_LARGE, TRY_LATER) or 4000 <= code < 5000 else TRY_LATER


def _ends(line: FarLine) -> tuple[Receive, Send]:
    """A console elsewhere, as the other side of one here."""

    async def receive() -> Message:
        said = await line.receive()
        if isinstance(said, bytes):
            return {"type": "websocket.receive", "bytes": said}
        code, reason = said
        return {"type": _FAR_END, "code": code, "reason": reason}

    async def send(message: Message) -> None:
        if message["type"] == "websocket.send":  # it is closed by whoever opened it
            await line.send(message["bytes"])

    return receive, send


def _refusal() -> Message:
    """Before the handshake: uvicorn answers with 403, whatever was wrong."""
    return {"type": "websocket.close", "code": NO_TICKET, "reason": ""}


async def _close(send: Send, code: int, reason: str) -> None:
    with suppress(OSError, RuntimeError):  # whoever is gone needs no goodbye
        await send({"type": "websocket.close", "code": code, "reason": reason})
