"""Two regions, one of which lets `alice` in and passes on what she means for the other, over a real grid port."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from make_regions import ENTROPY, Grid
from sqlalchemy import update

from arable.api import console, elsewhere
from arable.api.grid.app import GridApp
from arable.api.grid.port import GridPort
from arable.client.arable import Arable
from arable.controllers.grid_wire import GridWire
from arable.domain.grid import Peer
from arable.domain.manifest import Inventory
from arable.runtime.ca import IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.secret import Secret
from arable.services import agents
from arable.store import grid as store_grid
from arable.store import grid_members, schema
from arable.store.grid_members import Link
from arable.wire.agent import JoinIn
from arable.wire.hosts import JoinTokenIn
from arable.wire.machines import DeployIn
from arable.wire.regions import FederationIn
from cli.conftest import furnish
from databases import fresh_sqlite
from serving import Served, serving

INVENTORY = Inventory(cpus=8, cpu_mhz=16_000, memory_mib=32_768, disk_mib=100_000)


class Echo:
    """A machine whose console says everything again, louder."""

    def __init__(self) -> None:
        self.consoles: Any = None
        self._tasks: list[Any] = []

    def routes(self, around: Any) -> list[Any]:
        self.consoles = console.Consoles(around.consoles, self.ask, around.entropy)
        return [console.route(self.consoles)]

    def ask(self, host: str, ticket: str, _machine: str) -> bool:
        self._tasks.append(asyncio.get_running_loop().create_task(self._answer(host, ticket)))
        return True

    async def _answer(self, host: str, ticket: str) -> None:
        words: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        words.put_nowait({"type": "websocket.connect"})

        async def send(message: Any) -> None:
            if message["type"] == "websocket.send":
                words.put_nowait({"type": "websocket.receive", "bytes": message["bytes"].upper()})
                if b"bye" in message["bytes"]:
                    words.put_nowait({"type": "websocket.disconnect", "code": 1000})

        await self.consoles.agent(host, ticket, words.get, send)


@dataclass
class Two:
    """`north` lets `alice` in, and passes on what she means for `south`."""

    north: Served
    south: Served
    port: GridPort
    machine: Echo
    clients: list[Arable] = field(default_factory=list)

    def alice(self, region: str = "south") -> Arable:
        with Arable(self.north.url) as here:
            token = here.sign_in("alice", "a password of a test").token
        made = Arable(self.north.url, token, region=region)
        self.clients.append(made)
        return made

    def run(self, work: Any) -> Any:
        loop = self.south.server._loop
        assert loop is not None
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    def kept(self) -> list[Path]:
        """What is in south's image store."""
        return sorted(
            each for each in self.south.around.images._folder.rglob("*") if each.is_file()
        )


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Iterator[Two]:
    base = tmp_path_factory.mktemp("passing")
    certified = Grid(base)
    wire = GridWire(base / "wire", ENTROPY, Secret)
    machine = Echo()
    for name in ("a", "b"):
        (base / name).mkdir()

    def reaching(around: Any) -> list[Any]:
        consoles = console.Consoles(
            around.consoles, lambda *_: False, around.entropy, reach=elsewhere.reach(first, around)
        )
        return [console.route(consoles)]

    with (
        fresh_sqlite(base / "a") as first,
        fresh_sqlite(base / "b") as second,
        serving(first, base / "a", around={"grid": wire}, routes=reaching, ws=console.ConsoleWebSocket) as north,
        serving(second, base / "b", routes=machine.routes, ws=console.ConsoleWebSocket) as south,
    ):  # fmt: skip
        identity = certified.identity("south")
        ways = [
            *elsewhere.routes(second, south.server.done_for),
            elsewhere.console(machine.consoles),
            elsewhere.stream(second, south.server.done_for),
        ]
        port = GridPort(GridApp(ways, RealClock()), identity.listening())
        made = Two(north, south, port, machine)
        host, number = made.run(port.start(("127.0.0.1", 0)))
        asked = new_request("north")
        signed = certified.authority.sign(asked.request, "north", IdentityKind.REGION, 24)
        link = Link(region="north", grid="grid:1", authorities=(certified.authority.pem,), certificate=signed, key_sealed=asked.key.reveal())  # fmt: skip
        with first.write() as tx:
            grid_members.add_link(tx, link)
            there = Peer(
                name="south", url=f"https://{host}:{number}", fingerprint="f", authority="a"
            )
            store_grid.put_peers(tx, [there])
        furnish(south)
        for served in (north, south):
            served.customer("alice")
            served.customer("bob")
        south.operator.accounts.federate(south.accounts["alice"], FederationIn(origins=("north",)))
        furnished(south)
        yield made
        for each in made.clients:
            each.close()
        made.run(port.stop())


def furnished(south: Served) -> None:
    """A machine of alice's that is on a host."""
    south.clients["0"].machines.deploy(DeployIn(name="web", image="tiny", offering="tiny"))
    invited = south.operator.join_tokens.create(JoinTokenIn(pod="pod-a"))
    joining = JoinIn(token=invited.token, name="h1", request=new_request("host").request, inventory=INVENTORY)  # fmt: skip
    with south.database.write() as tx:
        host = agents.join(tx, south.around, joining).host
        tx.execute(update(schema.machine).values(host=host))


async def hung_up(port: GridPort) -> None:
    """Every connection to it ends, as when a line is cut."""
    for each in list(port._state.connections):
        each.transport.abort()
