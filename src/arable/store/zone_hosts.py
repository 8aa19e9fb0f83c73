"""A zone's hosts, remembered from look to look: after the first one only what changed since is read.

Nothing here is truth, and all of it may be dropped at any time. Who reserves by it says what was seen, in a statement
that takes nothing where that is no longer so (`reservations.py`): so old knowledge costs another try and never room that
is not there.

How it is known what changed, without anybody having to say so. PostgreSQL keeps with each row the number of the
transaction that wrote it (`xmin`). Transactions that had not ended at the last look have numbers from its snapshot's
lowest one on, whoever they belong to; so rows with such a number are read again. What our own transaction has written
may be undone later, which brings the old number back: these hosts are read once more at the next look whatever happens.
A row that was deleted leaves no number, nor does one that is back because a deletion was undone; so all ids are
compared as well, by a sum over them. Looking at ten thousand numbers takes the database a few
milliseconds; to read the rows and to make something of them would take a hundred times that.

SQLite has no such numbers, but is in our own process: all rows are fetched, and compared with those of the last look.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from arable.domain.ids import HostId, ZoneId
from arable.store.database import Tx
from arable.store.placing import HOSTS, HostSeen, Reader

_NEVER = -1 << 60
_FAR = 1 << 30
"""Of 32-bit transaction numbers: how far apart two may be to be compared."""

# `age` counts from now to a number, in the circle of 32 bits; so the younger of two has the smaller one.
_CHANGED = f"""
    with mark as (
        select low, cast(cast(cast(%(low)s as bigint) %% 4294967296 as text) as xid) as seen, own,
               low - cast(%(low)s as bigint) not between 0 and {_FAR} as far
        from (select cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint) as low,
                     cast(pg_current_xact_id_if_assigned() as xid) as own) as now
    )
    select mark.low, count(h.id), coalesce(bit_xor(hashtextextended(h.id, 0)), 0),
           array_agg(h.id) filter (where far or age(h.xmin) <= age(seen) or h.id = any(%(again)s)),
           array_agg(h.id) filter (where own is not null and age(h.xmin) <= age(own)),
           (select array_agg(p.id order by p.id) from pod p where p.zone = %(zone)s and p.enabled)
    from mark left join host h on h.zone = %(zone)s
    group by mark.low
"""  # noqa: S608 - a number of ours
_THESE = f"{HOSTS} where h.zone = %(zone)s and h.id = any(%(ids)s)"
_ALL = f"{HOSTS} where h.zone = ? order by h.id"


@dataclass(slots=True)
class ZoneHosts:
    """What was known at the last look. One thread at a time, and one database."""

    zone: ZoneId
    hosts: dict[HostId, HostSeen] = field(default_factory=dict)
    _reader: Reader = field(default_factory=Reader)
    _ids: tuple[int, int] | None = None  # PostgreSQL: how many, and the sum over them
    _low: int = _NEVER  # PostgreSQL: the lowest number that was not over
    _again: list[HostId] = field(default_factory=list)
    _pods: Sequence[str] | None = None  # those that are enabled
    _rows: list[tuple[Any, ...]] = field(default_factory=list)  # SQLite: as they were fetched

    def look(self, tx: Tx) -> Collection[HostId] | None:
        """Know what this transaction sees; the hosts that may be different now. None: hosts have come or gone."""
        return self._compare(tx) if tx.dialect.name == "sqlite" else self._read_changed(tx)

    def _read_changed(self, tx: Tx) -> Collection[HostId] | None:
        before = self._ids
        self._ids, found = self._since(tx)
        if self._ids is not None and self._ids == before:
            self.hosts.update(found)
            return found.keys()
        if self._ids is None or len(found) < self._ids[0]:
            self._low = _NEVER
            self._ids, found = self._since(tx)
        self.hosts = found
        return None

    def _since(self, tx: Tx) -> tuple[tuple[int, int] | None, dict[HostId, HostSeen]]:
        """Which hosts there are, as `_ids`, and those that were written since the last look.

        None where hosts went between the two statements: the next look sees which.
        """
        given = {"zone": self.zone, "low": self._low, "again": self._again}
        low, count, ids, changed, own, pods = tx.exec_driver_sql(_CHANGED, given).one()
        changed = set(changed or ())
        read = changed if pods == self._pods else changed | self.hosts.keys()
        found = {}
        if read:
            rows = tx.exec_driver_sql(_THESE, {"zone": self.zone, "ids": list(read)}).all()
            found = {row[0]: self._reader.seen(row) for row in rows}
        self._low, self._again, self._pods = low, own or [], pods
        return (count, ids) if changed <= found.keys() else None, found

    def _compare(self, tx: Tx) -> Collection[HostId] | None:
        raw: Any = tx.connection.dbapi_connection
        before, rows = self._rows, raw.execute(_ALL, (self.zone,)).fetchall()
        same = len(before) == len(rows) and all(
            a[0] == b[0] for a, b in zip(before, rows, strict=True)
        )
        seen = self._reader.seen
        if same:
            changed = [b for a, b in zip(before, rows, strict=True) if a != b]
            found = {row[0]: seen(row) for row in changed}
            self.hosts.update(found)
        else:
            self.hosts = {row[0]: seen(row) for row in rows}
        self._rows = rows
        return found.keys() if same else None
