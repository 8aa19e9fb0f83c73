"""The lease service of a storage host: a small port for questions from compute hosts, over mutual TLS.

Runs beside the channel in the agent's process and needs no management server. Everything that comes in is bounded:
connections in all and from each host, bytes of a question, the time of a handshake and between questions. Renewals
are answered by threads of their own, so that starting a hundred disks' servers delays nobody's.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from arable.agent.lease_desk import LeaseDesk
from arable.domain import ids
from arable.domain.errors import BadInput, CloudError, Forbidden
from arable.domain.ids import HostId
from arable.runtime.ca import IdentityKind, Peer, peer, server_context
from arable.runtime.clock import Clock
from arable.wire import leases as wire
from arable.wire.leases import Answer

log = logging.getLogger(__name__)

PORT = 10808
_CONNECTIONS = 2048
_EACH = 4  # of one host; the oldest gives way: whose network was cut may have left some that nobody noticed yet
_IDLE_SECONDS = 120.0
_HANDSHAKE_SECONDS = 10.0


class LeasePort:
    """Answers until closed. `credentials` is the directory of the host's certificate for disks, which may be replaced.

    `asked` hears of each host that asks: it is there, whatever becomes of its question.
    """

    def __init__(
        self,
        desk: LeaseDesk,
        authority: str,
        credentials: Path,
        clock: Clock,
        asked: Callable[[HostId], None] = lambda _host: None,
    ) -> None:
        self._desk = desk
        self._asked = asked
        self._clock = clock
        self._credentials = credentials
        self._context = server_context(*self._files(), authority)
        self._quick = ThreadPoolExecutor(2, thread_name_prefix="renewals")
        self._slow = ThreadPoolExecutor(8, thread_name_prefix="leases")
        self._talking: set[asyncio.Task[None]] = set()
        self._of: dict[str, list[asyncio.Task[None]]] = {}
        self._newest: dict[
            HostId, int
        ] = {}  # epoch of a host's certificate: it may have joined anew
        self._server: asyncio.Server | None = None

    async def open(self, address: str, port: int) -> int:
        """Listen; the port, which is another one than 0 only if that was asked for."""
        self._server = await asyncio.start_server(
            self._talk,
            address,
            port,
            ssl=self._context,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            limit=wire.LONGEST,
        )
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    def certified_anew(self) -> None:
        """Whoever connects from now on is shown the newest certificate."""
        self._context.load_cert_chain(*self._files())

    async def close(self) -> None:
        """Answer nobody any more; what was given stays given."""
        if self._server:
            self._server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)
        for pool in (self._quick, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)

    def _files(self) -> tuple[Path, Path]:
        return self._credentials / "server-cert.pem", self._credentials / "server-key.pem"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._talking.add(task)
        name = ""
        try:
            found = _shown(writer)
            name = found.common_name
            others = self._of.setdefault(name, [])
            others.append(task)
            if len(others) > _EACH:
                others[0].cancel()
            if len(self._talking) <= _CONNECTIONS:
                await self._serve(found, reader, writer)
        except asyncio.CancelledError:
            log.debug("a connection for leases gave way")
        except CloudError as error:
            log.warning("a caller for leases was refused: %s", error.public)
        except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.debug("a connection for leases ended: %s", error)
        finally:
            if name:
                self._of[name].remove(task)
                if not self._of[name]:
                    del self._of[name]
            self._talking.discard(task)
            with suppress(OSError, RuntimeError):
                writer.close()

    async def _serve(
        self, caller: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            # A line that is too long, and what is no question, ends the connection: there is no way on from there.
            async with asyncio.timeout(_IDLE_SECONDS):
                sent = await reader.readline()
            if not sent.endswith(b"\n"):
                return
            question = wire.question(sent)
            try:
                holder = self._holder(caller)
            except Forbidden as error:
                answer = Answer(said=[], refused=error.public)
            else:
                self._asked(holder)
                pool = self._quick if self._desk.quick(question) else self._slow
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(pool, self._desk.answer, holder, question)
            writer.write(wire.line(answer))
            await writer.drain()

    def _holder(self, caller: Peer) -> HostId:
        """Who asks, looked at for every question: a connection may outlive its certificate. Raises `Forbidden`."""
        if caller.until <= self._clock.now():
            raise Forbidden("this certificate's time is over")
        host = HostId(caller.common_name)
        newest = max(self._newest.get(host, 0), caller.epoch)
        self._newest[host] = newest
        if caller.epoch < newest:
            raise Forbidden("this host joined anew; an earlier certificate counts no more")
        return host


def _shown(writer: asyncio.StreamWriter) -> Peer:
    """The host that is there. Raises `Forbidden`."""
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    found = peer(connection.getpeercert(binary_form=True))
    if found is None or found.kind is not IdentityKind.HOST:
        raise Forbidden("only hosts may ask about leases")
    try:
        ids.check("host", found.common_name)
    except BadInput as error:
        raise Forbidden("this certificate names no host") from error
    return found
