"""The asynchronous edge of the agent: its one outgoing connection, and the loop that steps it.

Stepping does not depend on the connection: a host without a server goes on converging to the manifest it holds. The
agent itself is synchronous and belongs to one thread (`worker`; None runs it on the loop, for simulated hosts that
never block). A lock keeps its words in order: what a step found is never sent on a connection that was greeted later.

Lost connections are begun anew after a pause of random length, with another server in turn (`returning.py`) and another
address of its name (`addresses.py`), so that a thousand hosts don't come back in the same second, nor all to the same
place. A server that has too many agents, or is about to leave, asks some to go elsewhere: the new connection is made
before the old one is given up.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from arable.agent.addresses import Addresses
from arable.agent.agent import Agent
from arable.agent.console import Consoles
from arable.agent.returning import FIRST_SECONDS, LONGEST_SECONDS, Pauses, Returning
from arable.domain.errors import BadInput
from arable.domain.ids import MachineId
from arable.domain.manifest import HostReport
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.wire.agent import (
    VERSION,
    Elsewhere,
    OpenConsole,
    Report,
    Welcome,
    encode,
    from_server,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_BYTES = 256 << 20  # a whole manifest with the user-data of thousands of machines
OUTBOX = 64  # messages that a server may be behind
WELCOME_SECONDS = 30.0
AFTER_A_BUG_SECONDS = 5.0
UNWANTED = (4403, 4404)  # close codes: not who we say, or removed from the cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to wait; tests wait less."""

    welcome: float = WELCOME_SECONDS
    first_pause: float = FIRST_SECONDS
    longest_pause: float = LONGEST_SECONDS
    after_a_bug: float = AFTER_A_BUG_SECONDS


@dataclass(slots=True)
class _Link:
    """A connection that was greeted."""

    connection: ClientConnection
    server: str
    address: tuple[str, int]
    outbox: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(OUTBOX))

    def send(self, message: bytes) -> None:
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            raise ConnectionError(f"{self.server} does not read") from None


@dataclass(frozen=True, slots=True)
class _Made:
    """A connection to another server, before anything was said on it."""

    server: str
    address: tuple[str, int]
    connection: ClientConnection


