"""A grid of a hundred regions with ten thousand image versions: what a question costs, and how soon all know after a cut.

A question is one over HTTP to a real management server whose store has the whole catalogue: where an image's versions
are. The rest is on virtual time: a grid manager whose store has what all regions told it, a hundred regions that tell
and hear (some of them with stores of their own, the others only by their messages), and one that is cut off for ten minutes
in which it and others have new versions.
"""

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from arable.controllers import grid_sync
from arable.controllers.grid_sync import GridSync
from arable.domain.errors import Unavailable
from arable.domain.grid import CataloguedVersion, Peer
from arable.domain.ids import ImageId
from arable.domain.image import Image, ImageVersion, digest
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.region import Fact, FactKind
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import Authority, new_request
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.tokens import new_join_token
from arable.services import bootstrap, grid_manager
from arable.services.call import Surroundings
from arable.services.grid_manager import Sender
from arable.store import accounts, grid, grid_facts, grid_members, images, incarnations
from arable.store.database import Database, Tx
from arable.store.grid_members import GridToken, Link
from arable.store.schema import metadata
from arable.wire.catalogue import WhereQuery
from arable.wire.grid import SYNC, FactDoc, GridJoinIn, SyncIn, SyncOut
from bench import cloud as clouds

COPIES = 3
"""Regions that hold each version."""
EACH = 4
"""Versions of an image."""
CUT = timedelta(minutes=10)
ROUND = 5.0
"""Seconds between two messages of a region, as it comes (`grid_seconds`)."""
_AT = datetime(2027, 1, 1, tzinfo=UTC)
_MOST_ROUNDS = 100


@dataclass
class Found:
    """Of the questions, seconds each; of the cut, virtual seconds until all agree and real ones that it took to work."""

    regions: int
    versions: int
    asked: list[float] = field(default_factory=list)
    changed: int = 0  # versions, during the cut
    converged: float = 0.0
    work: float = 0.0  # of the region that was cut off, for all it missed
    others: float = 0.0  # of one of the others


def measured(regions: int, versions: int, questions: int, stores: int) -> Found:
    """Both."""
    found = Found(regions, versions)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arable-bench-")))
        _questions(found, folder / "server", questions)
        _convergence(found, folder / "grid", stores, stack)
    return found


