"""What an operator should look at: one alert for each kind and subject, from when its cause is seen until it has gone.

Causes flap, and nobody wants a mail for each time. So a cause must be there for a while before it is told, and gone for
a while before the alert ends; what comes back in between is the same alert. While it is open its severity only rises.
`after` is the whole of that, and pure.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from arable.domain.ids import ALPHABET, AlertId, AlertRouteId


class Severity(StrEnum):
    """How urgent."""

    WARNING = "warning"  # during the day
    CRITICAL = "critical"  # now

    def at_least(self, other: "Severity") -> bool:
        """Whether this is as urgent as that, or more so."""
        return self is other or self is Severity.CRITICAL


class AlertKind(StrEnum):
    """What is the case."""

    HOST_SILENT = "host-silent"
    HOST_DOWN = "host-down"
    HOSTS_LOST_AT_ONCE = "hosts-lost-at-once"
    HOST_POWER_FAILING = "host-power-failing"
    MOVE_FAILING = "move-failing"
    ZONE_CAPACITY = "zone-capacity"
    POOL_FILLING = "pool-filling"
    REPLICA_BEHIND = "replica-behind"
    REPLICA_LACKING = "replica-lacking"
    FARM_FAILING = "farm-failing"
    FARM_STUCK = "farm-stuck"
    ROLLOUT_FAILED = "rollout-failed"
    TIER_BELOW_LEAST = "tier-below-least"
    ROUTER_MISSING = "router-missing"
    MASTER_CHANGING = "master-changing"
    CONTROLLER_FAILING = "controller-failing"
    WRITER_FAILING = "writer-failing"
    CERTIFICATE_ENDING = "certificate-ending"
    IMAGE_STORE_FULL = "image-store-full"
    GRID_UNHEARD = "grid-unheard"
    GRID_FACTS_REFUSED = "grid-facts-refused"
    TEST = "test"  # nothing is wrong; never kept


class Damping(NamedTuple):
    """How long a cause must be there to be told, and gone to be over."""

    opens: timedelta
    ends: timedelta


_NOW = timedelta(0)
_SOON, _WHILE = timedelta(minutes=1), timedelta(minutes=5)

DAMPING: dict[AlertKind, Damping] = {
    AlertKind.HOST_SILENT: Damping(_NOW, _SOON),  # a host is silent only after a while anyway
    AlertKind.HOST_DOWN: Damping(_NOW, _SOON),
    AlertKind.HOSTS_LOST_AT_ONCE: Damping(_NOW, _SOON),
    AlertKind.HOST_POWER_FAILING: Damping(_NOW, _SOON),
    AlertKind.MOVE_FAILING: Damping(_NOW, _SOON),  # it was tried more than once
    AlertKind.ZONE_CAPACITY: Damping(_SOON, _WHILE),
    AlertKind.POOL_FILLING: Damping(_SOON, _WHILE),
    AlertKind.REPLICA_BEHIND: Damping(_SOON, _SOON),
    AlertKind.REPLICA_LACKING: Damping(_WHILE, _SOON),  # as long as one takes to be begun anew
    AlertKind.FARM_FAILING: Damping(_NOW, _SOON),
    AlertKind.FARM_STUCK: Damping(_NOW, _SOON),  # it was tried more than once
    AlertKind.ROLLOUT_FAILED: Damping(_NOW, _SOON),
    # As long as elements take to be made, or to be replaced one after the other.
    AlertKind.TIER_BELOW_LEAST: Damping(_WHILE, _SOON),
    AlertKind.ROUTER_MISSING: Damping(_WHILE, _SOON),  # as long as another one takes to start
    AlertKind.MASTER_CHANGING: Damping(_NOW, _WHILE),
    AlertKind.CONTROLLER_FAILING: Damping(_SOON, _WHILE),
    AlertKind.WRITER_FAILING: Damping(_NOW, _WHILE),
    AlertKind.CERTIFICATE_ENDING: Damping(_NOW, _WHILE),
    AlertKind.IMAGE_STORE_FULL: Damping(_SOON, _WHILE),
    AlertKind.GRID_UNHEARD: Damping(_NOW, _SOON),
    AlertKind.GRID_FACTS_REFUSED: Damping(_NOW, _SOON),
}


class Finding(NamedTuple):
    """A cause, as it was just seen. `subject` is an id or a server's name; `name` is what people call it."""

    kind: AlertKind
    subject: str
    name: str
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """As it is kept. Open from `opened_at` to `until`; before that it is only watched."""

    id: AlertId
    kind: AlertKind
    subject: str
    name: str
    severity: Severity
    text: str
    since: datetime
    opened_at: datetime | None = None
    gone_at: datetime | None = None
    until: datetime | None = None
    flaps: int = 0
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""


