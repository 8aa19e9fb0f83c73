"""How often it is kept what machines use.

Hosts say it with every heartbeat, and a hundred thousand rows written over every ten seconds would be most of what a
large region's database does at rest. So each host's are kept once in a while (`usage_seconds`), what was not seen there
before at once, and those of tiers that grow and shrink by themselves whenever they are said: their policies go by them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import HostReport
from arable.domain.settings import USAGE_SECONDS
from arable.store import scalings, settings
from arable.store.database import Tx

_LOOK = timedelta(seconds=10)
"""How soon it is known that a tier has begun to grow and shrink by itself."""


@dataclass(slots=True)
class _Kept:
    """Which of a host's machines were kept since."""

    since: datetime
    machines: set[MachineId] = field(default_factory=set)


@dataclass(slots=True)
class UsageNotes:
    """What one server's hosts said of late. Called by the one thread that keeps reports, but for `forget`."""

    _hosts: dict[HostId, _Kept] = field(default_factory=dict)
    _watched: frozenset[MachineId] = frozenset()
    _every: timedelta = timedelta(0)
    _looked_at: datetime | None = None

    def worth(self, tx: Tx, reports: Sequence[HostReport], at: datetime) -> list[HostReport]:
        """The same reports without what need not be kept of their machines' use."""
        if not any(report.stats for report in reports):
            return list(reports)
        if self._looked_at is None or not timedelta(0) <= at - self._looked_at < _LOOK:
            self._watched = frozenset(scalings.watched(tx))
            self._every = timedelta(seconds=settings.get(tx, USAGE_SECONDS))
            self._looked_at = at
        return [self._worth(report, at) if report.stats else report for report in reports]

    def forget(self, host: HostId) -> None:
        """It has gone, and what it says when it is back is news. From any thread."""
        self._hosts.pop(host, None)

    def _worth(self, report: HostReport, at: datetime) -> HostReport:
        kept = self._hosts.get(report.host)
        if kept is None or not timedelta(0) <= at - kept.since < self._every:
            kept = self._hosts[report.host] = _Kept(at)
        stats = tuple(
            one
            for one in report.stats
            if one.machine not in kept.machines or one.machine in self._watched
        )
        kept.machines.update(one.machine for one in stats)
        return report if len(stats) == len(report.stats) else replace(report, stats=stats)
