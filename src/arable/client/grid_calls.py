"""What regions ask of the grid manager, and of each other: mutual TLS, by the name that a certificate must have.

Synchronous, on the standard library's sockets: the other end is known by its name, wherever it answers, which an
ordinary client does not offer. One connection a call: calls are few, and far apart.
"""

import http.client
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

import msgspec

from arable.client.errors import NotArable, Unreachable, refused
from arable.wire.common import Problem

_MOST = 256 << 20  # bytes of an answer
_CONNECT = 10.0

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
            headers = {"content-type": "application/json", "connection": "close"}
            connection.request("POST", path, msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            read = answer.read(_MOST)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{name} does not answer at {address}: {error}") from error
    finally:
        connection.close()
    try:
        if answer.status >= 300:
            raise refused(msgspec.json.decode(read, type=Problem))
        return msgspec.json.decode(read, type=gives)
    except msgspec.DecodeError as error:
        raise NotArable(f"{name} answered {answer.status}, and not as Arable does") from error
