"""What machines use, as their hosts reported it last: counters since each guest's start.

One row a machine, written over with every heartbeat of its host, many at once and without a look at what was there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import select, text

from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestStats
from arable.store import schema
from arable.store.columns import micros
from arable.store.database import Tx

# Only what a machine's present host says counts: an earlier one may still have something to report.
_KEEP = """
    insert into machine_usage (machine, at, counters)
    select m.id, :at, {value}
    from {told} join machine m on m.id = e.key and m.host = :host
    where true
    on conflict (machine) do update set at = excluded.at, counters = excluded.counters
"""
_keep = {
    "sqlite": text(_KEEP.format(value="e.value", told="json_each(:told) e")),
    "postgresql": text(_KEEP.format(value="e.value", told="json_each_text(cast(:told as json)) e")),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters, and when they were read."""

    at: datetime
    counters: GuestStats


def keep(tx: Tx, host: HostId, stats: Sequence[GuestStats], at: datetime) -> None:
    """What a host said of its guests."""
    if not stats:
        return
    told = {one.machine: msgspec.json.encode(one).decode() for one in stats}
    tx.execute(
        _keep[tx.dialect.name],
        {"told": msgspec.json.encode(told).decode(), "host": host, "at": micros(at)},
    )


def of(tx: Tx, machine: MachineId) -> Usage | None:
    """The newest; None for a machine that was never seen running."""
    usage = schema.machine_usage.c
    row = tx.execute(select(usage.at, usage.counters).where(usage.machine == machine)).first()
    if row is None:
        return None
    return Usage(row.at, msgspec.json.decode(row.counters, type=GuestStats))
