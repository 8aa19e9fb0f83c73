"""A whole simulated region with its side of a grid: what each of its servers says, hears, fetches and lets go.

Parts of images are really in files, and move as chunks. What a server does beside its loop on threads of its own is done
here in turn, when it is due.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from arable.controllers import farm_regions, grid_sync
from arable.controllers.farm_regions import FarmRegions
from arable.controllers.grid_sync import GridSync
from arable.controllers.image_keeping import ImageKeeping
from arable.controllers.source_looks import Looks
from arable.controllers.transfers import Transfers
from arable.domain.access import Caller
from arable.domain.errors import CloudError, NotFound, Unavailable
from arable.domain.grid import Peer
from arable.domain.sources import Seen
from arable.drivers.storage.image_store import ImageStore
from arable.drivers.storage.part_chunks import FolderChunks
from arable.drivers.storage.room import Room as Disk
from arable.runtime.clock import VirtualClock
from arable.services import deployments, elsewhere, farm_partners
from arable.services.call import Surroundings
from arable.services.execution import Executor, Order, UseCase
from arable.services.grid_desk import GridDesk
from arable.services.grid_manager import Sender
from arable.services.hands import FarmHands
from arable.sim.grid_manager import SimManager
from arable.sim.grid_wan import MANAGER, DiedError, Source, Wan
from arable.sim.ground import Room
from arable.sim.invariants import Broken
from arable.sim.region import Region
from arable.sim.servers import AtOnce, SimServer
from arable.store import grid_members
from arable.store.database import Database, Tx
from arable.store.grid_members import Link
from arable.wire.grid import FarmPartIn, FarmPartOut, FarmPartsIn, FarmPartsOut, PassIn, PassOut
from arable.wire.machines import DeployIn

KEEPS_SECONDS, LOOKS_SECONDS, FETCHES_SECONDS, TELLS_SECONDS = 20.0, 30.0, 2.0, 3.0
DISK_BYTES = 64 << 20
_DEPLOY = UseCase("machines.deploy", deployments.deploy, deployments.deploy_batch, status=202)

T = TypeVar("T")


class _Chunks(FolderChunks):
    """Chunks that tell when what came of a part is given up, as it is after a damaged one."""

    def __init__(self, folder: Path, disk: Disk, removed: Callable[[str], None]) -> None:
        super().__init__(folder, disk)
        self._images, self._removed = folder, removed

    def forget(self, sha256: str) -> None:
        super().forget(sha256)
        if not (self._images / sha256).exists():
            self._removed(sha256)


class SimStore(ImageStore):
    """An image store whose files are as old as the world's time says."""

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        super().__init__(directory)
        self.chunked = _Chunks(directory, self._room, self._given_up)
        self.folder, self._clock = directory, clock
        self.removed: Callable[[str], None] = lambda _sha256: None
        self._stamped: dict[str, int] = {}

    def stamp(self) -> None:
        """Files that came since have come now."""
        now = self._clock.now().timestamp()
        for file in self.folder.iterdir():
            if self._stamped.get(file.name) != file.stat().st_mtime_ns:
                os.utime(file, (now, now))
                self._stamped[file.name] = file.stat().st_mtime_ns

    def remove(self, sha256: str) -> None:
        super().remove(sha256)
        self.removed(sha256)

    def _given_up(self, sha256: str) -> None:
        self.removed(sha256)

    def disk(self) -> tuple[int, int]:
        used = sum(file.stat().st_size for file in self.folder.iterdir())
        return DISK_BYTES, used


@dataclass
class _Looks(Looks):
    """Regions are asked in turn, and all are equally far."""

    def at(self, sources: Sequence[Any], reserved: Any) -> list[Seen]:
        return [Seen(each.name, 0.01, reserved.get(each.name, 0.0)) for each in sources]


