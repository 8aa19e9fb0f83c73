"""The real server over a test's database: uvicorn in a thread, on a port of its own, with its writer and its client."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher, Type
from starlette.routing import BaseRoute

from arable.api.app import Server, build
from arable.api.operation import Op
from arable.api.routes import OPERATIONS
from arable.client.arable import Arable
from arable.drivers.storage.image_store import ImageStore
from arable.processes.http import IDLE
from arable.runtime import tokens
from arable.runtime.ca import Authority
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.tickets import Tickets
from arable.services import bootstrap
from arable.services.call import Surroundings
from arable.store.database import Database
from arable.store.writer import Writer
from arable.wire.accounts import AccountIn, FirstUserIn
from arable.wire.users import KeyIn

PASSWORD = "a password of a test"
_CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1, type=Type.ID)
"""What a guess costs matters to the tests of `runtime/tokens.py` alone."""


@dataclass
class Served:
    """A running server, and clients of it by user name."""

    url: str
    server: Server
    database: Database
    writer: Writer
    around: Surroundings
    operator: Arable
    first: bootstrap.FirstOperator
    clients: dict[str, Arable] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)

    def client(self, token: str = "") -> Arable:
        made = Arable(self.url, token)
        self.clients[f"{len(self.clients)}"] = made
        return made

    def customer(self, name: str, role: str = "customer", **account: Any) -> Arable:
        """A client of the first user of a new account; both have that name."""
        made = self.operator.accounts.create(
            AccountIn(
                name=name,
                user=FirstUserIn(name=name, password=PASSWORD, role=role),
                **account,
            )
        )
        self.accounts[name] = made.id
        client = self.client()
        client.sign_in(name, PASSWORD)
        return client

    def http(self, token: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # cheap: no TLS here, so nobody to trust
        return httpx.Client(
            base_url=self.url, headers=headers, verify=nobody, trust_env=False, timeout=60
        )

    def database_files(self) -> list[Path]:
        """Everything that SQLite wrote."""
        file = Path(self.database.url.removeprefix("sqlite:///"))
        return sorted(file.parent.glob(f"{file.name}*"))

    def token(self, client: Arable) -> str:
        return client.connection.token

    def key(self, client: Arable, **but: Any) -> str:
        made = client.keys.create(KeyIn(name="test", **but))
        assert made.secret
        return made.secret


@contextmanager
def serving(
    database: Database,
    directory: Path,
    operations: tuple[Op, ...] = OPERATIONS,
    around: Mapping[str, Any] | None = None,
    routes: Callable[[Surroundings], Sequence[BaseRoute]] = lambda _around: (),
    ws: Any = "none",
    inside: tuple[Op, ...] = (),
) -> Iterator[Served]:
    clock = RealClock()
    entropy = Entropy.system()
    cheap = pytest.MonkeyPatch()
    cheap.setattr(tokens, "_ARGON2", _CHEAP)
    inbox = directory / "inbox"
    inbox.mkdir(exist_ok=True)
    store = ImageStore(directory / "images")
    surroundings = Surroundings(
        clock=clock,
        entropy=entropy,
        ids=Ids(clock, entropy),
        images=store,
        partial=store.partial,
        authority=Authority.open(directory / "authority", clock, entropy),
        inbox=inbox,
        consoles=Tickets(clock, entropy),
        **(around or {}),
    )
    first = bootstrap.ensure(database, clock, entropy, surroundings.ids)
    assert first is not None
    writer = Writer(database)
    more = routes(surroundings)
    server = build(operations, database, writer, surroundings, routes=more, inside=inside)
    with ExitStack() as hang_up, running(server, writer, ws) as url:
        hang_up.callback(cheap.undo)
        operator = Arable(url)
        made = Served(url, server, database, writer, surroundings, operator, first)
        try:
            operator.sign_in(first.name, first.password.reveal())
            yield made
        finally:
            server.leaving()  # before anybody hangs up: a stream may be read on another thread
            for client in (operator, *made.clients.values()):
                hang_up.callback(client.close)


@contextmanager
def beside(served: Served) -> Iterator[str]:
    """Another management server of the same cloud: the URL at which it, too, answers."""
    database = Database(served.database.url)
    writer = Writer(database)
    try:
        with running(build(OPERATIONS, database, writer, served.around), writer) as url:
            yield url
    finally:
        database.close()


@contextmanager
def running(server: Server, writer: Writer, ws: Any = "none") -> Iterator[str]:
    """The server's URL, while it answers there."""
    writer.committed = lambda nudges: server.nudged(nudges.topics)
    writer.start()
    config = uvicorn.Config(
        server,
        host="127.0.0.1",
        port=0,
        log_config=None,
        proxy_headers=False,
        ws=ws,
        timeout_keep_alive=IDLE,
    )
    runner = uvicorn.Server(config)
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30  # noqa: TID251 - a real server
        while not runner.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline  # noqa: TID251
            time.sleep(0.005)  # noqa: TID251
        yield f"http://127.0.0.1:{runner.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.leaving()
        runner.should_exit = True
        thread.join(30)
        writer.stop()
        assert not thread.is_alive(), "the server does not stop"


def wait_until(condition: Any, seconds: float = 30) -> None:
    """Poll, with a generous deadline."""
    deadline = time.monotonic() + seconds  # noqa: TID251
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"  # noqa: TID251
        time.sleep(0.02)  # noqa: TID251
