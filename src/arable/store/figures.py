"""How much of everything there is, counted by the database for whoever watches the cloud."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, case, cast, func, literal_column, select

from arable.domain.pool import LOCAL
from arable.store import alerts, moves
from arable.store import schema as t
from arable.store.database import Tx

RESOURCES = ("cpus", "cpu_mhz", "memory_mib", "disk_mib")
_OF_POOLS = ("total", "used", "allocated", "reservable")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFigures:
    """By labels: the zone's name first where there is a zone."""

    hosts: dict[tuple[str, ...], int]  # zone, state, maintenance
    installed: dict[tuple[str, ...], int]  # zone, resource
    reservable: dict[tuple[str, ...], int]  # with over-commit
    reserved: dict[tuple[str, ...], int]
    pool_mib: dict[tuple[str, ...], int]  # zone, pool, kind, what; local ones of a zone are one
    pools_full: dict[tuple[str, ...], int]  # zone, kind
    machines: dict[tuple[str, ...], int]  # zone, state
    operations: dict[str, int]  # state
    backlog: dict[str, int]
    alerts: dict[tuple[str, ...], int]  # kind, severity
    deliveries: int
    moves: dict[str, int]  # stage


def look(tx: Tx) -> CloudFigures:
    """All of it. Costs a look at every machine's row."""
    zones = {row[0]: row[1] for row in tx.execute(select(t.zone.c.id, t.zone.c.name))}
    h, m = t.host.c, t.machine.c
    hosts = tx.execute(
        select(h.zone, h.state, h.maintenance, func.count()).group_by(
            h.zone, h.state, h.maintenance
        )
    )
    sums = tx.execute(
        select(
            h.zone,
            *(func.sum(h[name]) for name in RESOURCES),
            *(func.sum(h[f"reserved_{name}"]) for name in RESOURCES),
            *(func.sum(h[name] * h[f"{_percent(name)}"] // 100) for name in RESOURCES),
        ).group_by(h.zone)
    ).all()
    parts = len(RESOURCES)
    amounts: list[dict[tuple[str, ...], int]] = [{}, {}, {}]
    for zone, *values in sums:
        for at, amount in enumerate(amounts):
            for name, value in zip(RESOURCES, values[at * parts :][:parts], strict=True):
                amount[zones[zone], name] = int(value)
    pool_mib, pools_full = _pools(tx, zones)
    machines = tx.execute(select(m.zone, m.state, func.count()).group_by(m.zone, m.state))
    return CloudFigures(
        hosts={
            (zones[zone], state, "yes" if maintenance else "no"): count
            for zone, state, maintenance, count in hosts
        },
        installed=amounts[0],
        reserved=amounts[1],
        reservable=amounts[2],
        pool_mib=pool_mib,
        pools_full=pools_full,
        machines={(zones[zone], state): count for zone, state, count in machines},
        operations={state: _operations(tx, state) for state in ("running", "failed")},
        backlog=_backlog(tx),
        alerts=alerts.firing(tx),
        moves=moves.counts(tx),
        deliveries=tx.execute(select(func.count()).select_from(t.alert_delivery)).scalar_one(),
    )


def _pools(
    tx: Tx, zones: dict[str, str]
) -> tuple[dict[tuple[str, ...], int], dict[tuple[str, ...], int]]:
    """Shared pools one by one; of thousands of hosts' own ones their sum, and how many of them are full."""
    h, p = t.host.c, t.pool.c
    local: ColumnElement[str] = literal_column(f"'{LOCAL}'")  # as text: it is grouped by
    nobody: ColumnElement[str] = literal_column("''")
    name = case((p.kind == local, nobody), else_=p.name)
    query = (
        select(
            p.zone,
            name.label("pool"),
            p.kind,
            func.sum(p.total_mib),
            func.sum(p.used_mib),
            func.sum(h.reserved_disk_mib),
            func.sum(h.disk_mib * h.disk_percent // 100),
            func.sum(cast(h.disk_full, Integer)),
        )
        .join(t.host, h.id == p.host)
        .group_by(p.zone, name, p.kind)
    )
    mib: dict[tuple[str, ...], int] = {}
    full: dict[tuple[str, ...], int] = {}
    for zone, pool, kind, *sums, closed in tx.execute(query):
        for what, value in zip(_OF_POOLS, sums, strict=True):
            mib[zones[zone], pool, kind, what] = int(value)
        full[zones[zone], kind] = full.get((zones[zone], kind), 0) + int(closed)
    return mib, full


def _percent(resource: str) -> str:
    return {"cpus": "cpu_percent"}.get(resource, f"{resource.partition('_')[0]}_percent")


def _operations(tx: Tx, state: str) -> int:
    """By a partial index, which SQLite finds only by a constant."""
    where = t.operation.c.state == literal_column(f"'{state}'")
    return tx.execute(select(func.count()).select_from(t.operation).where(where)).scalar_one()


def _backlog(tx: Tx) -> dict[str, int]:
    """What controllers have not looked after yet."""
    found = {}
    for name, table, where in (
        ("machines", t.machine, t.machine.c.attention),
        ("networks", t.network, t.network.c.attention),
        ("volumes to erase", t.volume, t.volume.c.erasing),
    ):
        query = select(func.count()).select_from(table).where(where)
        found[name] = tx.execute(query).scalar_one()
    return found
