"""What management servers ask of each other, at each other's gateways: mutual TLS, one connection kept for each.

Synchronous, on sockets of its own, because the deadline is one for all of it: connecting, the handshake, the answer.
"""

import http.client
import logging
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from arable.wire.cluster import PING, Pong

log = logging.getLogger(__name__)

_MOST = 4096  # bytes of an answer
_AT_ONCE = 16
_pong = msgspec.json.Decoder(Pong)


class Peers:
    """`tls` makes the context for a new connection, so that renewed certificates are used. From any thread."""

    def __init__(
        self, tls: Callable[[], ssl.SSLContext], monotonic: Callable[[], float], deadline: float
    ) -> None:
        self._tls = tls
        self._monotonic = monotonic
        self._deadline = deadline
        self._kept: dict[str, http.client.HTTPSConnection] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pings")
        self._bell, self._rung = socket.socketpair()

    def close(self) -> None:
        """Hang up."""
        self._threads.shutdown(cancel_futures=True)
        self._bell.close()
        self._rung.close()
        for connection in self._kept.values():
            connection.close()

    def ping(self, address: str) -> Pong | None:
        """Who answers at HOST:PORT; None when nobody says so within the deadline."""
        end = self._monotonic() + self._deadline
        with self._locks.setdefault(address, threading.Lock()):
            kept = self._kept.pop(address, None)
            if kept is not None:
                try:
                    return self._asked(address, kept, end)
                except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
                    kept.close()
                    log.debug("the connection to %s ended: %s", address, error)
            return self._anew(address, end)

    def ping_all(self, addresses: Sequence[str]) -> dict[str, Pong | None]:
        """Each of them, at once."""
        return dict(zip(addresses, self._threads.map(self.ping, addresses), strict=True))

    def rest(self, address: str, seconds: float) -> None:
        """Wait, but not for longer than the connection to HOST:PORT lasts: a process that dies hangs up at once."""
        kept = self._kept.get(address)
        watched = [self._rung, *([kept.sock] if kept is not None and kept.sock else [])]
        try:
            select.select(watched, [], [], seconds)
        except (OSError, ValueError) as error:  # it was closed meanwhile
            log.debug("the connection to %s ended: %s", address, error)

    def ring(self) -> None:
        """End every `rest`, and let there be none any more."""
        self._bell.send(b"!")

    def _anew(self, address: str, end: float) -> Pong | None:
        connection: http.client.HTTPSConnection | None = None
        try:
            host, port = _split(address)
            connection = http.client.HTTPSConnection(host, port)
            context = self._tls()
            plain = socket.create_connection((host, port), self._left(end))
            try:
                plain.settimeout(self._left(end))
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.sock = context.wrap_socket(plain, server_hostname=host)
            except BaseException:
                plain.close()
                raise
            return self._asked(address, connection, end)
        except (OSError, ValueError, http.client.HTTPException, msgspec.DecodeError) as error:
            log.debug("no answer from %s: %s", address, error)
            if connection is not None:
                connection.close()
            return None

    def _asked(
        self, address: str, connection: http.client.HTTPSConnection, end: float
    ) -> Pong | None:
        connection.sock.settimeout(self._left(end))
        connection.request("GET", PING)
        connection.sock.settimeout(self._left(end))
        answer = connection.getresponse()
        body = answer.read(_MOST)
        if answer.status != http.client.OK:
            log.warning("%s refuses our ping: %d", address, answer.status)
            connection.close()
            return None
        pong = _pong.decode(body)
        if answer.will_close:
            connection.close()
        else:
            self._kept[address] = connection
        return pong

    def _left(self, end: float) -> float:
        left = end - self._monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
