"""Ten thousand light agents that come back: `python -m bench.scale_swarm FILE SOURCE GATEWAY...`.

They are those of `bench/swarm.py`, with what agents have to do with several servers: each begins at one of them, goes
to another when it is asked to, and when its server dies comes back by the agent's own rules (`arable/agent/returning.py`).
Every so often each says what a real agent says: how full its pool is, which VLANs it has, what its machines use.

Lines on its input are questions, answered by a line of JSON: `connected`, how many are welcome now; `marks`, when which
machine was told to be off since this was asked last (seconds of the monotonic clock). It ends with its input.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from arable.agent.returning import Returning
from arable.runtime.entropy import Entropy
from arable.wire.agent import VERSION
from bench import swarm
from bench.cloud import Joined
from bench.swarm import frame, take_frame


class _Port(msgspec.Struct):
    vlan: int = 0


class _Member(msgspec.Struct):
    nic: str
    weight: int = 1


class _Balancer(msgspec.Struct):
    id: str
    members: list[_Member] = []

    def seen(self) -> dict[str, object]:
        """Its members are well, and nobody is there."""
        well = {"up": True, "well": True, "told": "simulated", "sessions": 0}
        return {
            "id": self.id,
            "members": [{"nic": m.nic, "weight": m.weight} | well for m in self.members],
        }


class _Body(msgspec.Struct):
    """What is needed of a wish; the rest is passed over."""

    generation: int = 0
    boots: int = 1
    power: str = "on"
    vlan: int = 0
    ports: list[_Port] = []
    balancers: list[_Balancer] = []
    inners: list[_Balancer] = []


class _Item(msgspec.Struct):
    kind: str
    id: str
    body: _Body | None = None


class _Told(msgspec.Struct):
    """Welcome, change or a wish to see us elsewhere."""

    type: str
    generation: int = 0
    report_seconds: float = 10
    others: tuple[str, ...] = ()
    spread_seconds: float = 0.0
    servers: tuple[str, ...] = ()
    seconds: float = 0.0
    items: list[_Item] = []


_decode = msgspec.json.Decoder(_Told).decode
_encode = msgspec.json.Encoder().encode


class Swarm:
    """All of them."""

    def __init__(self, gateways: Sequence[str], source: str, authority: str) -> None:
        self.gateways = gateways
        self.source = source
        self.authority = authority
        self.welcome = 0
        self.marks: dict[str, float] = {}
        self.refused = 0


class Host:
    """One host, which outlives its connections."""

    def __init__(self, of: Swarm, joined: Joined, number: int) -> None:
        self.of = of
        self.joined = joined
        self.context = swarm.context(joined, of.authority)
        self.returning = Returning(of.gateways, Entropy(f"host-{number}"))
        self.generation = 0
        self.seconds = 10.0
        self.guests: dict[str, tuple[str, dict[str, object]]] = {}
        self.appliances: dict[str, dict[str, object]] = {}
        self.vlans: dict[str, int] = {}

    async def live(self, first: "asyncio.Future[None]") -> None:
        """Be connected, to whichever server it is."""
        server = self.returning.server()
        while True:
            over = asyncio.get_running_loop().create_future()
            name, _, port = server.rpartition(":")
            try:
                _transport, channel = await asyncio.get_running_loop().create_connection(
                    lambda over=over: Channel(self, over),  # type: ignore[misc]
                    name,
                    int(port),
                    ssl=self.context,
                    server_hostname=name,
                    local_addr=(self.of.source, 0),
                    ssl_handshake_timeout=30.0,
                )
                await asyncio.wait({channel.welcomed, over}, return_when="FIRST_COMPLETED")
                if channel.welcomed.done():
                    if not first.done():
                        first.set_result(None)
                    self.of.welcome += 1
                    server = await self._heard(channel, over)
                    self.of.welcome -= 1
                    if server:
                        continue
            except (OSError, ConnectionError):
                self.of.refused += 1
            await asyncio.sleep(self.returning.pause())
            server = self.returning.server()

    async def _heard(self, channel: "Channel", over: "asyncio.Future[None]") -> str:
        """Say now and then that all is well, until the connection is over; where to go next, if that was said."""
        wait = self.seconds * Entropy.system().random.random()
        while True:
            await asyncio.wait({over}, timeout=wait)
            if over.done():
                return channel.next
            wait = self.seconds
            channel.alive()


class Channel(asyncio.Protocol):
    """One connection."""

    def __init__(self, host: Host, over: "asyncio.Future[None]") -> None:
        self.next = ""
        self.welcomed: asyncio.Future[None] = over.get_loop().create_future()
        self._host = host
        self._over = over
        self._buffer = bytearray()
        self._upgraded = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a websocket."""
        self._transport = cast(asyncio.Transport, transport)
        transport.write(swarm.upgrade(self._host.joined))

    def data_received(self, data: bytes) -> None:
        """Whatever is whole by now."""
        self._buffer += data
        if not self._upgraded and not self._begin():
            return
        while (found := take_frame(self._buffer)) is not None:
            opcode, payload = found
            if opcode == 0x1:
                self._told(_decode(payload))
            elif opcode == 0x9:
                self._transport.write(frame(0xA, payload))
            elif opcode == 0x8:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The host knows what to do."""
        if not self._over.done():
            self._over.set_result(None)

    def _begin(self) -> bool:
        head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            later = head.lower().partition(b"retry-after: ")[2].partition(b"\r\n")[0]
            self._host.returning.asked(float(later or 0))
            self._transport.close()
            return False
        self._buffer = bytearray(rest)
        self._upgraded = True
        host = self._host
        hello = {"type": "hello", "version": VERSION, "host": host.joined.host, "moves": True}
        self._say(hello | {"have": host.generation, "inventory": host.joined.inventory})
        return True

    def alive(self) -> None:
        """What a real agent says every so often."""
        host = self._host
        stats = [{"machine": id_, "cpu_ns": 1, "memory_mib": 1} for id_ in host.guests]
        self._report(vlans=sorted(set(host.vlans.values())), pools=self._pools(), stats=stats)

    def _told(self, told: _Told) -> None:
        host = self._host
        if told.type == "welcome":
            host.seconds = told.report_seconds
            host.returning.welcomed(told.others, told.spread_seconds)
            guests = [seen for _power, seen in host.guests.values()]
            vlans = sorted(set(host.vlans.values()))
            appliances = list(host.appliances.values())
            self._report(
                full=True, vlans=vlans, pools=self._pools(), guests=guests, appliances=appliances
            )
            self.welcomed.set_result(None)
        elif told.type == "elsewhere":
            host.returning.asked(told.seconds)
            if told.servers:
                self.next = told.servers[0]
                self._transport.close()
        elif told.type == "change":
            self._change(told)

    def _change(self, told: _Told) -> None:
        host = self._host
        host.generation = told.generation
        guests, gone, appliances, withdrawn = [], [], [], []
        balancers: list[dict[str, object]] = []
        for item in told.items:
            body = item.body
            if body is None:
                host.vlans.pop(item.id, None)
            elif item.kind in ("guest", "appliance"):
                host.vlans[item.id] = body.ports[0].vlan if body.ports else body.vlan
            if item.kind == "guest" and body is None:
                gone.append(item.id)
                host.guests.pop(item.id, None)
            elif item.kind == "guest" and body is not None:
                seen: dict[str, object] = {"machine": item.id, "generation": body.generation}
                seen |= {
                    "state": "running" if body.power == "on" else "stopped",
                    "boots": body.boots,
                }
                host.guests[item.id] = (body.power, seen)
                guests.append(seen)
                if body.power != "on":
                    host.of.marks[item.id] = time.monotonic()
            elif item.kind == "appliance" and body is not None:
                seen = {"network": item.id, "generation": body.generation, "running": True}
                host.appliances[item.id] = seen
                appliances.append(seen)
                balancers += [each.seen() for each in (*body.balancers, *body.inners)]
            elif item.kind == "appliance":
                host.appliances.pop(item.id, None)
                withdrawn.append(item.id)
        self._report(
            guests=guests,
            gone=gone,
            appliances=appliances,
            appliances_gone=withdrawn,
            balancers=balancers,
        )

    def _pools(self) -> list[dict[str, object]]:
        return [{"pool": self._host.joined.pool, "total_bytes": 1 << 44, "used_bytes": 0}]

    def _report(self, **said: object) -> None:
        report = {"host": self._host.joined.host, "generation": self._host.generation}
        named = {name: value for name, value in said.items() if value or name == "vlans"}
        self._say({"type": "report", "report": report | named})

    def _say(self, message: dict[str, object]) -> None:
        self._transport.write(frame(0x1, _encode(message)))


async def run(joined: list[Joined], source: str, gateways: list[str]) -> None:
    """All of them, until the end of the input."""
    loop = asyncio.get_running_loop()
    authority = (Path(joined[0].identity).parent / "authority.pem").read_text()
    of = Swarm(gateways, source, authority)
    hosts = [Host(of, each, number) for number, each in enumerate(joined)]
    firsts = [loop.create_future() for _ in hosts]
    work = [loop.create_task(host.live(first)) for host, first in zip(hosts, firsts, strict=True)]
    print("here", flush=True)
    await asyncio.gather(*firsts)
    print("ready", flush=True)
    while True:
        line = (await loop.run_in_executor(None, sys.stdin.readline)).strip()
        if not line:
            break
        answer: object = of.welcome
        if line == "marks":
            answer, of.marks = of.marks, {}
        print(_encode(answer).decode(), flush=True)
    for each in work:
        each.cancel()
    await asyncio.gather(*work, return_exceptions=True)


def main() -> None:
    """The hosts are in a file, as JSON."""
    hosts = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Joined])
    uvloop.run(run(hosts, sys.argv[2], sys.argv[3:]))


if __name__ == "__main__":
    main()
