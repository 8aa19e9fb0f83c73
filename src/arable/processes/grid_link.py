"""A region's place in the grid, put together: what tells and hears (`controllers/grid_sync.py`), and the grid port.

A region that is in no grid has neither: nothing listens and nothing is asked until it joins, and again after it left.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arable.api.grid.app import GridApp, GridRoute, GridSocket
from arable.api.grid.port import GridPort
from arable.controllers.farm_regions import FarmRegions, Hands
from arable.controllers.grid_sync import GridSync
from arable.controllers.grid_wire import GridWire
from arable.domain.errors import CloudError
from arable.runtime.ca import Peer
from arable.runtime.clock import Clock
from arable.runtime.grid_identity import GridIdentity
from arable.store import grid_members
from arable.store.database import Database
from arable.store.grid_members import TOPIC

log = logging.getLogger(__name__)

_LOOK = 30.0  # seconds, in case a nudge was lost


@dataclass(slots=True)
class GridLink:
    """`listen` is HOST:PORT, or empty: no other region can ask this one. `routes` are what it answers there."""

    database: Database
    clock: Clock
    wire: GridWire
    sync: GridSync
    listen: tuple[str, int] | None
    told: str = ""  # HOST:PORT where others reach it; empty: where it listens
    routes: Sequence[GridRoute | GridSocket] = ()
    farms: FarmRegions | None = None
    _port: GridPort | None = None
    _shown: GridIdentity | None = None
    _address: str = ""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None

    def address(self) -> str:
        """Where other regions reach this one; empty: nowhere."""
        return (self.told or self._address) if self._port is not None else ""

    def nudged(self, topics: Iterable[str]) -> None:
        """Something changed; from any thread."""
        self.sync.nudge(topics)
        if self.farms is not None:
            self.farms.nudge(topics)
        if TOPIC in topics and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Inside the block. The writer must run for longer."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._keep_port())
        self.sync.start()
        if self.farms is not None:
            self.farms.start()
        try:
            yield
        finally:
            if self.farms is not None:
                await asyncio.to_thread(self.farms.stop)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(self.sync.stop)
            await self._close()

    async def _keep_port(self) -> None:
        while True:
            try:
                await self._look()
            except (CloudError, OSError) as error:
                log.warning("the grid port: %s", error)
            except Exception:
                log.exception("the grid port")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._wake.wait()
            self._wake.clear()

    async def _look(self) -> None:
        """Listen while this is a region of a grid, with the certificate that counts now."""
        if self.listen is None:
            return
        identity = await asyncio.to_thread(self._identity)
        if identity is None:
            await self._close()
        elif self._port is None:
            port = GridPort(GridApp(self.routes, self.clock, self._admit), identity.listening())
            host, number = await port.start(self.listen)
            self._port, self._shown = port, identity
            self._address = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
            log.info("the grid port is at %s", self._address)
            self.sync.nudge([TOPIC])
        elif self._shown != identity:
            self._port.refresh(_loading(identity))
            self._shown = identity

    def _identity(self) -> GridIdentity | None:
        with self.database.read() as tx:
            link = grid_members.link(tx)
        return None if link is None else self.wire.identity(link)

    def _admit(self, peer: Peer) -> None:
        with self.database.read() as tx:
            grid_members.demand(tx, peer.common_name, peer.epoch)

    async def _close(self) -> None:
        if self._port is not None:
            await self._port.stop()
            self._port = self._shown = None


def _loading(identity: GridIdentity) -> Callable[[ssl.SSLContext], None]:
    pem: Path = identity.folder / "region.pem"

    def load(context: ssl.SSLContext) -> None:
        context.load_cert_chain(pem, pem)

    return load


def grid_link(
    database: Database,
    transact: Callable[[Any], Any],
    clock: Clock,
    wire: GridWire,
    *,
    seal: Callable[[Any], str],
    acts: Callable[[], Any],
    software: str,
    listen: tuple[str, int] | None,
    told: str,
    api: str = "",
    routes: Sequence[GridRoute | GridSocket] = (),
    hands: Hands | None = None,
) -> GridLink:
    """Of a management server whose parts these are. `hands`: what can be asked for farms; without, no farm has parts elsewhere."""
    sync = GridSync(
        look=database.read,
        transact=transact,
        clock=clock,
        wire=wire,
        seal=seal,
        acts=acts,
        software=software,
        api=api,
    )
    farms = FarmRegions(database.read, transact, clock, wire, hands, acts) if hands else None
    link = GridLink(database, clock, wire, sync, listen, told, routes, farms)
    sync.address = link.address
    return link
