"""A grid manager and regions, each with a store of its own, on virtual time and wires that lose, double and delay."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from make_cloud import Cloud, make_cloud
from sqlalchemy import delete, update

from arable.controllers.grid_sync import GridSync
from arable.domain.errors import Unavailable
from arable.domain.ids import AccountId
from arable.domain.image import Image, ImageVersion, KeptPart
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import Authority, new_request
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.tokens import new_join_token
from arable.services import grid_manager
from arable.services.call import Surroundings
from arable.services.grid_manager import Sender
from arable.store import grid_facts, grid_members, images, incarnations
from arable.store import schema as t
from arable.store.grid_members import GridToken, Link
from arable.wire.grid import RENEW, SYNC, GridJoinIn, GridRenewIn, SyncIn
from databases import fresh_sqlite


@dataclass
class Manager:
    """The grid manager, asked directly."""

    database: Any
    around: Surroundings
    tokens: int = 0

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        with self.database.write() as tx:
            return work(tx, self.around, *args)

    def token(self, region: str | None = None) -> str:
        self.tokens += 1
        issued = new_join_token(self.around.authority.fingerprint, Entropy(f"token {self.tokens}"))
        now = self.around.clock.now()
        token = GridToken(
            id=self.around.ids.new("gridtoken"),
            region=region,
            secret_hash=issued.digest,
            expires_at=now + timedelta(hours=3),
            created_at=now,
        )
        with self.database.write() as tx:
            grid_members.add_token(tx, token)
        return issued.text.reveal()

    def join(self, region: str, token: str = "", request: str = "") -> Any:
        ask = GridJoinIn(
            token=token or self.token(),
            region=region,
            request=request or new_request(region).request,
        )
        return self.do(grid_manager.join, ask)

    def facts(self, region: str) -> dict[Any, Any]:
        with self.database.read() as tx:
            return {f.at: (f.body, f.audience) for f in grid_facts.of(tx, region)}

    def member(self, name: str) -> Any:
        with self.database.read() as tx:
            return grid_members.by_name(tx, name)


@dataclass
class Line:
    """From a region to the grid manager. What is delayed arrives when `late` is called, perhaps twice."""

    manager: Manager
    region: str
    epoch: int = 1
    cut: bool = False
    lose: Callable[[], str] = lambda: (
        ""
    )  # "ask", "answer", "double" or "late": what happens to the next one
    change: Callable[[Any], Any] = lambda ask: ask
    waiting: list[Any] = field(default_factory=list)
    asked: int = 0

    def ask(self, link: Link, path: str, body: Any, gives: type[Any]) -> Any:
        assert link.region == self.region
        self.asked += 1
        if self.cut:
            raise Unavailable("cut")
        body = self.change(body)
        fate = self.lose()
        if fate in ("ask", "late"):
            if fate == "late":
                self.waiting.append((path, body))
            raise Unavailable("no answer")
        answer = self._told(path, body)
        if fate == "double":
            answer = self._told(path, body)
        if fate == "answer":
            raise Unavailable("the answer was lost")
        return msgspec.json.decode(msgspec.json.encode(answer), type=gives)

    def late(self) -> None:
        waiting, self.waiting = self.waiting, []
        for path, body in reversed(waiting):
            self._told(path, body)

    def _told(self, path: str, body: Any) -> Any:
        kind, does = {
            SYNC: (SyncIn, grid_manager.take),
            RENEW: (GridRenewIn, grid_manager.renew),
        }[path]
        ask = msgspec.json.decode(msgspec.json.encode(body), type=kind)
        return self.manager.do(does, Sender(self.region, self.epoch), ask)


@dataclass
class Region:
    """A region with its store, and its side of the grid."""

    name: str
    cloud: Cloud
    line: Line
    sync: GridSync

    def run(self, statement: Any) -> None:
        with self.cloud.database.write() as tx:
            tx.execute(statement)

    def image(
        self,
        name: str,
        *,
        public: bool = True,
        account: str = "",
        number: int = 1,
        content: str = "",
        fetched: bool = False,
    ) -> None:
        """A version that it has from now on. `content`: the same in each region where that is said."""
        now = self.cloud.around.clock.now()
        owner = AccountId(account or "account-root")
        id_ = f"image-{self.name}{name}"
        digest = hashlib.sha256((content or f"{self.name}{name}{number}").encode()).hexdigest()
        part = ImagePart(
            role=PartRole.DISK, sha256=digest, bytes=7, format=PartFormat.QCOW2, virtual_bytes=9
        )
        with self.cloud.database.write() as tx:
            if images.named(tx, owner, name) is None:
                made = Image(id=id_, account=owner, name=name, public=public, created_at=now)
                images.add(tx, made)
            version = ImageVersion(
                image=id_,
                number=number,
                digest=digest,
                parts=(part,),
                bytes=7,
                fetched=fetched,
                created_at=now,
            )
            images.add_version(tx, version)
            images.keep_part(tx, KeptPart(account=owner, part=part, created_at=now))
        self.sync.nudge(["images"])

    def versions(self, name: str) -> list[int]:
        """Versions of that image that are here."""
        query = (
            "select number from image_version v join image i on v.image = i.id"
            " where i.name = :name and not arriving order by number"
        )
        return [number for (number,) in self.cloud.rows(query, name=name)]

    def drop_image(self, name: str) -> None:
        id_ = f"image-{self.name}{name}"
        self.run(delete(t.image_version_part).where(t.image_version_part.c.image == id_))
        self.run(delete(t.image_version).where(t.image_version.c.image == id_))
        self.run(delete(t.image).where(t.image.c.id == id_))
        self.sync.nudge(["images"])

    def federate(self, account: str, *regions: str) -> None:
        self.run(update(t.account).where(t.account.c.id == account).values(federated=list(regions)))

    def link(self) -> Link:
        with self.cloud.database.read() as tx:
            found = grid_members.link(tx)
        assert found is not None
        return found

    def own(self) -> dict[Any, Any]:
        with self.cloud.database.read() as tx:
            return {f.at: (f.body, f.audience) for f in grid_facts.of(tx, self.name)}

    def catalogue(self) -> set[tuple[str, str]]:
        """Region and image of each version that others hold, as this one knows."""
        return {(r, i) for r, i in self.cloud.rows("select region, image from grid_version")}

    def holdings(self) -> int:
        return self.cloud.rows("select count(*) from grid_holding")[0][0]


@dataclass
class Grid:
    """All of it."""

    clock: VirtualClock
    manager: Manager
    regions: dict[str, Region] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Region:
        return self.regions[name]

    def turn(self, seconds: float = 5) -> None:
        """Time passes, and each region has its turn."""
        self.clock.wait(timedelta(seconds=seconds))
        for region in self.regions.values():
            region.sync.step()

    def settle(self) -> None:
        """Until each has said all and heard all."""
        self.turn(20)
        self.turn()


@contextmanager
def grid_of(directory: Path, *names: str):
    """A grid manager, and regions that have joined."""
    clock = VirtualClock()
    with ExitStack() as stack:
        (directory / "grid").mkdir()
        database = stack.enter_context(fresh_sqlite(directory / "grid"))
        entropy = Entropy("grid")
        around = Surroundings(
            clock,
            entropy,
            Ids(clock, entropy),
            ImageStore(directory / "grid" / "images"),
            Authority.open(directory / "grid" / "authority", clock, entropy),
        )
        with database.write() as tx:
            incarnations.draw(tx, "the grid", clock.now())
        grid = Grid(clock, Manager(database, around))
        for name in names:
            grid.regions[name] = _region(grid, stack, directory / name, name)
        yield grid


def _region(grid: Grid, stack: Any, directory: Path, name: str) -> Region:
    directory.mkdir()
    database = stack.enter_context(fresh_sqlite(directory))
    cloud = make_cloud(database)
    cloud.around = replace(cloud.around, clock=grid.clock)
    line = Line(grid.manager, name)
    sync = GridSync(
        look=database.read,
        transact=lambda work: _done(database, work),
        clock=grid.clock,
        wire=line,
        seal=lambda secret: secret.reveal(),
        acts=lambda: lambda tx: None,
        address=lambda: f"10.0.0.1:{len(grid.regions)}",
        software="1.0",
    )
    region = Region(name, cloud, line, sync)
    join(grid, region)
    return region


def join(grid: Grid, region: Region, token: str = "") -> None:
    """Let it in, and keep what it was given."""
    made = new_request(region.name)
    answer = grid.manager.join(region.name, token, made.request)
    link = Link(
        region=region.name,
        grid="grid:1",
        authorities=answer.authorities,
        certificate=answer.certificate,
        key_sealed=made.key.reveal(),
    )
    with region.cloud.database.write() as tx:
        grid_members.add_link(tx, link)
    region.line.epoch = grid.manager.member(region.name).epoch


def _done(database: Any, work: Any) -> Any:
    with database.write() as tx:
        return work(tx)
