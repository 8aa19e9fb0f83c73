"""Asks a switch which rules it holds, in OpenFlow 1.4 over its unix socket.

This is asked at every look at the host and before every change, so it is not left to `ovs-ofctl`: starting that
takes five times as long as the answer. Rules are written through the tool all the same, which knows their grammar.
Layouts are those of the OpenFlow Switch Specification 1.4.0, 7.1 (header) and 7.3.5.2 (multipart, flow statistics).
"""

import socket
import struct
from collections import Counter
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.drivers.network import unix_socket

_VERSION = 5  # 1.4
_HELLO, _ERROR, _ECHO_REQUEST, _ECHO_REPLY = 0, 1, 2, 3
_MULTIPART_REQUEST, _MULTIPART_REPLY = 18, 19
_FLOW, _MORE = 1, 1
_ALL_TABLES, _ANY = 0xFF, 0xFFFFFFFF
_HEADER = struct.Struct("!BBHI")  # version, kind, length, number of the request
_PART = struct.Struct("!HH4x")  # what is asked, flags
_QUESTION = struct.Struct("!B3xII4xQQHH4x")  # table, port, group, cookie, mask; a match of nothing
_RULE_LENGTH = struct.Struct("!H")
_COOKIE = struct.Struct("!24xQ")  # in a rule of the answer
_NUMBER = 1


def cookies(switch: Path, cookie: int, mask: int, patience: float) -> Counter[int]:
    """How many rules there are of each cookie that equals `cookie` where `mask` has ones.

    `switch` is the bridge's management socket. Raises `Unavailable` when the switch does not answer, refuses,
    or makes no sense.
    """
    try:
        with unix_socket.connect(switch, patience) as to:
            return _ask(to, cookie, mask)
    except OSError as error:
        raise Unavailable("the switch does not answer", detail=f"{switch}: {error}") from error
    except struct.error as error:
        raise Unavailable("the switch's answer can't be read", detail=str(error)) from error


def _ask(to: socket.socket, cookie: int, mask: int) -> Counter[int]:
    question = _QUESTION.pack(_ALL_TABLES, _ANY, _ANY, cookie, mask, 1, 4)
    to.sendall(_message(_HELLO) + _message(_MULTIPART_REQUEST, _PART.pack(_FLOW, 0) + question))
    found: Counter[int] = Counter()
    while True:
        kind, number, body = _receive(to)
        if kind == _ECHO_REQUEST:
            to.sendall(_message(_ECHO_REPLY, body, number))
        elif kind == _ERROR:
            raise Unavailable("the switch refused to tell its rules", detail=body[:4].hex())
        elif kind == _MULTIPART_REPLY and number == _NUMBER:
            found.update(_cookies(body[_PART.size :]))
            _, flags = _PART.unpack_from(body)
            if not flags & _MORE:
                return found


def _cookies(rules: bytes) -> list[int]:
    found, at = [], 0
    while at < len(rules):
        (cookie,) = _COOKIE.unpack_from(rules, at)
        (length,) = _RULE_LENGTH.unpack_from(rules, at)
        if length < _COOKIE.size:
            raise Unavailable("the switch's answer can't be read")
        found.append(cookie)
        at += length
    return found


def _message(kind: int, body: bytes = b"", number: int = _NUMBER) -> bytes:
    return _HEADER.pack(_VERSION, kind, _HEADER.size + len(body), number) + body


def _receive(of: socket.socket) -> tuple[int, int, bytes]:
    version, kind, length, number = _HEADER.unpack(_exactly(of, _HEADER.size))
    if (version != _VERSION and kind not in (_HELLO, _ERROR)) or length < _HEADER.size:
        raise Unavailable("the switch does not speak OpenFlow 1.4", detail=f"version {version}")
    return kind, number, _exactly(of, length - _HEADER.size)


def _exactly(of: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        chunk = of.recv(count - len(got))
        if not chunk:
            raise Unavailable("the switch hung up")
        got += chunk
    return bytes(got)
