"""What a management server does with other regions' images, put together: it sends parts of its own, and fetches theirs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from arable.api.grid.parts import Parts
from arable.client.regions import Region
from arable.controllers.grid_wire import GridWire
from arable.controllers.image_keeping import Fence, ImageKeeping
from arable.controllers.transfers import Reach, Transfers
from arable.domain.grid import Peer
from arable.drivers.storage.image_store import ImageStore
from arable.services.call import Surroundings
from arable.services.grid_desk import GridDesk
from arable.store import grid, grid_members, transfers
from arable.store.database import Database
from arable.store.writer import Writer

_TOPICS = frozenset({transfers.TOPIC, grid.TOPIC, grid_members.TOPIC})


@dataclass(frozen=True, slots=True)
class GridImages:
    """`parts` are for the grid port."""

    parts: Parts
    transfers: Transfers
    keeping: ImageKeeping

    def nudged(self, topics: Iterable[str]) -> None:
        """Something changed; from any thread."""
        if not _TOPICS.isdisjoint(topics):
            self.transfers.nudge()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Inside the block. The writer must run for longer."""
        self.transfers.start()
        self.keeping.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.keeping.stop)
            await asyncio.to_thread(self.transfers.stop)
            self.parts.close()


def grid_images(
    database: Database,
    writer: Writer,
    around: Surroundings,
    me: str,
    wire: GridWire,
    store: ImageStore,
    acts: Callable[[], Fence | None],
) -> GridImages:
    """Of a management server whose parts these are. On the event loop."""

    def reach() -> Reach | None:
        with database.read() as tx:
            link = grid_members.link(tx)
        if link is None:
            return None

        def region(peer: Peer) -> Region:
            return Region(peer.name, peer.url, lambda: wire.context(link))

        return region

    around = replace(around, chunks=store.chunked)
    fetching = Transfers(database, writer, around.clock, me, store, store.chunked, reach)
    keeping = ImageKeeping(
        database.read,
        lambda work: writer.submit(work).result(),
        around.clock,
        around.ids,
        store,
        store.disk,
        acts,
        partial=store.partial,
    )
    return GridImages(Parts(GridDesk(database, around)), fetching, keeping)