@dataclass
class Door:
    """How a region's servers reach others: `GridDoor`, and the wires of those who tell and ask."""

    region: "GridRegion"

    def ask(self, link: Link, path: str, body: msgspec.Struct, gives: type[T]) -> T:
        """Of the grid manager."""
        grid, raw = self.region.grid, msgspec.json.encode(body)
        sender = Sender(link.region, self.region.epoch)
        answer = grid.wan.ask(link.region, MANAGER, lambda: grid.manager.take(sender, path, raw))
        return msgspec.json.decode(answer, type=gives)

    def farms(self, link: Link, url: str, region: str, ask: FarmPartsIn) -> FarmPartsOut:  # noqa: ARG002
        grid, raw = self.region.grid, msgspec.json.encode(ask)
        there = grid.regions[region]
        answer = grid.wan.ask(link.region, region, lambda: there.parts(link.region, raw))
        return msgspec.json.decode(answer, type=FarmPartsOut)

    def carry(self, link: Link, url: str, region: str, ask: PassIn, waits: int) -> PassOut:  # noqa: ARG002
        grid, raw = self.region.grid, msgspec.json.encode(ask)
        there = grid.regions[region]
        answer = grid.wan.ask(link.region, region, lambda: there.passed(link.region, raw))
        return msgspec.json.decode(answer, type=PassOut)

    def join(self, grid: str, token: str, region: str) -> Any:
        raise Unavailable(f"{region} is in {grid} from the beginning ({len(token)})")

    def send(self, *_: Any) -> PassOut:
        raise Unavailable("no files go this way here")

    def console(self, *_: Any) -> Any:
        raise Unavailable("no consoles here")

    def follow(self, *_: Any) -> Any:
        raise Unavailable("nobody follows events here")


@dataclass
class Grid:
    """All of it, as regions find it."""

    wan: Wan
    manager: SimManager
    regions: dict[str, "GridRegion"] = field(default_factory=dict)


class GridSide:
    """What one server's process does of the grid. It ends with the process, and nothing of it is kept."""

    def __init__(self, region: "GridRegion", server: SimServer) -> None:
        self.region, self.server = region, server
        writer, clock, database = server.writer, server.clock, server.database
        door = Door(region)

        def transact(work: Callable[[Any], Any]) -> Any:
            return writer.submit(work).result()

        self.sync = GridSync(
            look=database.read,
            transact=transact,
            clock=clock,
            wire=door,
            seal=lambda secret: secret.reveal(),
            acts=server.loop.acts,
            address=lambda: f"{region.name}:8445",
            software="1.0",
        )
        self.farms = FarmRegions(
            database.read,
            transact,
            clock,
            door,
            FarmHands(lambda: server.around),
            server.loop.acts,
            threads=AtOnce(),
        )
        store = region.store
        self.transfers = Transfers(
            database,
            writer,
            clock,
            server.name,
            store,
            store.chunked,
            self._reach,
            threads=AtOnce(),
            apart=False,
        )
        self.transfers.looks = _Looks(clock)
        self.keeping = ImageKeeping(
            *(database.read, transact, clock, server.around.ids, store, store.disk),
            server.loop.acts,
            looks=LOOKS_SECONDS,
        )
        now = clock.monotonic()
        self._due = {"sync": now, "farms": now, "transfers": now, "keeping": now}
        server.also = self._nudged

    def step(self) -> None:
        """Everything that is due, unless its process does nothing, or is in the middle of something."""
        server = self.server
        if not server.works or server.writer.held or server.clock.monotonic() < server.slow_until:
            return
        self._do("transfers", self.transfers.step, FETCHES_SECONDS)
        self._do("sync", self.sync.step, self.region.grid_seconds)
        self._do("farms", self.farms.step, TELLS_SECONDS)
        self._do("keeping", self._keep, KEEPS_SECONDS)

    def _do(self, what: str, work: Callable[[], None], seconds: float) -> None:
        now = self.server.clock.monotonic()
        if not self.server.works or now < self._due[what]:
            return
        self._due[what] = now + seconds
        try:
            with suppress(CloudError):
                work()
        except DiedError:
            self.region.kill_server(self.server)

    def _keep(self) -> None:
        self.region.store.stamp()
        self.keeping.step()

    def _nudged(self, topics: Iterable[str]) -> None:
        now, topics = self.server.clock.monotonic(), set(topics)
        self.sync.nudge(topics)
        for what, of in (("sync", grid_sync.TOPICS), ("farms", farm_regions.TOPICS)):
            if of & topics:
                self._due[what] = now

    def _reach(self) -> Callable[[Peer], Any] | None:
        with self.server.database.read() as tx:
            if grid_members.link(tx) is None:
                return None
        return self.region.source


