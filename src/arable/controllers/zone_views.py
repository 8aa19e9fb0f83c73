"""Where machines may go: a zone's compute hosts as columns, brought up to date for each look and never made anew.

A round of the placer and a batch that lands need the same: all hosts as they are now. Ten thousand of them are read and
made into columns once for each database; after that a look costs what has changed (`store/zone_hosts.py`) and a copy of
the columns. What is remembered here may be dropped at any time.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from arable.domain.ids import HostId, ZoneId
from arable.placement.view import HostView, ZoneView
from arable.store.database import Tx
from arable.store.placing import HostSeen
from arable.store.zone_hosts import ZoneHosts


@dataclass(slots=True)
class ZoneViews:
    """Of one database. For any thread."""

    _remembered: dict[ZoneId, "_Remembered"] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def look(self, tx: Tx, zone: ZoneId) -> tuple[ZoneView, dict[HostId, HostSeen]]:
        """The zone's compute hosts as this transaction sees them, to be placed on, and more about each host."""
        with self._lock:
            found = self._remembered.pop(zone, None) or _Remembered(ZoneHosts(zone))
            view = found.look(tx)
            self._remembered[zone] = found  # what failed is not remembered
            return view.copy(), found.known.hosts.copy()


@dataclass(slots=True)
class _Remembered:
    known: ZoneHosts
    _view: ZoneView | None = None

    def look(self, tx: Tx) -> ZoneView:
        changed = self.known.look(tx)
        if self._view is None or changed is None or not self._changed(self._view, changed):
            hosts = self.known.hosts.values()
            self._view = ZoneView([_view(host) for host in hosts if "compute" in host.roles])
        return self._view

    def _changed(self, view: ZoneView, hosts: Collection[HostId]) -> bool:
        """Put into the view what may be different; False where that can't be done."""
        for id_ in hosts:
            host, at = self.known.hosts[id_], view.index.get(id_)
            if (at is not None) != ("compute" in host.roles):
                return False
            if at is not None:
                if view.hosts[at].pod != host.pod:
                    return False
                view.change(_view(host))
        return True


def _view(host: HostSeen) -> HostView:
    return HostView(
        host.id, host.name, host.pod, host.free, host.limit, host.tags, host.refuses, host.full
    )


_VIEWS: WeakKeyDictionary[Engine, ZoneViews] = WeakKeyDictionary()
_LOCK = Lock()


def look(tx: Tx, zone: ZoneId) -> tuple[ZoneView, dict[HostId, HostSeen]]:
    """`ZoneViews.look`, of the transaction's database."""
    with _LOCK:
        views = _VIEWS.setdefault(tx.engine, ZoneViews())
    return views.look(tx, zone)
