"""What regions ask of the grid manager, and of each other: mutual TLS, by the name that a certificate must have.

Synchronous, on the standard library's sockets: the other end is known by its name, wherever it answers, which an
ordinary client does not offer. One connection a call: calls are few, and far apart.
"""

import http.client
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from arable.client.errors import NotArable, Unreachable, refused
from arable.wire.common import Problem

_MOST = 256 << 20  # bytes of an answer
_CONNECT = 10.0
_REFUSAL = 5.0  # seconds for what the other end said before it hung up

T = TypeVar("T")
Context = Callable[[], ssl.SSLContext]
"""Made for each call, so that renewed certificates are used."""


def ask(
    address: str,
    name: str,
    context: ssl.SSLContext,
    path: str,
    body: msgspec.Struct,
    gives: type[T],
    *,
    within: float = 30.0,
) -> T:
    """POST a document to HOST:PORT, whose certificate must be `name`'s. Seconds of silence are `within`.

    Raises `Unreachable`, `Refused` with the problem that was told, or `NotArable`.
    """
    try:
        with _connected(address, name, context, within) as connection:
            headers = {"content-type": "application/json", "connection": "close"}
            connection.request("POST", path, msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            read = answer.read(_MOST)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{name} does not answer at {address}: {error}") from error
    return _understood(name, answer, read, gives)


def send(
    address: str,
    name: str,
    context: ssl.SSLContext,
    path: str,
    head: msgspec.Struct,
    pieces: Iterable[bytes],
    gives: type[T],
    *,
    within: float = 60.0,
    answer_within: float = 300.0,
) -> T:
    """POST a document with a file behind it, which is read as it is sent and kept nowhere; the document's length comes first.

    Seconds: `within` for the other end to take a piece, `answer_within` for its answer once it has all of them. Raises as
    `ask` does, and whatever `pieces` raises.
    """
    sent = 0
    try:
        with _connected(address, name, context, within) as connection:
            connection.putrequest("POST", path)
            connection.putheader("content-type", "application/octet-stream")
            connection.putheader("transfer-encoding", "chunked")
            connection.putheader("connection", "close")
            connection.endheaders()
            begins = msgspec.json.encode(head)
            try:
                _send_chunk(connection, len(begins).to_bytes(4) + begins)
                for piece in pieces:
                    _send_chunk(connection, piece)
                    sent += len(piece)
                connection.send(b"0\r\n\r\n")
            except OSError:
                # It may have been refused before all of it was there: that is said, if it is not lost on the way.
                connection.sock.settimeout(_REFUSAL)
            else:
                connection.sock.settimeout(answer_within)
            answer = connection.getresponse()
            read = answer.read(_MOST)
    except (OSError, http.client.HTTPException) as error:
        told = f"{name} does not answer any more after {sent >> 20} MiB: nothing of the file counts there; send it again"
        raise Unreachable(f"{told} ({error})") from error
    return _understood(name, answer, read, gives)


def _send_chunk(connection: http.client.HTTPSConnection, piece: bytes) -> None:
    if piece:
        connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))


@contextmanager
def _connected(
    address: str, name: str, context: ssl.SSLContext, within: float
) -> Iterator[http.client.HTTPSConnection]:
    host, _, port = address.removeprefix("https://").rpartition(":")
    try:
        plain = socket.create_connection((host.strip("[]"), int(port)), min(_CONNECT, within))
    except (OSError, ValueError) as error:
        raise Unreachable(f"{name} can't be reached at {address}: {error}") from error
    connection = http.client.HTTPSConnection(host.strip("[]"), int(port))
    try:
        with plain:
            plain.settimeout(within)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sock = context.wrap_socket(plain, server_hostname=name)
            yield connection
    finally:
        connection.close()


def _understood(name: str, answer: http.client.HTTPResponse, read: bytes, gives: type[T]) -> T:
    try:
        if answer.status >= 300:
            raise refused(msgspec.json.decode(read, type=Problem))
        return msgspec.json.decode(read, type=gives)
    except msgspec.DecodeError as error:
        raise NotArable(f"{name} answered {answer.status}, and not as Arable does") from error
