"""Hosts' capacity: the only place where it is taken and given back (rule 2).

The amounts and the limit are compared in the statement that takes, and the table's constraints would refuse what this
code got wrong.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import select, text

from arable.domain.ids import HostId
from arable.domain.units import Size
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.many import among
from arable.store.rows import json_text

# Many hosts in one statement: a batch of machines is spread over nearly as many hosts.
_TAKE = """
    update host set
        reserved_cpus = host.reserved_cpus + w.w_cpus,
        reserved_cpu_mhz = host.reserved_cpu_mhz + w.w_mhz,
        reserved_memory_mib = host.reserved_memory_mib + w.w_memory,
        reserved_disk_mib = host.reserved_disk_mib + w.w_disk,
        machines = host.machines + w.w_machines{more}
    from ({wanted}) as w
    where host.id = w.w_host
"""
_FITS = """
    and not host.rests
    and (host.reserved_cpu_mhz + w.w_mhz) * 100 <= host.cpu_mhz * host.cpu_percent
    and (host.reserved_memory_mib + w.w_memory) * 100 <= host.memory_mib * host.memory_percent
    and (host.reserved_disk_mib + w.w_disk) * 100 <= host.disk_mib * host.disk_percent
"""
_NOT_FULL = " and (w.w_disk <= 0 or not host.disk_full) "
# A host that still is what it was when somebody looked, and may take machines.
_AS_SEEN = """
    and host.generation = w.w_generation and host.state = 'up' and not host.maintenance
    and not host.awaited
    and exists (select 1 from pod where pod.id = host.pod and pod.enabled)
"""
_NEXT_MANIFEST = ", manifest_generation = host.manifest_generation + 1"
_WANTED = {
    "sqlite": """
        select value ->> 0 as w_host, value ->> 1 as w_cpus, value ->> 2 as w_mhz,
            value ->> 3 as w_memory, value ->> 4 as w_disk, value ->> 5 as w_machines,
            value ->> 6 as w_generation
        from json_each(:wanted)
    """,
    "postgresql": """
        select value ->> 0 as w_host, cast(value ->> 1 as bigint) as w_cpus,
            cast(value ->> 2 as bigint) as w_mhz, cast(value ->> 3 as bigint) as w_memory,
            cast(value ->> 4 as bigint) as w_disk, cast(value ->> 5 as bigint) as w_machines,
            cast(value ->> 6 as bigint) as w_generation
        from jsonb_array_elements(cast(:wanted as jsonb))
    """,
}
_take, _count_in = (
    {
        name: text(_TAKE.format(wanted=wanted, more="") + _FITS + besides + "returning host.id")
        for name, wanted in _WANTED.items()
    }
    for besides in (_NOT_FULL, "")
)
_take_as_seen = {
    name: text(
        _TAKE.format(wanted=wanted, more=_NEXT_MANIFEST)
        + _FITS
        + _NOT_FULL
        + _AS_SEEN
        + "returning host.id, host.manifest_generation"
    )
    for name, wanted in _WANTED.items()
}
_give = {name: text(_TAKE.format(wanted=wanted, more="")) for name, wanted in _WANTED.items()}


def take(
    tx: Tx, wanted: Mapping[HostId, tuple[Size, int]], *, there: bool = False
) -> frozenset[HostId]:
    """Reserve for each host a size and a number of machines; the hosts where it did not fit and nothing was taken.

    A pool that is full takes no disks; `there` means that they are there already, and are only counted. In order of
    id, so that two servers that take at once wait for each other and never in a ring.
    """
    if not wanted:
        return frozenset()
    hold(tx, wanted)
    rows = [_amounts(host, size, machines) for host, (size, machines) in wanted.items()]
    statement = (_count_in if there else _take)[tx.dialect.name]
    taken = tx.execute(statement, {"wanted": json_text(rows)}).scalars()
    return frozenset(wanted.keys() - set(taken))


def hold_free(tx: Tx, hosts: Iterable[HostId]) -> frozenset[HostId]:
    """Hold those of these hosts that nobody else holds; nobody is waited for."""
    if tx.dialect.name == "sqlite":
        return frozenset(hosts)
    return frozenset(row[0] for row in _free.rows(tx, hosts))


def take_as_seen(tx: Tx, wanted: Mapping[HostId, tuple[Size, int, int]]) -> dict[HostId, int]:
    """Reserve on (held) hosts that were looked at a while ago; those where everything was taken.

    Each with its generation then: one that was changed since, is not up or takes no machines gives nothing. The others
    have a next manifest, for what is placed there to be written into: the answer has its generation.
    """
    if not wanted:
        return {}
    rows = [(*_amounts(host, size, count), seen) for host, (size, count, seen) in wanted.items()]
    taken = tx.execute(_take_as_seen[tx.dialect.name], {"wanted": json_text(rows)})
    return {row[0]: row[1] for row in taken}


_free = Lookup(
    lambda among: (
        select(t.host.c.id)
        .where(among(t.host.c.id))
        .order_by(t.host.c.id)
        .with_for_update(key_share=True, skip_locked=True)
    )
)


def give(tx: Tx, back: Iterable[tuple[HostId, Size, int]]) -> None:
    """Give back what was taken."""
    sums: dict[HostId, tuple[Size, int]] = {}
    for host, size, machines in back:
        before, count = sums.get(host, (Size(), 0))
        sums[host] = (before + size, count + machines)
    if sums:
        hold(tx, sums)
        rows = [_amounts(host, size.times(-1), -count) for host, (size, count) in sums.items()]
        tx.execute(_give[tx.dialect.name], {"wanted": json_text(rows)})


def hold(tx: Tx, hosts: Iterable[HostId]) -> None:
    """Lock these rows in order of id: an update of many takes them as they come. SQLite has one writer at a time."""
    if tx.dialect.name != "sqlite":
        row = t.host.c
        query = select(row.id).where(among(tx, row.id, hosts)).order_by(row.id)
        tx.execute(query.with_for_update(key_share=True)).all()


def _amounts(host: HostId, size: Size, machines: int) -> tuple[object, ...]:
    return (host, size.cpus, size.cpu_mhz, size.memory_mib, size.disk_mib, machines)
