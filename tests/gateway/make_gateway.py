"""A real gateway over a test's database, on a port of its own, and small agents that talk to it by TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from arable.api.console import Consoles
from arable.api.gateway.calls import Calls
from arable.api.gateway.channels import Channels
from arable.api.gateway.server import Gateway
from arable.domain.access import ROLES, Caller
from arable.domain.ids import AccountId, DomainId, HostId, PodId, UserId, ZoneId
from arable.domain.manifest import HostReport, Inventory, ItemKind
from arable.domain.pod import Pod
from arable.domain.zone import Tags, Zone
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import (
    HOST_HOURS,
    Authority,
    IdentityKind,
    client_context,
    keep,
    new_request,
    server_context,
)
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.tickets import Tickets
from arable.services import hosts
from arable.services.call import Call, Surroundings
from arable.services.desk import Desk
from arable.store import pods, wishes, zones
from arable.store.database import Database
from arable.store.wishes import Item
from arable.store.writer import Writer
from arable.wire.agent import Change, Hello, JoinIn, JoinOut, Report, Welcome, encode, from_server
from arable.wire.cluster import Pong
from arable.wire.hosts import JoinTokenIn

INVENTORY = Inventory(cpus=4, cpu_mhz=8000, memory_mib=8192, disk_mib=10_000, hypervisor="sim")
PATIENCE = 60.0


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Until it ends; with a bound that no good run comes near."""

    async def bounded() -> None:
        async with asyncio.timeout(180):
            await scenario

    asyncio.run(bounded())


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Poll, with a generous deadline; what came true."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - conditions of other threads and of rows have no event
            await asyncio.sleep(0.01)
    return found