class Channel:
    """Runs one agent. `tls` makes the context for each connection: certificates change; None is for tests alone."""

    def __init__(
        self,
        agent: Agent,
        servers: Sequence[str],
        tls: Callable[[], ssl.SSLContext] | None,
        clock: Clock,
        entropy: Entropy,
        *,
        worker: Executor | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._agent = agent
        self._tls = tls
        self._clock = clock
        self._worker = worker
        self._timing = timing or Timing()
        self._addresses = Addresses(entropy)
        self._returning = Returning(
            servers, entropy, Pauses(self._timing.first_pause, self._timing.longest_pause)
        )
        self._next: _Made | None = None
        self._moving: asyncio.Task[None] | None = None
        self._consoles = Consoles(agent.drivers.hypervisor)
        self._nudged = asyncio.Event()
        self._order = asyncio.Lock()
        self._link: _Link | None = None
        self._guests: set[asyncio.Task[None]] = set()  # consoles
        self._loop = asyncio.get_running_loop()

    @property
    def connected(self) -> bool:
        """Whether a server has been greeted."""
        return self._link is not None

    def nudge(self) -> None:
        """Something changed on the host: step soon. From any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._nudged.set)

    async def run(self) -> None:
        """Until cancelled. Whatever happens to connections, steps go on."""
        work = [asyncio.create_task(self._step()), asyncio.create_task(self._connect())]
        try:
            await asyncio.gather(*work)
        finally:
            for task in [*work, *self._guests]:
                task.cancel()
            await asyncio.gather(*work, *self._guests, return_exceptions=True)

    async def _do(self, call: Callable[..., T], *args: Any) -> T:
        if self._worker is None:
            return call(*args)
        return await self._loop.run_in_executor(self._worker, call, *args)

    # --- steps

    async def _step(self) -> None:
        while True:
            nudged = self._nudged.is_set()
            self._nudged.clear()
            try:
                async with self._order:
                    report, due = await self._do(self._round, nudged)
                    if report is not None and self._link is not None:
                        self._say(self._link, encode(Report(report=report)))
            except Exception:  # a bug of ours or of a driver's must not end the agent
                log.exception("a step failed")
                self._nudged.set()  # what it was about is to be looked at again
                await asyncio.sleep(self._timing.after_a_bug)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(due - self._clock.monotonic(), 0.0)):
                    await self._nudged.wait()

    def _round(self, nudged: bool) -> tuple[HostReport | None, float]:
        agent = self._agent
        whole = nudged or agent.due() <= self._clock.monotonic()
        report = agent.step() if whole else agent.glance()
        return report, min(agent.due(), agent.glance_due())

    def _say(self, link: _Link, message: bytes) -> None:
        try:
            link.send(message)
        except ConnectionError as error:
            log.warning("hanging up: %s", error)
            self._link = None
            link.connection.transport.abort()

    # --- connections

    async def _connect(self) -> None:
        while True:
            made, self._next = self._next, None
            server = made.server if made else self._returning.server()
            why = "the connection ended"
            try:
                await (self._attend_on(made) if made else self._attend(server))
            except (OSError, WebSocketException, BadInput, TimeoutError) as error:
                why = _reason(error)
                if _code(error) in UNWANTED:
                    self._returning.unwanted()
                self._returning.asked(_asked(error))
            if self._next is not None:
                continue  # that is where we are expected
            wait = self._returning.pause()
            log.warning("%s: %s; coming back in %.1f s", server, why, wait)
            await asyncio.sleep(wait)

    async def _attend(self, server: str) -> None:
        """One connection to the first of its addresses that can be reached, from greeting to end."""
        failure: OSError | None = None
        for address in await self._addresses.of(server):
            try:
                return await self._attend_on(await self._open(server, address))
            except OSError as error:
                log.debug("%s at %s: %s", server, address[0], _reason(error))
                failure = error
        assert failure is not None, "a name that is known has an address"
        raise failure

    async def _open(self, server: str, address: tuple[str, int]) -> _Made:
        connection = await connect(
            self._url(server, "channel"),
            host=address[0],
            port=address[1],
            ssl=self._tls() if self._tls else None,
            max_size=MOST_BYTES,
            compression=None,
            proxy=None,
            open_timeout=self._timing.welcome,
        )
        return _Made(server, address, connection)

    async def _attend_on(self, made: _Made) -> None:
        """One connection from greeting to end. Raises unless the server was glad of us."""
        welcomed = False
        try:
            async with made.connection as connection:
                link = await self._greet(connection, made.server, made.address)
                sender = asyncio.create_task(_send(link))
                try:
                    async with asyncio.timeout(self._timing.welcome) as patience:
                        async for frame in connection:
                            message = from_server(frame)
                            if isinstance(message, Welcome):
                                _check(message)
                                welcomed = True
                                patience.reschedule(None)
                                self._returning.welcomed(message.others, message.spread_seconds)
                                log.info("connected to %s at %s", message.server, made.server)
                            await self._hear(message, link)
                finally:
                    sender.cancel()
                    await asyncio.gather(sender, return_exceptions=True)
        except (OSError, WebSocketException, BadInput, TimeoutError) as error:
            if not welcomed or isinstance(error, BadInput) or _code(error) in UNWANTED:
                raise
            log.warning("%s: %s", made.server, _reason(error))
        finally:
            self._link = None

    async def _greet(
        self, connection: ClientConnection, server: str, address: tuple[str, int]
    ) -> _Link:
        async with self._order:
            hello = await self._do(self._agent.hello)
            link = self._link = _Link(connection, server, address)
            link.send(encode(msgspec.structs.replace(hello, moves=True)))
        self._nudged.set()  # the full report
        return link

    async def _hear(self, message: Any, link: _Link) -> None:
        if isinstance(message, OpenConsole):
            task = asyncio.create_task(self._open_console(message, link))
            self._guests.add(task)
            task.add_done_callback(self._guests.discard)
            return
        if isinstance(message, Elsewhere):
            self._returning.asked(message.seconds)
            if message.servers and (self._moving is None or self._moving.done()):
                self._moving = asyncio.create_task(self._move(message, link))
                self._guests.add(self._moving)
                self._moving.add_done_callback(self._guests.discard)
            return
        async with self._order:
            answer = await self._do(self._agent.receive, message)
            if answer is not None:
                self._say(link, encode(answer))
        self._nudged.set()

    async def _move(self, wanted: Elsewhere, link: _Link) -> None:
        """Go to another server, once it has taken us in; what was on its way here is said again there."""
        now = self._clock.monotonic()
        for server in wanted.servers:
            if not self._returning.reachable(server, now):
                continue
            try:
                (address, *_) = await self._addresses.of(server)
                made = await self._open(server, address)
            except (OSError, WebSocketException, TimeoutError) as error:
                log.info("asked to go to %s: %s", server, _reason(error))
                self._returning.unreachable(server, now)
                continue
            if self._link is not link:  # it is over already, and somebody else is being asked
                await made.connection.close()
                return
            log.info("going from %s to %s, as asked", link.server, server)
            self._next = made
            await link.connection.close()
            return
        if wanted.leaves and self._link is link:
            await link.connection.close()

    # --- consoles

    async def _open_console(self, wanted: OpenConsole, link: _Link) -> None:
        try:
            async with connect(
                self._url(link.server, f"console/{wanted.ticket}"),
                host=link.address[0],  # another server would not know the ticket
                port=link.address[1],
                ssl=self._tls() if self._tls else None,
                compression=None,
                proxy=None,
            ) as far:

                async def receive() -> bytes | None:
                    try:
                        data = await far.recv()
                    except ConnectionClosed:
                        return None
                    return data if isinstance(data, bytes) else data.encode()

                why = await self._consoles.bridge(MachineId(wanted.machine), receive, far.send)
                with suppress(ConnectionClosed):
                    await far.send(f"\r\n[{why}]\r\n".encode())
                await far.close()
        except (OSError, WebSocketException, TimeoutError) as error:
            log.warning("the console of %s was not shown: %s", wanted.machine, _reason(error))

    def _url(self, server: str, what: str) -> str:
        return f"{'wss' if self._tls else 'ws'}://{server}/agent/v1/{what}"


async def _send(link: _Link) -> None:
    with suppress(ConnectionClosed):
        while True:
            message = await link.outbox.get()
            await link.connection.send(message, text=True)


def _code(error: BaseException) -> int | None:
    """With which code the server closed the connection."""
    if isinstance(error, ConnectionClosed) and error.rcvd:
        return error.rcvd.code
    return None


def _asked(error: BaseException) -> float:
    """How long a server wants us to stay away that would not even talk to us."""
    if not isinstance(error, InvalidStatus):
        return 0.0
    told = error.response.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() and len(told) < 5 else 0.0


def _check(welcome: Welcome) -> None:
    if welcome.version != VERSION:
        raise BadInput(f"{welcome.server} speaks version {welcome.version}, not {VERSION}")


def _reason(error: BaseException) -> str:
    if isinstance(error, BadInput):
        return error.public
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
