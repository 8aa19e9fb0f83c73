"""Small servers and clients that live in a network namespace: TCP echo, a DHCP client, DNS questions and answers."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arable.drivers import namespaces
from drivers.emulated_hosts import bound, run

PATIENCE = 30.0
_REPORT = """#!/bin/busybox sh
[ "$1" = bound ] && env > {path}
exit 0
"""


@dataclass
class Echo:
    """A server that says back what it hears; `callers` are the addresses that called."""

    port: int
    callers: list[str] = field(default_factory=list)


@contextmanager
def echo(netns: str, address: str, port: int) -> Iterator[Echo]:
    """A TCP server in there."""
    door = bound(netns, (address, port), socket.SOCK_STREAM)
    door.listen(64)
    server = Echo(port)

    def talk(caller: socket.socket) -> None:
        with caller:
            try:
                while heard := caller.recv(1 << 16):
                    caller.sendall(heard)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                caller, (whence, *_) = door.accept()
            except OSError:
                return
            server.callers.append(whence)
            threading.Thread(target=talk, args=(caller,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server
    finally:
        door.shutdown(socket.SHUT_RDWR)
        door.close()


def call(netns: str, address: str, port: int, seconds: float = PATIENCE) -> socket.socket:
    """A TCP connection from in there."""

    def act() -> socket.socket:
        return socket.create_connection((address, port), timeout=seconds)

    return namespaces.inside(netns, act)


def says_back(connection: socket.socket, words: bytes = b"hello") -> bool:
    """Whether the other end still hears and answers."""
    connection.settimeout(PATIENCE)
    connection.sendall(words)
    heard = b""
    while len(heard) < len(words):
        part = connection.recv(1 << 16)
        if not part:
            return False
        heard += part
    return heard == words


def answers(netns: str, address: str, port: int) -> bool:
    """Whether somebody accepts and says back what is said."""
    try:
        with call(netns, address, port) as connection:
            return says_back(connection)
    except OSError:
        return False


def is_closed(netns: str, address: str, port: int) -> bool:
    """Whether nobody accepts within a second; say it only beside a port that is open."""
    try:
        call(netns, address, port, 1.0).close()
    except OSError:
        return True
    return False


def lease(netns: str, folder: Path, *options: str, tries: int = 20) -> dict[str, str]:
    """What DHCP tells a client in there, by the names of busybox; empty when nobody answers."""
    told, script = folder / f"{netns}.lease", folder / f"{netns}.sh"
    script.write_text(_REPORT.format(path=told))
    script.chmod(0o755)
    told.unlink(missing_ok=True)
    words = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", "1"]
    run(netns, [*words, "-s", str(script), *options], seconds=tries + 30)
    if not told.exists():
        return {}
    return dict(line.split("=", 1) for line in told.read_text().splitlines() if "=" in line)


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return (
        struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
    )


@dataclass(frozen=True)
class Answer:
    """A DNS answer: its code (0 well, 3 no such name, 5 refused) and addresses."""

    code: int
    addresses: tuple[str, ...]


def ask(netns: str, server: str, name: str) -> Answer:
    """What a name server says about a name, asked from in there."""
    asked = question(name)
    with bound(netns, ("0.0.0.0", 0), socket.SOCK_DGRAM) as mouth:
        mouth.settimeout(2)
        for _ in range(15):
            mouth.sendto(asked, (server, 53))
            try:
                told = mouth.recv(2048)
                break
            except TimeoutError:
                continue
        else:
            raise AssertionError(f"{server} did not answer about {name}")
    _, flags, _, count, _, _ = struct.unpack_from(">HHHHHH", told)
    place, found = len(asked), []
    for _ in range(count):
        kind, _, _, size = struct.unpack_from(">HHIH", told, place + 2)
        data = told[place + 12 : place + 12 + size]
        if kind == 1:
            found.append(socket.inet_ntoa(data))
        place += 12 + size
    return Answer(flags & 15, tuple(found))


@contextmanager
def name_server(netns: str, address: str, says: str) -> Iterator[list[str]]:
    """A name server that gives one answer to everything; what was asked by whom is in the list."""
    ear = bound(netns, (address, 53), socket.SOCK_DGRAM)
    askers: list[str] = []

    def serve() -> None:
        while True:
            try:
                asked, whence = ear.recvfrom(2048)
            except OSError:
                return
            askers.append(whence[0])
            end = asked.index(b"\0", 12) + 5
            head = asked[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
            reply = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(says)
            ear.sendto(head + asked[12:end] + reply, whence)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield askers
    finally:
        ear.close()
