"""A cloud whose grid has other regions, each of them in memory, and the part of a management server that fetches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from make_cloud import Cloud

from arable.controllers.transfers import Transfers
from arable.domain.grid import CataloguedVersion, Peer
from arable.domain.image import digest
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.drivers.storage.image_store import ImageStore
from arable.store import grid
from arable.store.writer import Writer
from grid.make_regions import Source, noise, said

MIB = 1 << 20
CONTENT = noise(MIB)


def part_of(content: bytes) -> ImagePart:
    """A raw disk."""
    asked = said(content)
    return ImagePart(
        role=PartRole.DISK,
        sha256=asked.sha256 or "",
        bytes=len(content),
        format=PartFormat.RAW,
        virtual_bytes=len(content),
    )


@dataclass
class Elsewhere:
    """`sources` are regions that can be asked; what they hold is as `told` says."""

    cloud: Cloud
    writer: Writer
    store: ImageStore
    sources: dict[str, Source] = field(default_factory=dict)
    _told: dict[str, list[CataloguedVersion]] = field(default_factory=dict)
    _numbers: int = 0
    topics: set[str] = field(default_factory=set)  # nudged by what the server wrote

    def __post_init__(self) -> None:
        self.writer.committed = lambda nudges: self.topics.update(nudges.topics)

    def has(
        self,
        region: str,
        content: bytes = CONTENT,
        *,
        image: str = "web",
        number: int = 3,
        account: str = "root/shop/shop",
        public: bool = True,
        claims: ImagePart | None = None,
    ) -> Source:
        """That region holds it, and the grid manager says so."""
        part = claims or part_of(content)
        version = CataloguedVersion(
            region=region,
            account=account,
            image=image,
            number=number,
            digest=digest([part]),
            parts=(part,),
            public=public,
            created_at=self.cloud.around.clock.now(),
        )
        told = self._told.setdefault(region, [])
        told.append(version)
        self._numbers += 1
        with self.cloud.database.write() as tx:
            peer = Peer(name=region, url=f"https://{region}:1", fingerprint="f", authority="a")
            grid.put_peers(tx, [peer])
            parts = [each.sha256 for one in told for each in one.parts]
            now = self.cloud.around.clock.now()
            grid.replace_region(tx, region, self._numbers, told, parts, now)
        self.sources[region] = Source(region, content)
        return self.sources[region]

    def server(self, name: str = "server-a") -> Transfers:
        """A management server, whose turn it is when it is told to `step`."""
        return Transfers(
            self.cloud.database,
            self.writer,
            self.cloud.around.clock,
            name,
            self.store,
            self.store.chunked,
            lambda: self._reach,
        )

    def _reach(self, peer: Peer) -> Any:
        return self.sources[peer.name]

    def wait(self, seconds: float) -> None:
        """Time passes."""
        clock: Any = self.cloud.around.clock
        clock.wait(timedelta(seconds=seconds))

    def operation(self, id_: str) -> tuple[str, list[str]]:
        """Its state and its steps."""
        ((state, steps),) = self.cloud.rows(
            "select state, steps from operation where id = :id", id=id_
        )
        found = msgspec.json.decode(steps) if isinstance(steps, str) else steps
        return state, [each["text"] for each in found]


@contextmanager
def elsewhere(cloud: Cloud, directory: Path) -> Iterator[Elsewhere]:
    store = ImageStore(directory / "images")
    cloud.around = replace(cloud.around, images=store, chunks=store.chunked)
    writer = Writer(cloud.database, clock=cloud.around.clock)
    writer.start()
    try:
        yield Elsewhere(cloud, writer, store)
    finally:
        writer.stop()
