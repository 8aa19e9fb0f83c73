"""What machines use, as their hosts reported it last: counters since each guest's start.

One row a machine, written over many at once and without a look at what was there (how often: `services/usage_notes.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import select, text

from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestStats
from arable.store import schema
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.rows import json_text

_SPAN = 40_000_000
"""Microseconds over which rates are evened out: what was seen ten seconds after the last look counts for a quarter."""
_NEW = f"(case when excluded.at - machine_usage.at < {_SPAN} then excluded.at - machine_usage.at else {_SPAN} end)"
# Only what a machine's present host says counts: an earlier one may still have something to report.
_KEEP = """
    insert into machine_usage (machine, at, counters, cpu_ns, net_bytes, memory_mib)
    select m.id, :at, e.value ->> 2, cast(e.value ->> 3 as bigint), cast(e.value ->> 4 as bigint),
        cast(e.value ->> 5 as bigint)
    from {told} as e join machine m on m.id = e.value ->> 0 and m.host = e.value ->> 1
    where true
    on conflict (machine) do update set at = excluded.at, counters = excluded.counters, cpu_ns = excluded.cpu_ns,
        net_bytes = excluded.net_bytes, memory_mib = excluded.memory_mib,
        kbps = case when excluded.at > machine_usage.at and excluded.net_bytes >= machine_usage.net_bytes
            then ({old} * machine_usage.kbps
                + {new} * ((excluded.net_bytes - machine_usage.net_bytes) * 8000 / (excluded.at - machine_usage.at))) / {span}
            else machine_usage.kbps end,
        millicpus = case when excluded.at > machine_usage.at and excluded.cpu_ns >= machine_usage.cpu_ns
            then ({old} * machine_usage.millicpus
                + {new} * ((excluded.cpu_ns - machine_usage.cpu_ns) / (excluded.at - machine_usage.at))) / {span}
            else machine_usage.millicpus end
"""
_WEIGHTS = {"new": _NEW, "old": f"({_SPAN} - {_NEW})", "span": _SPAN}
_keep = {
    "sqlite": text(_KEEP.format(told="json_each(:told)", **_WEIGHTS)),
    "postgresql": text(_KEEP.format(told="json_array_elements(cast(:told as json))", **_WEIGHTS)),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters, and when they were read."""

    at: datetime
    counters: GuestStats


def keep(tx: Tx, told: Iterable[tuple[HostId, GuestStats]], at: datetime) -> None:
    """What hosts said of their guests, each host the latest last."""
    rows = {
        (one.machine, host): (
            *(one.machine, host, json_text(one), one.cpu_ns),
            *(one.received_bytes + one.sent_bytes, one.memory_mib if one.memory_told else None),
        )
        for host, one in told
    }
    if rows:
        given = {"told": json_text(list(rows.values())), "at": micros(at)}
        tx.execute(_keep[tx.dialect.name], given)


def of(tx: Tx, machine: MachineId) -> Usage | None:
    """The newest; None for a machine that was never seen running."""
    usage = schema.machine_usage.c
    row = tx.execute(select(usage.at, usage.counters).where(usage.machine == machine)).first()
    if row is None:
        return None
    return Usage(row.at, msgspec.json.decode(row.counters, type=GuestStats))
