"""The grid manager's port for real: TLS, tokens, certificates. Who has none may only join; who is gone gets nothing."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from make_regions import ENTROPY, Loop

from arable.api.grid.app import GridApp
from arable.api.grid.manager import ManagerApp
from arable.api.grid.port import GridPort
from arable.controllers.grid_wire import Enrolled, GridWire
from arable.domain.errors import BadInput, Forbidden, TooOften, Unauthenticated, Unavailable
from arable.domain.ids import GridTokenId
from arable.drivers.storage.image_store import ImageStore
from arable.processes.grid import certify
from arable.runtime.ca import Authority, IdentityKind, Peer, new_request, server_context
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Ids
from arable.runtime.secret import Secret
from arable.runtime.tokens import new_join_token
from arable.services import grid_manager
from arable.services.call import GridRole, Surroundings
from arable.store import grid_facts, grid_members, incarnations
from arable.store.database import Database
from arable.store.grid_members import GridToken, Link
from arable.store.writer import Writer
from arable.wire.grid import RENEW, SYNC, FactDoc, GridJoinOut, GridRenewIn, SyncIn, SyncOut


@dataclass
class Manager:
    """Its port on the loopback."""

    database: Database
    around: Surroundings
    address: str
    folder: Path

    def token(self) -> str:
        issued = new_join_token(self.around.authority.fingerprint, ENTROPY)
        now = self.around.clock.now()
        with self.database.write() as tx:
            grid_members.add_token(
                tx,
                GridToken(
                    id=GridTokenId(self.around.ids.new("gridtoken")),
                    secret_hash=issued.digest,
                    expires_at=now + timedelta(hours=1),
                    created_at=now,
                ),
            )
        return issued.text.reveal()

    def wire(self, name: str) -> GridWire:
        return GridWire(self.folder / name, ENTROPY, Secret)

    def link(self, name: str, made: Any) -> Link:
        return Link(
            region=name,
            grid=self.address,
            authorities=made.authorities,
            certificate=made.certificate,
            key_sealed=made.key.reveal(),
        )


@pytest.fixture
def manager(sqlite: Database, tmp_path: Path) -> Iterator[Manager]:
    clock = RealClock()
    authority = Authority.create(tmp_path / "authority", clock, ENTROPY)
    around = Surroundings(
        clock,
        ENTROPY,
        Ids(clock, ENTROPY),
        ImageStore(tmp_path / "images"),
        authority,
        grid_role=GridRole.GRID,
    )
    with sqlite.write() as tx:
        incarnations.draw(tx, "the grid", clock.now())
    writer = Writer(sqlite)
    writer.start()
    loop = Loop()
    pem = certify(tmp_path, authority, ENTROPY)

    async def begin() -> tuple[GridPort, str]:
        port = GridPort(
            ManagerApp(writer, around), server_context(pem, pem, authority.pem, joining=True)
        )
        host, number = await port.start(("127.0.0.1", 0))
        return port, f"{host}:{number}"

    port, address = loop.run(begin())
    try:
        yield Manager(sqlite, around, address, tmp_path)
    finally:
        loop.run(port.stop())
        loop.close()
        writer.stop()


def test_a_region_joins_says_hears_and_renews(manager: Manager) -> None:
    wire = manager.wire("eu")
    made = wire.join(manager.address, manager.token(), "eu")
    link = manager.link("eu", made)
    fact = FactDoc(kind="region", key="region", version=7, body={"software": "1", "servers": 1})
    answer = wire.ask(link, SYNC, SyncIn(facts=(fact,), snapshot=8), SyncOut)
    assert (answer.seen, [m.name for m in answer.members]) == (8, ["eu"])
    request = new_request("eu")
    renewed = wire.ask(link, RENEW, GridRenewIn(request=request.request), GridJoinOut)
    again = manager.link("eu", Enrolled(renewed.authorities, renewed.certificate, request.key))
    assert wire.ask(again, SYNC, SyncIn(), SyncOut).had == 8, "with the new one as well"


def test_a_region_is_heard_of_itself_alone_and_in_whole_words(manager: Manager) -> None:
    wire = manager.wire("eu")
    link = manager.link("eu", wire.join(manager.address, manager.token(), "eu"))
    for body, audience in (({"name": 7}, ""), ({}, "root/acme/acme")):
        fact = FactDoc(kind="zone", key="zone-1", version=7, body=body, audience=audience)
        (refused,) = wire.ask(link, SYNC, SyncIn(facts=(fact,)), SyncOut).refused
        assert (refused.key, refused.version) == ("zone-1", 7)
    secret = {
        "account": "root/acme/acme",
        "image": "web",
        "number": 1,
        "digest": "0" * 64,
        "parts": [],
        "public": False,
        "command_line": "",
        "minimum_memory_mib": 0,
        "created_at": "2030-01-01T00:00:00Z",
    }
    for key, audience in (("root/acme/acme|web|1", ""), ("root/acme/acme|other|1", "root/acme/acme")):  # fmt: skip
        fact = FactDoc(kind="image", key=key, version=7, body=secret, audience=audience)
        (refused,) = wire.ask(link, SYNC, SyncIn(facts=(fact,)), SyncOut).refused
        assert refused.kind == "image"
    with manager.database.read() as tx:
        assert grid_facts.of(tx, "eu") == [], "what can't be read is not kept"
        assert len(grid_facts.aside(tx, "eu")) == 3
    with pytest.raises(BadInput):
        wire.ask(link, SYNC, SyncIn(facts=(FactDoc(kind="zone", key="z", version=0),)), SyncOut)


def test_a_token_that_does_not_count_lets_nobody_in_and_trying_costs_time(manager: Manager) -> None:
    token = manager.token()
    wrong = token[:5] + ("0" * 40) + token[45:]
    wire = manager.wire("eu")
    with pytest.raises(Forbidden, match="another cloud"):
        wire.join(manager.address, token[:46] + "0" * 64, "eu")
    with pytest.raises(Unauthenticated, match="does not count"):
        wire.join(manager.address, wrong, "eu")
    for _ in range(12):
        with pytest.raises((Unauthenticated, TooOften)) as told:
            wire.join(manager.address, wrong, "eu")
    assert told.type is TooOften
    with pytest.raises(TooOften):
        wire.join(manager.address, manager.token(), "eu")


def test_certificates_that_are_no_regions_or_of_nobody_open_nothing(manager: Manager) -> None:
    authority = manager.around.authority
    foreign = Authority.create(manager.folder / "foreign", RealClock(), ENTROPY)
    for kind, by in (
        (IdentityKind.HOST, authority),
        (IdentityKind.PEER, authority),
        (IdentityKind.REGION, authority),  # of a region that never joined
        (IdentityKind.REGION, foreign),
    ):
        made = new_request("us")
        link = manager.link(
            "us", Enrolled((authority.pem,), by.sign(made.request, "us", kind, 1), made.key)
        )
        with pytest.raises((Forbidden, Unavailable)):
            manager.wire(f"us-{kind}-{by is foreign}").ask(link, SYNC, SyncIn(), SyncOut)


def test_a_removed_region_gets_nothing_by_its_certificate(manager: Manager) -> None:
    wire = manager.wire("eu")
    link = manager.link("eu", wire.join(manager.address, manager.token(), "eu"))
    with manager.database.write() as tx:
        found = grid_members.by_name(tx, "eu", lock=True)
        assert found is not None
        grid_manager.remove(tx, found, manager.around.clock.now())
        for epoch in (1, 2):
            with pytest.raises(Forbidden):
                grid_members.demand(tx, "eu", epoch)
    with pytest.raises(Forbidden, match="not in the grid any more"):
        wire.ask(link, SYNC, SyncIn(), SyncOut)


def test_a_port_lets_nobody_in_whom_the_region_does_not_admit() -> None:
    """Whatever the route: it is asked before any is looked for."""
    clock = RealClock()
    peer = Peer("us", IdentityKind.REGION, "", clock.now() + timedelta(hours=1))
    answered: list[int] = []

    def admit(found: Peer) -> None:
        assert found is peer
        raise Forbidden("us is not in the grid any more")

    async def none() -> Any:
        raise AssertionError("nobody reads what a stranger says")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {"peer": peer}}
    asyncio.run(GridApp([], clock, admit)(scope, none, send))
    asyncio.run(GridApp([], clock)(scope, none, send))
    assert answered == [403, 404]