@dataclass
class Agent:
    """One end of a channel."""

    rig: "Rig"
    host: HostId
    wire: ClientConnection

    async def hello(self, have: int = 0, **but: Any) -> None:
        await self.say(Hello(**{"host": self.host, "have": have, "inventory": INVENTORY} | but))

    async def say(self, message: Any) -> None:
        await self.wire.send(encode(message), text=True)

    async def report(self, generation: int = 0, **but: Any) -> None:
        report = HostReport(**{"host": self.host, "generation": generation} | but)
        await self.say(Report(report=report))

    async def hear(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return from_server(await self.wire.recv())

    async def change(self) -> Change:
        """The next change."""
        while True:
            heard = await self.hear()
            if isinstance(heard, Change):
                return heard

    async def greeted(self, have: int = 0) -> Change:
        """Say hello, and hear the welcome and the first change."""
        await self.hello(have)
        assert isinstance(await self.hear(), Welcome)
        return await self.change()

    async def closed(self) -> tuple[int | None, str]:
        """The code and reason with which the server hung up."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self.wire.recv()
        except ConnectionClosed:
            return self.wire.close_code, self.wire.close_reason or ""


@dataclass
class Rig:
    database: Database
    directory: Path
    around: Surroundings
    writer: Writer
    desk: Desk
    operator: Caller
    channels: Channels = field(init=False)
    consoles: Consoles = field(init=False)
    port: int = 0
    reports: list[HostReport] = field(default_factory=list)
    settle: Callable[[list[HostReport]], None] | None = None
    batches: list[int] = field(default_factory=list)
    pod: str = ""
    pong: Pong = field(default_factory=lambda: Pong(id="server-1", incarnation=3, epoch=7))

    def take(self, _tx: Any, reports: Any, _at: Any) -> None:
        """What stands in for the controllers; on the writer's thread."""
        self.batches.append(len(reports))
        if self.settle is not None:
            self.settle(list(reports))
        self.reports += reports

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.database.read() as tx:
            return [tuple(row) for row in tx.execute(text(query), values)]

    def do(self, use_case: Callable[..., Any], *args: Any) -> Any:
        return self.writer.submit(
            lambda tx: use_case(Call(tx, self.operator, self.around), *args)
        ).result(60)

    def token(self, **more: Any) -> str:
        return self.do(hosts.create_token, JoinTokenIn(pod=self.pod, **more)).token

    def joined(self, name: str) -> HostId:
        """A new host; its key and certificate are files beside the others."""
        request = new_request(name)
        ask = JoinIn(token=self.token(), name=name, request=request.request, inventory=INVENTORY)
        answer: JoinOut = self.desk.join(ask).result(60)
        self.keep(answer.host, request.key, answer.certificate)
        return HostId(answer.host)

    def certified(
        self, name: str, kind: IdentityKind = IdentityKind.HOST, authority: Authority | None = None
    ) -> str:
        """A certificate that nobody joined for."""
        request = new_request(name)
        names = ["127.0.0.1"] if kind is IdentityKind.SERVER else []
        signed = (authority or self.around.authority).sign(
            request.request, name, kind, HOST_HOURS, names
        )
        chain = self.around.authority.pem if kind is IdentityKind.SERVER else ""
        self.keep(name, request.key, signed + chain)
        return name

    def keep(self, name: str, key: Any, certificate: str) -> None:
        keep(self.directory / f"{name}.key", key, self.around.entropy)
        keep(self.directory / f"{name}.pem", certificate, self.around.entropy)

    def tls(self, name: str | None = None) -> ssl.SSLContext:
        """What a client with that certificate connects with."""
        pem = self.around.authority.pem
        if name is None:
            return client_context(pem)
        return client_context(pem, self.directory / f"{name}.pem", self.directory / f"{name}.key")

    @asynccontextmanager
    async def agent(
        self, host: str | None, path: str = "/agent/v1/channel", *, context: Any = None
    ) -> AsyncIterator[Agent]:
        async with connect(
            f"wss://127.0.0.1:{self.port}{path}",
            ssl=context or self.tls(host),
            compression=None,
            max_size=None,
            proxy=None,
            ping_interval=None,
            open_timeout=PATIENCE,
            close_timeout=5,
        ) as wire:
            yield Agent(self, HostId(host or ""), wire)

    def wish(self, host: HostId, id_: str, value: Any, kind: ItemKind = ItemKind.GUEST) -> None:
        """Something more or less that the host should run; the gateway is nudged as by any commit."""
        body = None if value is None else msgspec.json.encode(value).decode()
        self.writer.submit(lambda tx: wishes.put(tx, [Item(host, kind, id_, body)])).result(60)


def _pod(database: Database, around: Surroundings) -> PodId:
    with database.write() as tx:
        for known in pods.page(tx, pods.PodFilter(name="a"), limit=1):
            return known.id
        now = around.clock.now()
        zone = Zone(id=ZoneId(around.ids.new("zone")), name="a", created_at=now)
        zones.add(tx, zone)
        zones.add_tags(tx, zone.id, Tags(100, 109))
        id_ = PodId(around.ids.new("pod"))
        pods.add(tx, Pod(id=id_, zone=zone.id, name="a", cidr="10.9.0.0/24", created_at=now))
        return id_


@asynccontextmanager
async def rig(
    database: Database,
    directory: Path,
    *,
    console_idle: float = 60.0,
    port: int = 0,
    name: str = "server-1",
    leaving: Callable[[], bool] = lambda: False,
    inside: Any = None,
) -> AsyncIterator[Rig]:
    """Once more over the same database and directory, it is the same server after a restart."""
    clock, entropy = RealClock(), Entropy.system()
    tickets = Tickets(clock, entropy)
    around = Surroundings(
        clock=clock,
        entropy=entropy,
        ids=Ids(clock, entropy),
        images=ImageStore(directory / "images"),
        authority=Authority.open(directory / "authority", clock, entropy),
        consoles=tickets,
    )
    writer = Writer(database)
    rank, permissions = ROLES["operator"]
    operator = Caller(
        user=UserId("user-o"),
        name="o",
        account=AccountId("account-o"),
        domain=DomainId("domain-o"),
        path="root",
        role="operator",
        rank=rank,
        permissions=permissions,
        via="system",
    )

    def take(*args: Any) -> None:
        made.take(*args)

    desk = Desk(database, writer, around, name, take)
    made = Rig(database, directory, around, writer, desk, operator)
    made.pod = _pod(database, around)
    made.certified("server", IdentityKind.SERVER)
    made.channels = Channels(made.desk, clock, leaving=leaving)
    made.consoles = Consoles(tickets, made.channels.open_console, entropy, idle=console_idle)
    writer.committed = lambda nudges: made.channels.nudge(
        {HostId(host) for host in nudges.hosts}, desk.news(nudges)
    )
    writer.start()
    made.channels.start()
    calls = Calls(made.desk, made.consoles, clock, lambda: made.pong, inside)
    context = server_context(
        directory / "server.pem", directory / "server.key", around.authority.pem, joining=True
    )
    gateway = Gateway(calls, made.channels, clock, context)
    _, made.port = await gateway.start(("127.0.0.1", port))
    try:
        yield made
    finally:
        await made.channels.stop()
        await gateway.stop()
        calls.close()
        await asyncio.get_running_loop().run_in_executor(None, writer.stop)
