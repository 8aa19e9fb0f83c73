"""What can be the matter: each watch looks at the store and tells what it finds, in one table.

Whoever has something new to watch adds a row to `WATCHES`, a kind to `domain/alert.py`, and a line to docs/operators.md.
What only a process can see (its disk, its certificates, its own failures) it says itself: `runtime/health.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from arable.controllers.host_watches import HOST_WATCHES
from arable.domain.alert import AlertKind, Finding, Severity
from arable.domain.pool import LOCAL, Fill, Thresholds, fill
from arable.domain.settings import (
    ALERT_CAPACITY_CRITICAL_PERCENT,
    ALERT_CAPACITY_PERCENT,
    ALERT_GRID_SECONDS,
    ALERT_HOST_SECONDS,
    ALERT_POOL_CRITICAL_PERCENT,
    ALERT_POOL_PERCENT,
    POOL_FULL_PERCENT,
    REPLICATE_SECONDS,
)
from arable.store import alerts, grid_members, pools, rollouts, settings, troubles, volume_replicas
from arable.store.database import Tx

Watch = Callable[[Tx, datetime], Iterable[Finding]]

_LATELY = timedelta(minutes=15)
_DAY = timedelta(days=1)
_ELECTIONS = 3  # in that time
_MOST = 100  # farms that are told of one by one
_SAID = {"cpu_mhz": "CPU", "memory_mib": "memory", "disk_mib": "disk"}


def silent_hosts(tx: Tx, at: datetime) -> Iterator[Finding]:
    """What runs there probably runs on, so a moment's silence wakes nobody."""
    late = at - timedelta(seconds=settings.get(tx, ALERT_HOST_SECONDS))
    for host, name, seen_at in alerts.silent_hosts(tx):
        long = seen_at is None or seen_at <= late
        severity = Severity.CRITICAL if long else Severity.WARNING
        since = f" since {seen_at.isoformat(timespec='seconds')}" if seen_at else ""
        yield Finding(
            AlertKind.HOST_SILENT, host, name, severity, f"host {name} was not heard{since}"
        )


