"""Where a host answers other hosts that want to know whether it is there: mutual TLS, one byte for one byte.

Whoever gets an answer knows that this machine runs, that its agent does, and that it is the host it should be. A volume that
goes to another host's pool, or has a replica there, is read here, too, by that host alone (`carry_line.py`). Nothing else can be asked. All that
comes in is bounded, as it is at the lease service.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from arable.agent.carry_line import ASKED, ASKED_POINT, Answer, line_of, refusal
from arable.domain import ids
from arable.domain.errors import BadInput, CloudError, Forbidden
from arable.domain.ids import HostId, OperationId, ReplicaId
from arable.drivers.storage.protocol import Passing
from arable.runtime.ca import IdentityKind, peer, server_context

log = logging.getLogger(__name__)

PORT = 10807
QUESTION, ANSWER = b"?", b"!"
_CONNECTIONS, _EACH = 128, 3
_IDLE_SECONDS = 30.0
_HANDSHAKE_SECONDS = 10.0
_LIFE = 900
"""Questions on one connection, half an hour's: a certificate that was replaced is not believed for ever."""


Lend = Callable[[HostId, OperationId], AbstractContextManager[Passing]]
"""Lets a host read the volume that waits to be read by it."""


LendPoint = Callable[[HostId, ReplicaId, int], AbstractContextManager[Passing]]
"""Lets a host read what changed since a point on a volume of which it keeps a replica."""


def _unbounded(_what: OperationId | ReplicaId) -> int:
    return 0


class PeerPort:
    """Answers until closed. `credentials` is the directory of the host's certificate for disks, which may be replaced."""

    def __init__(
        self,
        authority: str,
        credentials: Path,
        lend: Lend | None = None,
        speed: Callable[[OperationId], int] = _unbounded,
        lend_point: LendPoint | None = None,
        point_speed: Callable[[ReplicaId], int] = _unbounded,
    ) -> None:
        self._lend = lend
        self._speed = speed
        self._lend_point = lend_point
        self._point_speed = point_speed
        self._files = credentials / "server-cert.pem", credentials / "server-key.pem"
        self._context = server_context(*self._files, authority)
        self._talking: dict[asyncio.Task[None], str] = {}
        self._server: asyncio.Server | None = None
        self.address = ""

    async def open(self, address: str, port: int = PORT) -> None:
        """Listen; raises `OSError`."""
        self._server = await asyncio.start_server(
            self._talk,
            address,
            port,
            ssl=self._context,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
        )
        found: int = self._server.sockets[0].getsockname()[1]
        self.address = f"[{address}]:{found}" if ":" in address else f"{address}:{found}"

    def certified_anew(self) -> None:
        """Whoever connects from now on is shown the newest certificate."""
        self._context.load_cert_chain(*self._files)

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server:
            self._server.close()
        for task in self._talking:
            task.cancel()
        await asyncio.gather(*self._talking, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        try:
            name = _asker(writer)
            mine = [one for one, other in self._talking.items() if other == name]
            self._talking[task] = name
            for old in mine[: len(mine) + 1 - _EACH]:  # its network may have been cut meanwhile
                old.cancel()
            if len(self._talking) <= _CONNECTIONS:
                await self._serve(HostId(name), reader, writer)
        except asyncio.CancelledError:
            log.debug("a peer's connection gave way")
        except CloudError as error:
            log.warning("a caller was not answered: %s", error.public)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("a peer's connection ended: %s", error)
        finally:
            self._talking.pop(task, None)
            with suppress(OSError, RuntimeError):
                writer.close()

    async def _serve(
        self, asker: HostId, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for _ in range(_LIFE):
            async with asyncio.timeout(_IDLE_SECONDS):
                asked = await reader.read(1)
            if asked == ASKED and self._lend:
                operation = OperationId(ids.check("operation", await _line(reader)))
                await _pass_on(
                    self._lend(asker, operation), partial(self._speed, operation), writer
                )
                return
            if asked == ASKED_POINT and self._lend_point:
                said, _, since = (await _line(reader)).partition(" ")
                replica = ReplicaId(ids.check("replica", said))
                if not since.isdecimal():
                    raise BadInput("a point is a number")
                point = self._lend_point(asker, replica, int(since))
                await _pass_on(point, partial(self._point_speed, replica), writer)
                return
            if asked != QUESTION:
                return
            writer.write(ANSWER)
            await writer.drain()


async def _line(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(_IDLE_SECONDS):
        line = await reader.readuntil(b"\n")
    return line.decode("ascii", "replace").strip()


async def _pass_on(
    passing: AbstractContextManager[Passing],
    speed: Callable[[], int],
    writer: asyncio.StreamWriter,
) -> None:
    """What is lent. What takes long is the disk's, in threads; who does not read is waited for, and no longer."""
    try:
        found = await asyncio.to_thread(passing.__enter__)
    except CloudError as error:
        writer.write(refusal(error))
        await writer.drain()
        return
    try:
        writer.write(line_of(Answer(length=found.length, room=found.room)))
        began, sent = asyncio.get_running_loop().time(), 0
        while piece := await asyncio.to_thread(next, found.pieces, b""):
            writer.write(piece)
            async with asyncio.timeout(_IDLE_SECONDS):
                await writer.drain()
            sent += len(piece)
            if bound := speed():
                late = began + sent / bound - asyncio.get_running_loop().time()
                await asyncio.sleep(max(0.0, late))
        writer.write(found.sha256.encode())
        await writer.drain()
    finally:
        await asyncio.to_thread(passing.__exit__, None, None, None)


def _asker(writer: asyncio.StreamWriter) -> str:
    """The host that is there. Raises `Forbidden`."""
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    found = peer(connection.getpeercert(binary_form=True))
    if found is None or found.kind is not IdentityKind.HOST:
        raise Forbidden("only hosts are answered")
    try:
        return ids.check("host", found.common_name)
    except BadInput as error:
        raise Forbidden("this certificate names no host") from error


def own_address(servers: Sequence[str]) -> str:
    """The host's own address on the way to its management servers, which is the management network; empty if unknown.

    Nothing is sent: the kernel is asked which way it would go. One that only this machine has is nobody else's business.
    """
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
            for family, kind, protocol, _, where in found:
                with socket.socket(family, kind, protocol) as probe:
                    probe.connect(where)
                    address = str(probe.getsockname()[0])
                if not ip_address(address.partition("%")[0]).is_loopback:
                    return address
        except OSError as error:
            log.debug("the way to %s is not known: %s", server, error)
    return ""
