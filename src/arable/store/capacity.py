"""How much of everything a zone has, what of it is reserved, and what belongs to no farm: summed by the database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select

from arable.domain.host import DIMENSIONS, HostState
from arable.domain.ids import ZoneId
from arable.store import schema as t
from arable.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Of one dimension. `total` is `installed` times over-commit; `idle` is what is free where machines may go now,
    if need be after a host was woken.
    """

    installed: int
    total: int
    reserved: int
    idle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCount:
    """Hosts of a zone by what they are good for."""

    total: int
    up: int
    silent: int
    joined: int
    maintenance: int
    machines: int


def of_zone(tx: Tx, zone: ZoneId) -> tuple[HostCount, dict[str, Amount]]:
    """Hosts and their capacity by dimension."""
    row = t.host.c
    # One that sleeps is woken when there is no other room.
    usable = row.state.in_([HostState.UP, HostState.ASLEEP]) & ~row.maintenance & t.pod.c.enabled
    columns: list[ColumnElement[Any]] = [
        func.count(),
        *(func.count().filter(row.state == state) for state in ("up", "silent", "joined")),
        func.count().filter(row.maintenance),
        func.sum(row.machines),
    ]
    for dimension in DIMENSIONS:
        installed = row[dimension]
        percent = row[f"{dimension.partition('_')[0]}_percent"]
        whole = installed * percent // 100
        reserved = row[f"reserved_{dimension}"]
        columns += [
            func.sum(installed),
            func.sum(whole),
            func.sum(reserved),
            func.sum(whole - reserved).filter(usable),
        ]
    query = select(*columns).join(t.pod, t.pod.c.id == row.pod).where(row.zone == zone)
    counted, *sums = _chunks([int(value or 0) for value in tx.execute(query).one()])
    total, up, silent, joined, maintenance, machines = counted
    hosts = HostCount(
        total=total,
        up=up,
        silent=silent,
        joined=joined,
        maintenance=maintenance,
        machines=machines,
    )
    amounts = {
        dimension: Amount(installed=installed, total=limit, reserved=reserved, idle=idle)
        for dimension, (installed, limit, reserved, idle) in zip(DIMENSIONS, sums, strict=True)
    }
    return hosts, amounts


def _chunks(values: list[int]) -> list[list[int]]:
    head, rest = values[:6], values[6:]
    return [head, *(rest[at : at + 4] for at in range(0, len(rest), 4))]