def full_zones(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001 - a watch takes the time
    """Before customers are told that there is no room."""
    high = settings.get(tx, ALERT_CAPACITY_PERCENT)
    too_high = settings.get(tx, ALERT_CAPACITY_CRITICAL_PERCENT)
    for zone, name, percents in alerts.reserved_percents(tx):
        worst = max(percents.values(), default=0)
        if worst < min(high, too_high):
            continue
        over = [f"{percent} % of {_SAID[d]}" for d, percent in percents.items() if percent >= high]
        severity = Severity.CRITICAL if worst >= too_high else Severity.WARNING
        told = f"zone {name} is nearly full: {', '.join(over)} reserved"
        yield Finding(AlertKind.ZONE_CAPACITY, zone, name, severity, told)


def filling_pools(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001
    """Before guests stand still: disks are thin, and what is promised of a pool may be more than it has."""
    levels = Thresholds(
        warning=settings.get(tx, ALERT_POOL_PERCENT),
        critical=settings.get(tx, ALERT_POOL_CRITICAL_PERCENT),
        full=settings.get(tx, POOL_FULL_PERCENT),
    )
    least = min(levels.warning, levels.critical, levels.full)
    for pool, name, kind, total, used in pools.filling(tx, least):
        reached = fill(total, used, levels)
        severity = Severity.WARNING if reached is Fill.WARNING else Severity.CRITICAL
        what = "pool" if kind == LOCAL else "shared pool"
        told = f"{what} {name}: {used * 100 // total} % of {total} MiB are in use"
        if reached is Fill.FULL:
            told += "; it gets no further disks, and guests that need more room there stand still"
        yield Finding(AlertKind.POOL_FILLING, pool, name, severity, told)


def late_replicas(tx: Tx, at: datetime) -> Iterator[Finding]:
    """What would be lost with a storage host is more than was promised."""
    late = at - 3 * timedelta(seconds=settings.get(tx, REPLICATE_SECONDS))
    for replica, name, point_at, why in volume_replicas.behind(tx, late, _MOST):
        since = f"since {point_at.isoformat(timespec='seconds')}" if point_at else "yet"
        told = f"the replica of {name} has had no whole point {since}"
        told += f": {why}" if why else ""
        yield Finding(AlertKind.REPLICA_BEHIND, replica, name, Severity.WARNING, told)
    if count := volume_replicas.without(tx, late):
        told = (
            f"{count} volumes should have replicas and have none: there is no room in a pool (NBD or iSCSI) of another storage host"
            " of their pod, or they are in a pool of files"
        )
        yield Finding(AlertKind.REPLICA_LACKING, "replicas", "replicas", Severity.WARNING, told)


def failing_farms(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001
    """One for each farm, however many of its machines are in error."""
    for farm, name, count, machines in alerts.failing_farms(tx):
        some = ", ".join(machines) + (", …" if count > len(machines) else "")
        told = f"{count} of farm {name}'s machines could not be started: {some}"
        yield Finding(AlertKind.FARM_FAILING, farm, name, Severity.WARNING, told)


def stuck_farms(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001
    """What is wrong is ours, or in the store: nobody looks after them until it is put right. Once may be chance."""
    for each in troubles.every(tx, _MOST):
        if each.tries > 1:
            since = each.since.isoformat(timespec="seconds")
            told = f"the work of farm {each.name} fails since {since}: {each.told}"
            yield Finding(AlertKind.FARM_STUCK, each.farm, each.name, Severity.CRITICAL, told)


def failed_rollouts(tx: Tx, at: datetime) -> Iterator[Finding]:
    """Of images that operators publish, too. For a day, or until that tier gets another one."""
    for rollout, farm, tier, told in rollouts.turned_back(tx, at - _DAY):
        name = f"{farm}-{tier}"
        text = f"a rollout of {name} was turned back: {told}"
        yield Finding(AlertKind.ROLLOUT_FAILED, rollout, name, Severity.WARNING, text)


def short_tiers(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001
    """Whoever depends on it bears more than was thought right, or stands before a closed door."""
    for each in alerts.short_tiers(tx, _MOST):
        severity = Severity.WARNING if each.serving else Severity.CRITICAL
        told = f"{each.serving} elements of {each.name} serve, at least {each.least} always should"
        if each.waits:
            told += f"; it waits: {each.waits}"
        yield Finding(AlertKind.TIER_BELOW_LEAST, each.id, each.name, severity, told)


def unpaired_networks(tx: Tx, at: datetime) -> Iterator[Finding]:  # noqa: ARG001
    """What its owner pays two routers for is not the case."""
    for each in alerts.unpaired_networks(tx, _MOST):
        severity = Severity.WARNING if each.runs else Severity.CRITICAL
        told = f"{each.name} has {'one router' if each.runs else 'no router'} that runs, and should have two"
        if each.told:
            told += f": {each.told}"
        yield Finding(AlertKind.ROUTER_MISSING, each.id, each.name, severity, told)


def changing_masters(tx: Tx, at: datetime) -> Iterator[Finding]:
    """One election is a server that went; many are servers that don't find each other."""
    holders = alerts.masters_since(tx, at - _LATELY)
    if len(holders) > _ELECTIONS:
        minutes = int(_LATELY.total_seconds() // 60)
        told = f"{len(holders)} elections in {minutes} minutes, the last one for {holders[-1]}"
        yield Finding(AlertKind.MASTER_CHANGING, "master", "master", Severity.WARNING, told)


def unheard_grid(tx: Tx, at: datetime) -> Iterator[Finding]:
    """All regions go on without the grid manager, but nothing new is heard of others, and certificates end some day."""
    link = grid_members.link(tx)
    if link is None:
        return
    late = timedelta(seconds=settings.get(tx, ALERT_GRID_SECONDS))
    heard = link.heard_at or link.joined_at
    if heard is not None and at - heard >= late:
        severity = Severity.CRITICAL if at - heard >= _DAY else Severity.WARNING
        since = heard.isoformat(timespec="seconds")
        told = f"the grid manager at {link.grid} was not heard since {since}"
        told += f": {link.told}" if link.told else ""
        yield Finding(AlertKind.GRID_UNHEARD, "grid", "grid manager", severity, told)
    if link.refused:
        told = f"of what was said in the grid some can't be read: {'; '.join(link.refused[:3])}"
        yield Finding(AlertKind.GRID_FACTS_REFUSED, "grid", "grid", Severity.WARNING, told[:1024])


WATCHES: tuple[Watch, ...] = (
    silent_hosts,
    full_zones,
    filling_pools,
    late_replicas,
    failing_farms,
    stuck_farms,
    failed_rollouts,
    short_tiers,
    unpaired_networks,
    changing_masters,
    unheard_grid,
    *HOST_WATCHES,
    alerts.signals,
)
