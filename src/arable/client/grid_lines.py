"""What lasts between two regions, as a console or a stream of events: a websocket to the other's grid port, by mutual TLS."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from arable.client.errors import Unreachable

_CONNECT = 10.0
_PING = 20.0  # seconds between looks whether the other end is there, and for its answer
_MOST = 64 << 10
AWAY = 1013
"""With which code it ends when the way there does: try again later."""


class Line:
    """One of them."""

    def __init__(self, name: str, socket: ClientConnection, lost: str) -> None:
        self._name = name
        self._lost = lost
        self._socket = socket

    async def receive(self) -> bytes | tuple[int, str]:
        """What the other end says next; at the end with which code, and why."""
        try:
            said = await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            if error.rcvd is None:
                return AWAY, f"{self._name} does not answer any more{self._lost}"
            return error.rcvd.code, error.rcvd.reason
        return said if isinstance(said, bytes) else said.encode()

    async def send(self, data: bytes) -> None:
        """To the other end. Raises `OSError` when the way there is gone."""
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            raise OSError(f"{self._name} is gone") from error


@asynccontextmanager
async def line(
    address: str, name: str, context: ssl.SSLContext, path: str, lost: str = ""
) -> AsyncIterator[Line]:
    """At HOST:PORT, whose certificate must be `name`'s. Raises `Unreachable`, also when it is refused there.

    `lost` goes behind the reason when the other end is silent.
    """
    host, _, port = address.removeprefix("https://").rpartition(":")
    try:
        socket = await connect(
            f"wss://{name}{path}",
            host=host.strip("[]"),
            port=int(port),
            ssl=context,
            server_hostname=name,
            proxy=None,
            compression=None,
            max_size=_MOST,
            open_timeout=_CONNECT,
            ping_interval=_PING,
            ping_timeout=_PING,
            close_timeout=2.0,
        )
    except InvalidStatus as error:
        raise Unreachable(f"{name} does not open this; ask for it again") from error
    except (OSError, ValueError, WebSocketException) as error:
        raise Unreachable(f"{name} can't be reached at {address}: {error}") from error
    try:
        yield Line(name, socket, lost)
    finally:
        await socket.close()
