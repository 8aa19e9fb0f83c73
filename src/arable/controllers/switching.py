"""Switches hosts' power, on threads of its own: no controller and no request ever waits for a BMC.

What is to be done stands in the store until it was seen done, so a crash loses nothing and may switch twice, which is
harmless. Only the server that acts does it. It looks before it switches, and again afterwards: what counts is what was
seen, not what was answered.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from arable.controllers import power
from arable.domain.errors import CloudError
from arable.domain.ids import HostId
from arable.domain.power import Bmc, PowerState, PowerSwitch
from arable.runtime.clock import Clock
from arable.runtime.log import milliseconds, tell, units
from arable.runtime.rounds import Rounds
from arable.store import bmcs, hearing
from arable.store.database import Database, Tx
from arable.store.writer import Writer

log = logging.getLogger(__name__)
_units = units("power")

_TICK = 1.0  # seconds
_AT_ONCE = 200
_HOSTS_AT_ONCE = 16
LOOK_AGAIN = timedelta(minutes=1)
"""A host that was switched off is looked at so often: somebody may have pressed its button."""

RETURN = timedelta(seconds=75)
"""Nobody is fenced before hosts could be heard for so long: after a time without management servers, or with another
copy of the database, one that was down may be well, and needs as long as this to come back (`agent/channel.py`)."""

Fence = Callable[[Tx], None]
"""Raises in a transaction of somebody who does not act any more."""


@dataclass(slots=True)
class Switcher:
    """`acts` gives the fence of this server while it acts, None otherwise; `switch` makes what switches a host."""

    database: Database
    writer: Writer
    clock: Clock
    switch: Callable[[Bmc], PowerSwitch]
    acts: Callable[[], Fence | None]
    threads: Executor = field(
        default_factory=lambda: ThreadPoolExecutor(_HOSTS_AT_ONCE, thread_name_prefix="power")
    )
    _busy: set[HostId] = field(default_factory=set)
    _rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self._rounds = Rounds(
            "power-switching", self.begin, lambda: _TICK, "hosts' power has to wait", log
        )

    def nudge(self) -> None:
        """There is something to switch; from any thread."""
        self._rounds.nudge()

    def start(self) -> None:
        """Run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Finish what is being switched, then end; the rest is kept."""
        self._rounds.stop()
        self.threads.shutdown()

    def step(self) -> None:
        """Switch what is due, and return when that is done. The writer must run in a thread of its own."""
        for future in self.begin():
            future.result()

    def begin(self) -> list[Future[None]]:
        """Begin with what is due, on a thread for each host that is not busy."""
        fence = self.acts()
        if fence is None:
            return []
        now = self.clock.now()
        with self.database.read() as tx:
            fencing = hearing.steady(tx, now, RETURN)
            due = bmcs.due(tx, now, now - LOOK_AGAIN, _AT_ONCE, fencing=fencing)
        free = [bmc for bmc in due if bmc.host not in self._busy]
        self._busy |= {bmc.host for bmc in free}
        return [self.threads.submit(self._serve, fence, bmc) for bmc in free]

    def _serve(self, fence: Fence, bmc: Bmc) -> None:
        try:
            self._attend(fence, bmc)
        except CloudError as error:
            log.warning("what became of the power of %s is not kept: %s", bmc.host, error.public)
        except Exception:
            log.exception("the power of %s", bmc.host)
        finally:
            self._busy.discard(bmc.host)

    def _attend(self, fence: Fence, bmc: Bmc) -> None:
        began, asked_at = self.clock.monotonic(), self.clock.now()
        try:
            seen = self._switch(bmc)
        except CloudError as error:
            log.warning("the power of %s: %s", bmc.host, error.public)
            what = error
            self._keep(fence, lambda tx, at: power.failed(tx, bmc, what, at))
            return
        if seen is None:
            return
        if bmc.wanted is not None:
            tell(
                _units,
                f"{bmc.host} is {seen}",
                wanted=str(bmc.wanted),
                fencing=bmc.fencing,
                ms=milliseconds(self.clock.monotonic() - began),
            )
        self._keep(fence, lambda tx, at: power.saw(tx, bmc, seen, asked_at, at))

    def _switch(self, bmc: Bmc) -> PowerState | None:
        """As it is in the end; None when that is nobody's wish any more."""
        switch = self.switch(bmc)
        seen = switch.state()
        if bmc.wanted is None or seen is bmc.wanted:
            return seen
        with self.database.read() as tx:  # it may have been heard again while its BMC was asked
            now = bmcs.find(tx, bmc.host)
        if now is None or now.generation != bmc.generation:
            return None
        if bmc.wanted is PowerState.OFF:
            switch.off()
        else:
            switch.on()
        return switch.state()

    def _keep(self, fence: Fence, work: Callable[[Tx, datetime], None]) -> None:
        def fenced(tx: Tx) -> None:
            fence(tx)
            work(tx, self.clock.now())

        self.writer.submit(fenced).result()
