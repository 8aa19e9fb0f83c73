"""What one management server's own process can see and the store can't: its disk, its certificates, its failures.

Each server says so of itself (`store/alerts.py`: signals), and the one that acts makes alerts of it. While a server has
nothing to say it writes nothing.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from arable.controllers.underway import STALLED
from arable.domain.alert import AlertKind, Finding, Severity
from arable.domain.settings import ALERT_CERTIFICATE_DAYS, ALERT_IMAGES_PERCENT
from arable.runtime.clock import Clock
from arable.runtime.metrics import Figures
from arable.store import alerts, settings
from arable.store.database import Database, Tx
from arable.store.writer import Writer

log = logging.getLogger(__name__)

SECONDS = 20
"""Between looks; a signal counts for longer than two of them (`alerts.SIGNAL_COUNTS`)."""

_FAILURES = 3  # in a row of a controller, or since the last look of the writer
_NOW = timedelta(days=2)  # before a certificate's end it is urgent
_FULL = 98  # percent of a disk


@dataclass(slots=True)
class Health:
    """`step` blocks. `certificates` are those that this process shows, by what they are, with their ends."""

    database: Database
    writer: Writer
    clock: Clock
    server: str
    figures: Figures
    images: Path
    certificates: Mapping[str, datetime]
    _writer_failures: int = 0
    _said: bool = True  # an earlier process of this server may have

    def step(self) -> None:
        """Look, and say what is the matter, or that nothing is any more."""
        with self.database.read() as tx:
            found = list(self.look(tx))
        if not found and not self._said:
            return
        at = self.clock.now()
        if self._stands_still() and not self.database.is_sqlite:
            with (
                self.database.write() as tx
            ):  # what is the matter is that the writer does not come to it
                alerts.signal(tx, self.server, found, at)
        else:
            self.writer.submit(lambda tx: alerts.signal(tx, self.server, found, at)).result()
        self._said = bool(found)

    def look(self, tx: Tx) -> Iterator[Finding]:
        """What is the matter."""
        yield from self._ending(timedelta(days=settings.get(tx, ALERT_CERTIFICATE_DAYS)))
        yield from self._full(settings.get(tx, ALERT_IMAGES_PERCENT))
        yield from self._controllers()
        yield from self._writer()

    def _ending(self, early: timedelta) -> Iterator[Finding]:
        for name, until in sorted(self.certificates.items()):
            left = until - self.clock.now()
            if left < early:
                severity = Severity.CRITICAL if left < _NOW else Severity.WARNING
                told = f"{name} of {self.server} ends at {until.isoformat(timespec='seconds')}"
                subject = f"{self.server}/{name}"
                yield Finding(AlertKind.CERTIFICATE_ENDING, subject, name, severity, told)

    def _full(self, high: int) -> Iterator[Finding]:
        disk = os.statvfs(self.images)
        percent = 100 - disk.f_bavail * 100 // max(disk.f_blocks, 1)
        if percent >= high:
            severity = Severity.CRITICAL if percent >= _FULL else Severity.WARNING
            told = f"the disk of the image store of {self.server} is {percent} % full"
            yield Finding(AlertKind.IMAGE_STORE_FULL, self.server, "image store", severity, told)

    def _controllers(self) -> Iterator[Finding]:
        for name, figures in sorted(dict(self.figures.controllers).items()):
            if figures.row >= _FAILURES:
                told = f"the controller of {name} fails at {self.server}: {figures.told}"
                yield Finding(AlertKind.CONTROLLER_FAILING, name, name, Severity.CRITICAL, told)
        for name, seconds, about in self._stalled():
            told = f"a round of {name}{about} stands still at {self.server} since {seconds:.0f} seconds"
            log.error("%s", told)
            yield Finding(AlertKind.CONTROLLER_FAILING, name, name, Severity.CRITICAL, told)

    def _stands_still(self) -> bool:
        return any(self._stalled())

    def _stalled(self) -> Iterator[tuple[str, float, str]]:
        """Rounds under way that take far too long: whose, for how long, and what they are about."""
        now = self.clock.monotonic()
        for name, figures in sorted(dict(self.figures.controllers).items()):
            if figures.since is not None and now - figures.since > STALLED:
                yield name, now - figures.since, f" ({figures.about})" if figures.about else ""

    def _writer(self) -> Iterator[Finding]:
        before, now = self._writer_failures, self.figures.writer.failures
        self._writer_failures = now
        if now - before >= _FAILURES:
            told = f"{now - before} transactions failed at {self.server} within {SECONDS} seconds"
            yield Finding(
                AlertKind.WRITER_FAILING, self.server, self.server, Severity.CRITICAL, told
            )
