"""A swarm of light agents: `python -m bench.swarm FILE GATEWAY`, one process for a thousand hosts.

Each has the certificate, the TLS connection, the websocket and the messages of a real agent; what it lacks is the
host. A thousand real agents would take both cores of a small machine for their ledgers and reconcilers, and nothing
would be left to measure. So whatever a manifest wishes for is so at once, and said in one report: the server's work is
the same as with real agents that are infinitely fast.

It says `ready` on its output when every agent was welcomed, and ends with its input.
"""

import asyncio
import ssl
import struct
import sys
from base64 import b64encode
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from arable.runtime.ca import client_context
from bench.cloud import Joined

_AT_ONCE = 32  # handshakes
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


class _Body(msgspec.Struct):
    """What is needed of a wish; the rest is passed over."""

    generation: int = 0
    boots: int = 1
    power: str = "on"
    vlan: int = 0


class _Item(msgspec.Struct):
    kind: str
    id: str
    body: _Body | None = None


class _Told(msgspec.Struct):
    """Welcome or change, whichever it is."""

    type: str
    generation: int = 0
    report_seconds: int = 10
    items: list[_Item] = []


_decode = msgspec.json.Decoder(_Told).decode
_encode = msgspec.json.Encoder().encode


def frame(opcode: int, payload: bytes) -> bytes:
    """One frame of a client. Masked by zeros, which is a mask like any other and leaves the bytes as they are."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + b"\0\0\0\0" + payload


def take_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """The first whole frame of a server, taken out of what has come so far; None when there is more to come."""
    if len(buffer) < 2:
        return None
    size, at = buffer[1] & 0x7F, 2
    if size == 126:
        at = 4
        size = int.from_bytes(buffer[2:4], "big")
    elif size == 127:
        at = 10
        size = int.from_bytes(buffer[2:10], "big")
    if len(buffer) < at or len(buffer) < at + size:
        return None
    found = buffer[0] & 0x0F, bytes(buffer[at : at + size])
    del buffer[: at + size]
    return found


def upgrade(host: Joined) -> bytes:
    """The request for a websocket."""
    key = b64encode(host.host.encode()[-16:]).decode()
    return (
        "GET /agent/v1/channel HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Agent(asyncio.Protocol):
    """One host's channel."""

    def __init__(self, host: Joined, welcomed: "asyncio.Future[None]") -> None:
        self._host = host
        self._welcomed = welcomed
        self._buffer = bytearray()
        self._upgraded = False
        self._generation = 0
        self._vlans: set[int] = set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a websocket."""
        self._transport = cast(asyncio.Transport, transport)
        transport.write(upgrade(self._host))

    def data_received(self, data: bytes) -> None:
        """Whatever is whole by now."""
        self._buffer += data
        if not self._upgraded:
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(head.decode("latin-1"))
                return
            self._buffer = bytearray(rest)
            self._upgraded = True
            self._say({"type": "hello", "host": self._host.host, "inventory": self._host.inventory})
        while (found := take_frame(self._buffer)) is not None:
            opcode, payload = found
            if opcode == _TEXT:
                self._told(_decode(payload))
            elif opcode == _PING:
                self._transport.write(frame(_PONG, payload))
            elif opcode == _CLOSE:
                self._fail(payload[2:].decode())

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing in a benchmark makes a server hang up."""
        self._fail(f"connection lost: {exc}")

    def alive(self) -> None:
        """Say that nothing is new."""
        self._report()

    def _told(self, told: _Told) -> None:
        if told.type == "welcome":
            pool = {"pool": self._host.pool, "total_bytes": 1 << 44, "used_bytes": 0}
            self._report(full=True, vlans=[], pools=[pool])
            if not self._welcomed.done():
                self._welcomed.set_result(None)
            return
        self._generation = told.generation
        guests, gone, appliances, appliances_gone, scrapped = [], [], [], [], []
        for item in told.items:
            body = item.body
            if item.kind == "guest":
                if body is None:
                    gone.append(item.id)
                else:
                    state = "running" if body.power == "on" else "stopped"
                    seen = {"machine": item.id, "generation": body.generation}
                    guests.append(seen | {"state": state, "boots": body.boots})
            elif item.kind == "appliance":
                if body is None:
                    appliances_gone.append(item.id)
                else:
                    seen = {"network": item.id, "generation": body.generation}
                    appliances.append(seen | {"running": True})
            elif item.kind == "scrap" and body is not None:
                scrapped.append(item.id)
        self._report(
            guests=guests,
            gone=gone,
            appliances=appliances,
            appliances_gone=appliances_gone,
            scrapped=scrapped,
        )

    def _report(self, **said: object) -> None:
        report = {"host": self._host.host, "generation": self._generation}
        self._say({"type": "report", "report": report | {k: v for k, v in said.items() if v}})

    def _say(self, message: dict[str, object]) -> None:
        self._transport.write(frame(_TEXT, _encode(message)))

    def _fail(self, why: str) -> None:
        print(f"{self._host.host}: {why}", file=sys.stderr, flush=True)
        if not self._welcomed.done():
            self._welcomed.set_exception(ConnectionError(why))


def context(host: Joined, authority: str) -> ssl.SSLContext:
    """TLS with the host's certificate."""
    return client_context(authority, Path(host.identity), Path(host.identity))


async def run(hosts: list[Joined], gateway: str, seconds: float = 10.0) -> None:
    """All of them, until the end of the input. Each says every few seconds that it lives, in turn."""
    loop = asyncio.get_running_loop()
    authority = (Path(hosts[0].identity).parent / "authority.pem").read_text()
    name, _, port = gateway.rpartition(":")
    few = asyncio.Semaphore(_AT_ONCE)

    async def connected(host: Joined) -> Agent:
        welcomed: asyncio.Future[None] = loop.create_future()
        async with few:
            _transport, agent = await loop.create_connection(
                lambda: Agent(host, welcomed),
                name,
                int(port),
                ssl=context(host, authority),
                server_hostname=name,
            )
            await welcomed
        return agent

    agents = await asyncio.gather(*map(connected, hosts))
    print("ready", flush=True)
    over = loop.run_in_executor(None, sys.stdin.read)
    at = 0
    while not over.done():
        await asyncio.wait({asyncio.ensure_future(over)}, timeout=seconds / len(agents))
        agents[at % len(agents)].alive()
        at += 1


def main() -> None:
    """The hosts are in a file, as JSON."""
    hosts = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Joined])
    uvloop.run(run(hosts, sys.argv[2]))


if __name__ == "__main__":
    main()
