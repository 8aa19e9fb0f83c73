"""Regions on the loopback: each a database, an image store and a grid port of its own, certified by one grid."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arable.api.grid.app import GridApp
from arable.api.grid.parts import Parts
from arable.api.grid.port import GridPort
from arable.client.errors import Unreachable
from arable.client.regions import Region
from arable.domain import chunks as cut
from arable.domain.chunks import CHUNK, ChunkList
from arable.domain.image_files import PartSaid
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.ca import Authority, IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids
from arable.runtime.grid_identity import GridIdentity, keep_identity
from arable.services.call import Surroundings
from arable.services.grid_desk import GridDesk
from arable.store.database import Database

ENTROPY = Entropy.system()


def noise(count: int, seed: int = 0) -> bytes:
    """Bytes that don't compress, a whole number of sectors."""
    return hashlib.shake_256(b"%d" % seed).digest(count - count % 512)


def said(content: bytes) -> PartSaid:
    """Of a raw disk."""
    sha256 = hashlib.sha256(content).hexdigest()
    return PartSaid(role=PartRole.DISK, format=PartFormat.RAW, sha256=sha256, bytes=len(content))


def bring(store: ImageStore, content: bytes) -> ImagePart:
    """A raw disk, into a region's store."""
    upload = store.begin(said(content))
    upload.write(content)
    return upload.finish()


@dataclass
class Source:
    """A region in memory that has one part; `chunk` may change or refuse what it sends."""

    name: str
    content: bytes
    chunk: Callable[[int, bytes], bytes] = lambda _number, data: data
    listed: ChunkList | None = None
    sent: list[int] = field(default_factory=list)
    down: bool = False
    hung_up: threading.Event = field(default_factory=threading.Event)
    away: Callable[[], None] = lambda: None  # what a round trip takes
    busy: float = 0.0

    def line(self) -> "Source":
        if self.down:
            raise Unreachable(f"{self.name} is down")
        return self

    def load(self) -> float:
        self.away()
        return self.busy

    def keep(self, _line: object) -> None:
        pass

    def chunk_list(self, sha256: str, most: int) -> bytes:
        pieces = [self.content[at : at + CHUNK] for at in range(0, len(self.content), CHUNK)]
        made = self.listed or cut.list_of(sha256, len(self.content), pieces)
        return made.encode()[:most]

    def chunks(self, _sha256: str, want: str) -> Iterator[bytes]:
        for number in cut.read(want, cut.count_of(len(self.content))):
            data = self.chunk(number, self.content[number * CHUNK : (number + 1) * CHUNK])
            self.sent.append(number)
            yield cut.packed(number, data)

    def close(self) -> None:
        pass

    def hang_up(self) -> None:
        self.hung_up.set()


@dataclass
class Grid:
    """Its authority, and who is certified by it."""

    folder: Path
    authority: Authority = field(init=False)

    def __post_init__(self) -> None:
        self.authority = Authority.create(self.folder / "grid", RealClock(), ENTROPY)

    def identity(self, name: str, kind: IdentityKind = IdentityKind.REGION) -> GridIdentity:
        asked = new_request(name)
        signed = self.authority.sign(asked.request, name, kind, 24)
        data = self.folder / name
        return keep_identity(data, name, [self.authority.pem], signed, asked.key, ENTROPY)


@dataclass
class Site:
    """A region that answers others."""

    identity: GridIdentity
    store: ImageStore
    url: str

    def asked_by(self, other: GridIdentity, stall: float = 5.0) -> Region:
        return Region(self.identity.region, self.url, other.asking, stall)


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()


def surroundings(store: ImageStore, authority: Authority) -> Surroundings:
    clock = RealClock()
    return Surroundings(clock, ENTROPY, Ids(clock, ENTROPY), store, authority, chunks=store.chunked)


@contextmanager
def site(loop: Loop, grid: Grid, name: str, database: Database) -> Iterator[Site]:
    """A region's grid port over its store."""
    identity = grid.identity(name)
    store = ImageStore(grid.folder / name / "images")
    desk = GridDesk(database, surroundings(store, grid.authority))

    async def begin() -> tuple[Parts, GridPort, str]:
        parts = Parts(desk)
        port = GridPort(GridApp(parts.routes(), RealClock()), identity.listening())
        host, number = await port.start(("127.0.0.1", 0))
        return parts, port, f"https://{host}:{number}"

    parts, port, url = loop.run(begin())
    try:
        yield Site(identity, store, url)
    finally:
        loop.run(port.stop())
        parts.close()