def catalogue(regions: int, versions: int) -> dict[str, list[CataloguedVersion]]:
    """By region, what it holds: each version is in some of them."""
    held: dict[str, list[CataloguedVersion]] = {_name(number): [] for number in range(regions)}
    for number in range(versions):
        for copy in range(min(COPIES, regions)):
            region = _name((number * 7 + copy * (regions // COPIES or 1)) % regions)
            held[region].append(_version(region, number // EACH, number % EACH + 1))
    return held


def _name(number: int) -> str:
    return f"region-{number:03}"


def _version(region: str, image: int, number: int) -> CataloguedVersion:
    sha256 = hashlib.sha256(f"{image}/{number}".encode()).hexdigest()
    part = ImagePart(
        role=PartRole.DISK,
        sha256=sha256,
        bytes=1 << 30,
        format=PartFormat.QCOW2,
        virtual_bytes=1 << 32,
    )
    return CataloguedVersion(
        region=region,
        account="root/operators",
        image=f"image-{image:05}",
        number=number,
        digest=digest([part]),
        parts=(part,),
        public=True,
        created_at=_AT,
    )


# --- questions


def _questions(found: Found, data: Path, count: int) -> None:
    """Over HTTP, one after the other, each of another image; after a tenth of them the clock runs."""
    with clouds.server(data) as served, clouds.operator(served) as client:
        _fill(served.database, found)
        names = max(1, found.versions // EACH)
        for number in range(count + count // 10):
            name = f"image-{number * 37 % names:05}"
            began = time.perf_counter()
            told = client.images.where(WhereQuery(image=name))
            took = time.perf_counter() - began
            if not told.versions or not told.versions[0].holders:
                raise Unavailable(f"{name} is not in the catalogue")
            if number >= count // 10:
                found.asked.append(took)


def _fill(url: str, found: Found) -> None:
    database = Database(url)
    authority = "-----BEGIN CERTIFICATE-----\n" + "x" * 800
    try:
        for name, held in catalogue(found.regions, found.versions).items():
            peer = Peer(name=name, url=f"https://{name}:8445", fingerprint="f", authority=authority)
            with database.write() as tx:
                grid.put_peers(tx, [peer])
                parts = {part.sha256 for each in held for part in each.parts}
                grid.replace_region(tx, name, 1, held, parts, _AT)
    finally:
        database.close()


# --- a cut


@dataclass
class _Manager:
    """The grid manager, asked directly; what it hears is encoded and decoded as on the wire."""

    database: Database
    around: Surroundings
    clock: VirtualClock
    incarnation: str
    cut: set[str] = field(default_factory=set)

    def last(self) -> int:
        """The number of the last thing that it was told."""
        with self.database.read() as tx:
            return grid_facts.counted(tx)[0]

    def ask(self, link: Link, path: str, body: Any, gives: type[Any]) -> Any:
        if path != SYNC:
            raise Unavailable("no certificate is renewed here")
        return msgspec.json.decode(msgspec.json.encode(self.take(link.region, body)), type=gives)

    def take(self, region: str, ask: SyncIn) -> SyncOut:
        if region in self.cut:
            raise Unavailable("cut")
        read = msgspec.json.decode(msgspec.json.encode(ask), type=SyncIn)
        with self.database.write() as tx:
            return grid_manager.take(tx, self.around, Sender(region, 1), read)

    def join(self, region: str) -> Link:
        issued = new_join_token(self.around.authority.fingerprint, Entropy(region))
        made = new_request(region)
        with self.database.write() as tx:
            now = self.clock.now()
            token = GridToken(
                id=self.around.ids.new("gridtoken"),
                region=None,
                secret_hash=issued.digest,
                expires_at=now + timedelta(hours=1),
                created_at=now,
            )
            grid_members.add_token(tx, token)
        ask = GridJoinIn(token=issued.text.reveal(), region=region, request=made.request)
        with self.database.write() as tx:
            answer = grid_manager.join(tx, self.around, ask)
        return Link(
            region=region,
            grid="grid:1",
            authorities=answer.authorities,
            certificate=answer.certificate,
            key_sealed=made.key.reveal(),
        )


def _convergence(found: Found, folder: Path, stores: int, stack: ExitStack) -> None:
    logging.getLogger(grid_sync.__name__).setLevel(logging.ERROR)  # that it is cut, we know
    clock, entropy = VirtualClock(), Entropy("grid")
    folder.mkdir()
    database = _store(folder / "grid.sqlite", stack)
    around = Surroundings(
        clock,
        entropy,
        Ids(clock, entropy),
        ImageStore(folder / "images"),
        Authority.open(folder / "authority", clock, entropy),
    )
    with database.write() as tx:
        incarnations.draw(tx, "the grid", clock.now())
        incarnation = incarnations.current(tx)
    manager = _Manager(database, around, clock, incarnation)
    held = catalogue(found.regions, found.versions)
    syncs: dict[str, GridSync] = {}
    for at, (name, versions) in enumerate(held.items()):
        link = manager.join(name)
        if at < stores:
            syncs[name] = _region(folder / f"{name}.sqlite", link, manager, stack)
            versions.clear()
        else:
            _push(manager, name, versions, snapshot=True)
    for _ in range(4):
        clock.wait(timedelta(seconds=ROUND))
        for sync in syncs.values():
            sync.step()
    lost = next(iter(syncs))
    manager.cut = {lost}
    for minute in range(int(CUT.total_seconds() // 60)):
        for name in held:
            fresh = _version(name, 90_000 + minute, int(name[-3:]) + 1)
            held[name].append(fresh)
            found.changed += 1
            if name in syncs:
                _make(syncs[name], fresh)
            else:
                _push(manager, name, [fresh])
        clock.wait(timedelta(seconds=60))
        for sync in syncs.values():
            sync.step()
    manager.cut = set()
    wanted = {(v.region, v.image, v.number) for versions in held.values() for v in versions}
    began = clock.monotonic()
    for _ in range(_MOST_ROUNDS):
        clock.wait(timedelta(seconds=ROUND))
        for name, sync in syncs.items():
            start = time.perf_counter()
            sync.step()
            if name == lost:
                found.work += time.perf_counter() - start
            else:
                found.others = max(found.others, time.perf_counter() - start)
        if all(_agrees(sync, name, wanted) for name, sync in syncs.items()):
            found.converged = clock.monotonic() - began
            return
    raise Unavailable("they never agree")


def _store(path: Path, stack: ExitStack) -> Database:
    database = Database(f"sqlite:///{path}")
    stack.callback(database.close)
    with database.write() as tx:
        metadata.create_all(tx)
    return database


def _region(path: Path, link: Link, manager: _Manager, stack: ExitStack) -> GridSync:
    database = _store(path, stack)
    bootstrap.ensure(database, manager.clock, manager.around.entropy, manager.around.ids)
    with database.write() as tx:
        grid_members.add_link(tx, link)

    def transact(work: Callable[[Any], Any]) -> Any:
        with database.write() as tx:
            return work(tx)

    return GridSync(
        look=database.read,
        transact=transact,
        clock=manager.clock,
        wire=manager,
        seal=lambda secret: secret.reveal(),
        acts=lambda: lambda _tx: None,
        address=lambda: "10.0.0.1:8445",
        software="bench",
    )


def _push(
    manager: _Manager, region: str, versions: Sequence[CataloguedVersion], *, snapshot: bool = False
) -> None:
    """What that region says, without a store of its own: its versions' numbers grow with the clock."""
    first = int(manager.clock.now().timestamp() * 1e6)
    facts = [_fact(each, first + at) for at, each in enumerate(versions)]
    ask = SyncIn(
        url=f"{region}:8445",
        software="bench",
        facts=tuple(
            FactDoc(kind=str(each.kind), key=each.key, version=each.version, body=each.body)
            for each in facts
        ),
        snapshot=first + len(facts) if snapshot else None,
        incarnation=manager.incarnation,
        cursor=manager.last(),  # it has heard all: it only tells
    )
    manager.take(region, ask)


def _fact(version: CataloguedVersion, number: int) -> Fact:
    body = {
        "account": version.account,
        "image": version.image,
        "number": version.number,
        "digest": version.digest,
        "parts": msgspec.to_builtins(version.parts),
        "public": version.public,
        "command_line": "",
        "minimum_memory_mib": 0,
        "created_at": version.created_at.isoformat(),
    }
    key = f"{version.account}|{version.image}|{version.number}"
    return Fact(kind=FactKind.IMAGE, key=key, version=number, body=body)


def _make(sync: GridSync, version: CataloguedVersion) -> None:
    """It is in that region's store from now on, and the region sees it."""
    id_ = ImageId(f"image-{version.region}{version.image}")

    def write(tx: Tx) -> None:
        owner = accounts.eldest(tx)
        image = Image(
            id=id_, account=owner, name=version.image, public=True, created_at=version.created_at
        )
        images.add(tx, image)
        images.add_version(
            tx,
            ImageVersion(
                image=id_,
                number=version.number,
                digest=version.digest,
                parts=version.parts,
                bytes=version.bytes,
                created_at=version.created_at,
            ),
        )

    sync.transact(write)
    sync.nudge([images.TOPIC])


def _agrees(sync: GridSync, own: str, wanted: set[tuple[str, str, int]]) -> bool:
    """Whether what it knows of others' versions is all there is."""
    with sync.look() as tx:
        rows = tx.exec_driver_sql("select region, image, number from grid_version").all()
    return {(row[0], row[1], row[2]) for row in rows} == {each for each in wanted if each[0] != own}