class Told(StrEnum):
    """What operators hear of an alert."""

    OPENED = "opened"
    RAISED = "raised"  # it is more severe by now
    ENDED = "ended"
    TEST = "test"


class After(NamedTuple):
    """The alert one look later, None where there is none any more; and what is worth telling."""

    alert: Alert | None
    told: Told | None = None


def after(now: Alert | None, found: Finding | None, at: datetime) -> After:
    """What becomes of an alert that was not over, when its cause was seen or not seen at `at`."""
    if now is None:
        return After(None) if found is None else _opened(_begun(found, at), at)
    if found is None:
        return _unseen(now, at)
    if now.opened_at is None:
        return _opened(replace(now, severity=found.severity, text=found.text), at)
    seen = replace(
        now,
        name=found.name,
        text=found.text,
        gone_at=None,
        flaps=now.flaps + (now.gone_at is not None),
    )
    if now.severity.at_least(found.severity):
        return After(seen)
    return After(replace(seen, severity=found.severity), Told.RAISED)


def _begun(found: Finding, at: datetime) -> Alert:
    return Alert(
        id=AlertId(derived("alert", at, found.kind, found.subject)),
        kind=found.kind,
        subject=found.subject,
        name=found.name,
        severity=found.severity,
        text=found.text,
        since=at,
    )


def _opened(watched: Alert, at: datetime) -> After:
    if at - watched.since < DAMPING[watched.kind].opens:
        return After(watched)
    return After(replace(watched, opened_at=at), Told.OPENED)


def _unseen(now: Alert, at: datetime) -> After:
    if now.opened_at is None:
        return After(None)
    gone = now.gone_at or at
    if at - gone < DAMPING[now.kind].ends:
        return After(replace(now, gone_at=gone))
    return After(replace(now, gone_at=gone, until=at), Told.ENDED)


# --- who is told --------------------------------------------------------------------------------------------------


class RouteKind(StrEnum):
    """How an operator is told."""

    MAIL = "mail"
    WEBHOOK = "webhook"


class Security(StrEnum):
    """Of the way to a mail server."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a route leads. A webhook has a `url`, mail all of the rest."""

    url: str = ""
    server: str = ""
    port: int = 0
    security: Security = Security.STARTTLS
    user: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRoute:
    """Whom to tell of alerts that are severe enough. `sealed` is its secret, encrypted."""

    id: AlertRouteId
    name: str
    kind: RouteKind
    target: Target
    sealed: str = ""
    least: Severity = Severity.WARNING
    enabled: bool = True
    told: str = ""
    failing_since: datetime | None = None
    delivered_at: datetime | None = None
    generation: int = 1
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a route is told, once or more often: `id` is the same each time."""

    id: str
    what: Told
    at: datetime
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice that a route has not got yet, or not for sure."""

    id: str
    route: AlertRouteId
    notice: Notice
    tries: int = 0
    next_at: datetime
    created_at: datetime


def derived(kind: str, at: datetime, *of: str) -> str:
    """An id that follows from what it names: whoever decides the same again gets the same.

    Formed as all ids are (`domain/ids.py`): nine letters of time, eleven that are as good as chance.
    """
    said = "\0".join((str(at.timestamp()), *of)).encode()
    chance = int.from_bytes(hashlib.sha256(said).digest()[:10])
    return f"{kind}-{_base36(int(at.timestamp() * 1000), 9)}{_base36(chance, 11)}"


def _base36(value: int, width: int) -> str:
    made = ""
    for _ in range(width):
        value, digit = divmod(value, len(ALPHABET))
        made = ALPHABET[digit] + made
    return made
