"""How much of everything there is, counted by the database for whoever watches the cloud."""

from dataclasses import dataclass

from sqlalchemy import func, literal_column, select

from arable.store import alerts
from arable.store import schema as t
from arable.store.database import Tx

RESOURCES = ("cpus", "cpu_mhz", "memory_mib", "disk_mib")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFigures:
    """By labels: the zone's name first where there is a zone."""

    hosts: dict[tuple[str, ...], int]  # zone, state, maintenance
    installed: dict[tuple[str, ...], int]  # zone, resource
    reservable: dict[tuple[str, ...], int]  # with over-commit
    reserved: dict[tuple[str, ...], int]
    machines: dict[tuple[str, ...], int]  # zone, state
    operations: dict[str, int]  # state
    backlog: dict[str, int]
    alerts: dict[tuple[str, ...], int]  # kind, severity
    deliveries: int


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
    machines = tx.execute(select(m.zone, m.state, func.count()).group_by(m.zone, m.state))
    return CloudFigures(
        hosts={
            (zones[zone], state, "yes" if maintenance else "no"): count
            for zone, state, maintenance, count in hosts
        },
        installed=amounts[0],
        reserved=amounts[1],
        reservable=amounts[2],
        machines={(zones[zone], state): count for zone, state, count in machines},
        operations={state: _operations(tx, state) for state in ("running", "failed")},
        backlog=_backlog(tx),
        alerts=alerts.firing(tx),
        deliveries=tx.execute(select(func.count()).select_from(t.alert_delivery)).scalar_one(),
    )


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
