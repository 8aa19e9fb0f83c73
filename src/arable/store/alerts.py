"""Alerts as rows, and what single servers' processes found. The controller's columns and an operator's never meet."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, insert, select, text, update

from arable.domain.alert import Alert, AlertKind, Finding, Severity
from arable.domain.host import DIMENSIONS, HostState
from arable.domain.ids import AlertId, FarmId, NetworkId, TierId, ZoneId
from arable.domain.network import ApplianceState
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.nudges import nudge

TOPIC = "alerts"
WHAT = "alert"

_a = t.alert.c
_s = t.alert_signal.c
_OPEN = (_a.until.is_(None), _a.opened_at.is_not(None))
_SIGNALS = (
    select(_s.kind, _s.subject, _s.name, _s.severity, _s.text)
    .where(_s.at > bindparam("after"))
    .order_by(_s.server)
)
_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts."""

    is_open: bool | None = None
    kind: str | None = None
    severity: str | None = None
    subject: str | None = None


def get(tx: Tx, alert: AlertId) -> Alert:
    """One that was told; raises `NotFound`."""
    return kept.get(tx, t.alert, Alert, WHAT, _a.id == alert, _a.opened_at.is_not(None))


def page(tx: Tx, where: AlertFilter, *, after: str | None = None, limit: int = 100) -> list[Alert]:
    """The newest first, as that is what is asked for; `after` is the id of the last one seen."""
    conditions: list[ColumnElement[bool]] = [_a.opened_at.is_not(None)]
    if where.is_open is not None:
        conditions.append(_a.until.is_(None) if where.is_open else _a.until.is_not(None))
    for column, wanted in (
        (_a.kind, where.kind),
        (_a.severity, where.severity),
        (_a.subject, where.subject),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    if after is not None:
        conditions.append(_a.id < after)
    query = select(t.alert).where(*conditions).order_by(_a.id.desc()).limit(limit)
    return [kept.value(Alert, row) for row in tx.execute(query)]


_WATCHED = select(t.alert).where(_a.until.is_(None))


def watched(tx: Tx) -> list[Alert]:
    """All that are not over, those not told yet among them."""
    return [kept.value(Alert, row) for row in tx.execute(_WATCHED)]


def add(tx: Tx, alert: Alert) -> None:
    """A new one."""
    tx.execute(insert(t.alert).values(**asdict(alert)))


def change(tx: Tx, alert: Alert) -> None:
    """What its controller knows of it; who acknowledged it is none of that."""
    told = asdict(alert)
    for name in ("id", "acknowledged_at", "acknowledged_by"):
        del told[name]
    tx.execute(update(t.alert).where(_a.id == alert.id).values(**told))


def remove(tx: Tx, alert: Alert) -> None:
    """It was never told."""
    tx.execute(delete(t.alert).where(_a.id == alert.id))


def acknowledge(tx: Tx, alert: AlertId, by: str, at: datetime) -> None:
    """Somebody cares; the first one counts."""
    tx.execute(
        update(t.alert)
        .where(_a.id == alert, _a.acknowledged_at.is_(None))
        .values(acknowledged_at=at, acknowledged_by=by)
    )


def expire(tx: Tx, before: datetime) -> int:
    """Forget those that ended before that; how many."""
    return tx.execute(delete(t.alert).where(_a.until < before)).rowcount


def firing(tx: Tx) -> dict[tuple[str, ...], int]:
    """How many are open, by kind and severity."""
    query = select(_a.kind, _a.severity, func.count()).where(*_OPEN).group_by(_a.kind, _a.severity)
    return {(kind, severity): count for kind, severity, count in tx.execute(query)}


# --- what is the case, as the store knows it ----------------------------------------------------------------------


_h, _p, _m, _e = t.host.c, t.pod.c, t.machine.c, t.election.c
_SILENT = select(_h.id, _h.name, _h.seen_at).where(_h.state == HostState.SILENT, ~_h.maintenance)
_DOWN = select(_h.id, _h.name, _h.told).where(_h.state == HostState.DOWN, ~_h.maintenance)
_HELD_BACK = (
    select(_p.id, _p.name, _h.name)
    .join(t.host, _h.pod == _p.id)
    .where(_h.held_back, _h.state == HostState.SILENT)
    .order_by(_h.id)
)
_IN_ERROR = (
    select(_m.farm, _m.name, t.farm.c.name, t.account.c.name)
    .join(t.farm, t.farm.c.id == _m.farm)
    .join(t.account, t.account.c.id == t.farm.c.account)
    .where(_m.resting == "error")
    .order_by(_m.id)
)
_WON = select(_e.holder).where(_e.at > bindparam("since")).order_by(_e.epoch)


def silent_hosts(tx: Tx) -> list[tuple[str, str, datetime | None]]:
    """Id, name, and when it was heard last; in maintenance a host may be silent."""
    return [(row[0], row[1], row[2]) for row in tx.execute(_SILENT)]


def hosts_down(tx: Tx) -> list[tuple[str, str, str]]:
    """Id, name, and why; in maintenance a host may be down."""
    return [(row[0], row[1], row[2]) for row in tx.execute(_DOWN)]


def held_back(tx: Tx) -> list[tuple[str, str, list[str]]]:
    """Pods with hosts that were lost together with most others: id, name, and the hosts' names."""
    pods: dict[str, tuple[str, list[str]]] = {}
    for pod, name, host in tx.execute(_HELD_BACK):
        pods.setdefault(pod, (name, []))[1].append(host)
    return [(pod, name, hosts) for pod, (name, hosts) in pods.items()]


def reserved_percents(tx: Tx) -> list[tuple[ZoneId, str, dict[str, int]]]:
    """Of each zone with hosts: id, name, and how much of each dimension is reserved, in percent of what can be."""
    found = []
    for id_, name, *sums in tx.execute(_reserved()):
        pairs = zip(DIMENSIONS, sums[::2], sums[1::2], strict=True)
        found.append((id_, name, {d: int(r) * 100 // int(w) for d, r, w in pairs if w}))
    return found


@cache
def _reserved() -> Select[Any]:
    """Of each zone, its sums: reserved and reservable of each dimension."""
    columns: list[ColumnElement[int]] = []
    for dimension in DIMENSIONS:
        percent = _h[f"{dimension.partition('_')[0]}_percent"]
        columns += [
            func.sum(_h[f"reserved_{dimension}"]),
            func.sum(_h[dimension] * percent // 100),
        ]
    return (
        select(t.zone.c.id, t.zone.c.name, *columns)
        .join(t.host, _h.zone == t.zone.c.id)
        .group_by(t.zone.c.id, t.zone.c.name)
    )


def failing_farms(tx: Tx) -> list[tuple[FarmId, str, int, list[str]]]:
    """Farms with machines in error: id, name with its account's, how many, and some of their names."""
    farms: dict[FarmId, tuple[str, list[str]]] = {}
    for farm, machine, name, account in tx.execute(_IN_ERROR):
        farms.setdefault(farm, (f"{account}/{name}", []))[1].append(machine)
    return [
        (farm, name, len(machines), machines[:_NAMES_SHOWN])
        for farm, (name, machines) in farms.items()
    ]


# Where all that there are serve and nothing is to be done there are enough of them: by the indexes of the others.
_SHORT = text("""
    select tier.id, account.name, farm.name, tier.name, tier.least, tier.told, count(element.id)
    from tier join farm on farm.id = tier.farm join account on account.id = tier.account
      left join element on element.tier = tier.id and element.state = 'serving'
    where tier.least > 0 and not tier.leaving and tier.id in (
      select tier from element where state <> 'serving' union select id from tier where attention)
    group by tier.id, account.name, farm.name, tier.name, tier.least, tier.told
    having count(element.id) < tier.least order by tier.id limit :limit
""")


class ShortTier(NamedTuple):
    """A tier of which fewer serve than always should. `name` is its account's, its farm's and its own; `waits` for what."""

    id: TierId
    name: str
    least: int
    serving: int
    waits: str


def short_tiers(tx: Tx, limit: int) -> list[ShortTier]:
    """Tiers of which fewer elements serve than always should."""
    return [
        ShortTier(id_, f"{account}/{farm}/{tier}", least, serving, told)
        for id_, account, farm, tier, least, told, serving in tx.execute(_SHORT, {"limit": limit})
    ]


# One that was never wanted has none, which is right.
_UNPAIRED = text("""
    select network.id, account.name, network.name, network.appliance_state, network.standby_told
    from network join account on account.id = network.account
    where network.redundant and network.standby_state <> 'running' and network.state = 'ready'
      and network.appliance_state <> 'absent'
    order by network.id limit :limit
""")


class Unpaired(NamedTuple):
    """A network with fewer routers than two, which it should have. `runs`: one does; `told`: why the other does not."""

    id: NetworkId
    name: str
    runs: bool
    told: str


def unpaired_networks(tx: Tx, limit: int) -> list[Unpaired]:
    """Redundant networks of which one router, or both, do not run."""
    return [
        Unpaired(id_, f"{account}/{name}", state == ApplianceState.RUNNING, told)
        for id_, account, name, state, told in tx.execute(_UNPAIRED, {"limit": limit})
    ]


def masters_since(tx: Tx, since: datetime) -> list[str]:
    """Who won the elections after that, in order."""
    return [row[0] for row in tx.execute(_WON, {"since": since})]


# --- what single processes found ----------------------------------------------------------------------------------

SIGNAL_COUNTS = timedelta(minutes=3)
"""What was not said again for this long is not the case any more, or nobody knows."""


def signal(tx: Tx, server: str, found: Sequence[Finding], at: datetime) -> None:
    """All that this server's process found; what it said before and says no more is over."""
    tx.execute(delete(t.alert_signal).where(_s.server == server))
    for each in found:
        tx.execute(insert(t.alert_signal).values(server=server, at=at, **each._asdict()))
    nudge(tx, TOPIC)


def signals(tx: Tx, at: datetime) -> list[Finding]:
    """What servers' processes said not long ago."""
    return [
        Finding(AlertKind(kind), subject, name, Severity(severity), told)
        for kind, subject, name, severity, told in tx.execute(
            _SIGNALS, {"after": at - SIGNAL_COUNTS}
        )
    ]
