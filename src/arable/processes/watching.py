"""How a management server is watched, put together: its figures, what it says of its own health, who is told of alerts."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from arable.api.figures import ServerFigures, StoreFigures, register
from arable.api.gateway.channels import Channels
from arable.api.metrics import Metrics
from arable.controllers.delivery import Deliverer
from arable.controllers.health import SECONDS, Health
from arable.controllers.loop import Loop
from arable.controllers.power import TOPIC as POWER
from arable.controllers.switching import Switcher
from arable.domain.alert import AlertRoute, RouteKind
from arable.domain.errors import CloudError
from arable.domain.power import Bmc, PowerSwitch
from arable.drivers.alerts.mail import Mail
from arable.drivers.alerts.webhook import Webhooks
from arable.drivers.power.redfish import RedfishPower
from arable.runtime.clock import Clock
from arable.runtime.metrics import Figures, Tally
from arable.runtime.sealed import unseal
from arable.runtime.secret import Secret
from arable.services.call import Surroundings
from arable.services.endings import Endings
from arable.services.figures import Counting
from arable.store.alert_routes import TOPIC
from arable.store.database import Database
from arable.store.nudges import Nudges
from arable.store.writer import Writer

log = logging.getLogger(__name__)

_LAG_EVERY = 0.25  # seconds


@dataclass(frozen=True, slots=True)
class Watching:
    """`committed` hears of every commit of this server, `heard` of the other servers'."""

    figures: Figures
    health: Health
    deliverer: Deliverer
    switcher: Switcher
    endings: Endings
    clock: Clock

    def committed(self, nudges: Nudges) -> None:
        """From any thread."""
        self.heard(nudges)
        self.endings.nudged(nudges.ended)

    def heard(self, nudges: Nudges) -> None:
        """From any thread. What ended elsewhere is in that server's log, and told once."""
        if TOPIC in nudges.topics:
            self.deliverer.nudge()
        if POWER in nudges.topics:
            self.switcher.nudge()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Inside the block. The writer must run for longer."""
        tasks = [
            asyncio.create_task(_look(self.health)),
            asyncio.create_task(_measure(self.figures.lag, self.clock)),
        ]
        self.deliverer.start()
        self.switcher.start()
        self.endings.start()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self.deliverer.stop)
            await asyncio.to_thread(self.switcher.stop)
            await asyncio.to_thread(self.endings.stop)


def watching(
    database: Database,
    writer: Writer,
    loop: Loop,
    around: Surroundings,
    figures: Figures,
    images: Path,
    certificates: Mapping[str, datetime],
) -> Watching:
    """Of a server whose parts these are."""

    def secret(route: AlertRoute) -> Secret | None:
        return unseal(around.authority, route.sealed, route.id) if route.sealed else None

    def switch(bmc: Bmc) -> PowerSwitch:
        return RedfishPower(bmc, unseal(around.authority, bmc.sealed, bmc.host))

    clock = around.clock
    switcher = Switcher(database, writer, clock, switch, loop.acts)
    deliverer = Deliverer(
        database,
        writer,
        clock,
        around.entropy,
        {RouteKind.MAIL: Mail(clock), RouteKind.WEBHOOK: Webhooks(clock)},
        secret,
        loop.acts,
        figures.deliveries,
    )
    shown = {"the authority's certificate": around.authority.until, **certificates}
    health = Health(database, writer, clock, loop.me, figures, images, shown)
    return Watching(figures, health, deliverer, switcher, Endings(database, loop.me), clock)


def metrics(
    database: Database, writer: Writer, channels: Channels, figures: Figures, clock: Clock
) -> Metrics:
    """What Prometheus reads of this server."""
    made = Metrics()
    server = ServerFigures(
        figures,
        lambda: writer.waiting,
        lambda: len(channels.hosts),
        lambda: channels.reports_waiting,
    )
    register(made.registry, server, StoreFigures(Counting(database, clock)))
    return made


async def _look(health: Health) -> None:
    while True:
        try:
            await asyncio.to_thread(health.step)
        except CloudError as error:
            log.warning("how this server is can't be told: %s", error.public)
        except Exception:
            log.exception("how this server is can't be told")
        await asyncio.sleep(SECONDS)


async def _measure(lag: Tally, clock: Clock) -> None:
    """How late this loop comes to what it should do now."""
    while True:
        began = clock.monotonic()
        await asyncio.sleep(_LAG_EVERY)
        lag.add(max(0.0, clock.monotonic() - began - _LAG_EVERY))