class GridRegion(Region):
    """`found` makes one."""

    name: str
    grid: Grid
    store: SimStore
    epoch: int
    sides: dict[str, GridSide]
    grid_seconds: float = 5.0

    @classmethod
    def found(
        cls, name: str, seed: str, directory: Path, room: Room, database: Database, grid: Grid
    ) -> "GridRegion":
        """A region of the grid, which has nothing in it but what operators laid out."""
        made = cls.build(f"{seed}/{name}", directory, room, database, grid_clock(grid))
        assert isinstance(made, cls)
        made.name, made.grid, made.sides = name, grid, {}
        made.store = SimStore(directory / "images", grid_clock(grid))
        made.store.removed = lambda sha256: grid.wan.forget(name, sha256)
        made.around = replace(
            made.around, images=made.store, chunks=made.store.chunked, grid=Door(made)
        )
        link = grid.manager.welcome(name)
        made.epoch = grid.manager.epoch(name)
        with database.write() as tx:
            grid_members.add_link(tx, link)
            for table in ("image_version", "image"):
                tx.exec_driver_sql(f"delete from {table}")  # noqa: S608 - two words
        made.furnish(room)
        grid.regions[name] = made
        return made

    def start_server(self, name: str) -> SimServer:
        made = super().start_server(name)
        self.sides[name] = GridSide(self, made)
        return made

    def move(self) -> None:
        super().move()
        for name in sorted(self.sides):
            self.sides[name].step()

    # --- what others ask at its grid port

    def source(self, peer: Peer) -> Source:
        """That region, as one that may have parts."""
        there = self.grid.regions[peer.name]
        return Source(peer.name, self.name, self.grid.wan, there.desk)

    def desk(self) -> GridDesk:
        server = self.server_for_a_call()
        return GridDesk(server.database, server.around)

    def parts(self, origin: str, raw: bytes) -> bytes:
        """What farms of that region are to be here."""
        server, answers = self.server_for_a_call(), []
        for part in msgspec.json.decode(raw, type=FarmPartsIn).parts:
            take = partial(_take, server, origin, part)
            answers.append(_answer(server.writer.submit(take)))
        return msgspec.json.encode(FarmPartsOut(parts=tuple(answers)))

    def passed(self, origin: str, raw: bytes) -> bytes:
        """A call that somebody made in that region: a deployment, done as any."""
        server, ask = self.server_for_a_call(), msgspec.json.decode(raw, type=PassIn)
        with server.database.read() as tx:
            caller = elsewhere.caller(tx, origin, ask)
        try:
            answer = deploy(server, caller, ask.body, dict(ask.headers).get("idempotency-key", ""))
        except Unavailable:
            raise
        except CloudError as error:
            return msgspec.json.encode(PassOut(status=409, headers=(), body=error.public.encode()))
        return msgspec.json.encode(PassOut(status=202, headers=(), body=answer))

    # --- what its hosts ask

    def _fetch(self, sha256: str) -> Iterable[bytes]:
        content = self.store.path(sha256).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Broken(f"{self.name} would start machines from bytes that are not {sha256[:12]}")
        return [content]

    def has(self, sha256: str) -> bool:
        """Whether the bytes are in its store."""
        with suppress(NotFound):
            return self.store.path(sha256).is_file()
        return False


def _take(server: SimServer, origin: str, part: FarmPartIn, tx: Tx) -> FarmPartOut:
    return farm_partners.take(tx, server.around, origin, part)


def deploy(server: SimServer, caller: Caller, body: bytes, key: str) -> bytes:
    """As the API does it, with the key by which a repetition is known."""
    around: Surroundings = server.around
    order = Order(
        case=_DEPLOY,
        caller=caller,
        args=(msgspec.json.decode(body, type=DeployIn), None),
        key=key,
        fingerprint=hashlib.sha256(body).hexdigest() if key else "",
    )
    into: Future[Any] = Future()
    Executor(server.database, server.writer, around).write(order, into)
    done = _answer(into)
    if isinstance(done, CloudError):
        raise done
    return done.repeated if done.repeated is not None else msgspec.json.encode(done.answer)


def grid_clock(grid: Grid) -> VirtualClock:
    """The one time of all."""
    clock = grid.manager.around.clock
    assert isinstance(clock, VirtualClock)
    return clock


def _answer(done: Any) -> Any:
    if not done.done():
        raise Unavailable("no answer in time")
    return done.result()
