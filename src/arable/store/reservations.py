"""Hosts' capacity: the only place where it is taken and given back (rule 2).

The amounts and the limit are compared in the statement that takes, and the table's constraints would refuse what this
code got wrong.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import text

from arable.domain.ids import HostId
from arable.domain.units import Size
from arable.store.database import Tx

_TAKE = """
    update host set
        reserved_cpus = reserved_cpus + :cpus,
        reserved_cpu_mhz = reserved_cpu_mhz + :cpu_mhz,
        reserved_memory_mib = reserved_memory_mib + :memory_mib,
        reserved_disk_mib = reserved_disk_mib + :disk_mib,
        machines = machines + :machines
    where id = :host
"""
_FITS = """
    and (reserved_cpu_mhz + :cpu_mhz) * 100 <= cpu_mhz * cpu_percent
    and (reserved_memory_mib + :memory_mib) * 100 <= memory_mib * memory_percent
    and (reserved_disk_mib + :disk_mib) * 100 <= disk_mib * disk_percent
"""
_take = text(_TAKE + _FITS)
_give = text(_TAKE)


def take(tx: Tx, wanted: Mapping[HostId, tuple[Size, int]]) -> frozenset[HostId]:
    """Reserve for each host a size and a number of machines; the hosts where it did not fit and nothing was taken.

    In order of id, so that two servers that take at once wait for each other and never in a ring.
    """
    refused = set()
    for host, (size, machines) in sorted(wanted.items()):
        if tx.execute(_take, _amounts(host, size, machines)).rowcount != 1:
            refused.add(host)
    return frozenset(refused)


def give(tx: Tx, back: Iterable[tuple[HostId, Size, int]]) -> None:
    """Give back what was taken."""
    sums: dict[HostId, tuple[Size, int]] = {}
    for host, size, machines in back:
        before, count = sums.get(host, (Size(), 0))
        sums[host] = (before + size, count + machines)
    for host, (size, machines) in sorted(sums.items()):
        tx.execute(_give, _amounts(host, size.times(-1), -machines))


def _amounts(host: HostId, size: Size, machines: int) -> dict[str, object]:
    return {
        "host": host,
        "cpus": size.cpus,
        "cpu_mhz": size.cpu_mhz,
        "memory_mib": size.memory_mib,
        "disk_mib": size.disk_mib,
        "machines": machines,
    }
