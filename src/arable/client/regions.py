"""What a region asks of another one's grid port: mutual TLS, one connection for each line, synchronous.

A line is used by one thread. Another one may `hang_up` all lines of a region: whoever reads there fails at once, so that
nobody waits for a region that is too slow for what somebody else has done already.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import msgspec

from arable.client.errors import CallError, NotArable, Refused, Unreachable
from arable.wire.common import Problem
from arable.wire.grid import LOAD, SendingLoad

STALL = 20.0
"""Seconds without a byte, after which a line is taken for cut."""

_PIECE = 64 << 10
_PROBLEM = 64 << 10


class Region:
    """One region as a server: `name` is what its certificate must say, `url` where it is (https://HOST:PORT)."""

    def __init__(
        self, name: str, url: str, tls: Callable[[], ssl.SSLContext], stall: float = STALL
    ) -> None:
        self.name = name
        self._url = url
        self._tls = tls
        self._stall = stall
        self._lines: set[Line] = set()
        self._kept: Line | None = None
        self._lock = threading.Lock()
        self._hung_up = False

    def line(self) -> "Line":
        """Another connection, or the one that was kept. Raises `Unreachable`."""
        with self._lock:
            kept, self._kept = self._kept, None
            if kept is not None and not self._hung_up:
                return kept
        line = Line(self, self._connected())
        with self._lock:
            late = self._hung_up
            if not late:
                self._lines.add(line)
        if late:
            line.close()
            raise Unreachable(f"{self.name}: we hung up")
        return line

    def keep(self, line: "Line") -> None:
        """Whoever opened it needs it no more, and it is as good as new."""
        with self._lock:
            spare, self._kept = (line, None) if self._hung_up else (self._kept, line)
        if spare is not None:
            spare.close()

    def hang_up(self) -> None:
        """All lines end, now and for ever; from any thread."""
        with self._lock:
            self._hung_up = True
            kept, self._kept = self._kept, None
            for line in self._lines:
                line.cut()
        if kept is not None:
            kept.close()

    def forget(self, line: "Line") -> None:
        """It was closed."""
        with self._lock:
            self._lines.discard(line)

    def _connected(self) -> http.client.HTTPSConnection:
        found = urlsplit(self._url)
        if found.scheme != "https" or not found.hostname or not found.port:
            raise Unreachable(f"{self.name}: its address {self._url!r} is not https://HOST:PORT")
        connection = http.client.HTTPSConnection(found.hostname, found.port)
        try:
            plain = socket.create_connection((found.hostname, found.port), self._stall)
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Whoever answers there must be that region, whatever the address is called.
                connection.sock = self._tls().wrap_socket(plain, server_hostname=self.name)
            except BaseException:
                plain.close()
                raise
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self.name} can't be reached: {error}") from error
        return connection


class Line:
    """One connection to a region."""

    def __init__(self, region: Region, connection: http.client.HTTPSConnection) -> None:
        self._region = region
        self._connection = connection

    def load(self) -> float:
        """The share of what that region can send at once that is on its way. Raises `CallError`."""
        found = b"".join(self._get(LOAD, _PROBLEM))
        try:
            return msgspec.json.decode(found, type=SendingLoad).load
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotArable(f"{self._region.name} does not say how busy it is") from error

    def chunk_list(self, sha256: str, most: int) -> bytes:
        """Of a part there, of at most so many bytes. Raises `CallError`."""
        found = b"".join(self._get(f"/grid/v1/parts/{sha256}", most + 1))
        if len(found) > most:
            raise NotArable(f"{self._region.name} sends a chunk list that is too long")
        return found

    def chunks(self, sha256: str, want: str) -> Iterator[bytes]:
        """These chunks of a part there, packed, in pieces as they come. Raises `CallError`."""
        return self._get(f"/grid/v1/parts/{sha256}/chunks?want={want}", 1 << 62)

    def close(self) -> None:
        """Hang up."""
        self._region.forget(self)
        self._connection.close()

    def cut(self) -> None:
        """End whatever is under way; from any thread."""
        if self._connection.sock is not None:
            with suppress(OSError):  # the socket's own, as the TLS around it belongs to the reader
                socket.socket.shutdown(self._connection.sock, socket.SHUT_RDWR)

    def _get(self, path: str, most: int) -> Iterator[bytes]:
        name = self._region.name
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            if answer.status != http.client.OK:
                raise _refused(name, answer)
            while most > 0 and (piece := answer.read1(min(_PIECE, most))):
                most -= len(piece)
                yield piece
            if answer.length == 0:  # all of it: the next question may be asked on this line
                answer.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unreachable(
                f"the line to {name} was cut: {error or type(error).__name__}"
            ) from error


def _refused(name: str, answer: http.client.HTTPResponse) -> CallError:
    body = answer.read(_PROBLEM)
    try:
        return Refused(msgspec.json.decode(body, type=Problem))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NotArable(f"{name} answers {answer.status}, and not why")
