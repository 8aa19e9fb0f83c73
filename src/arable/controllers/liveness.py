"""Hosts that were not heard for too long are silent, and down when nobody else sees them (`domain/host_health.py`).

A host can only be heard while a management server is there to hear it, and a database to note it in. After a time
without, it is given as long to speak as any other, counted from when it could first be heard again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from arable.domain.event import Event
from arable.domain.host import HOST, HostEvent, HostState
from arable.domain.host_health import (
    HostSeen,
    Limits,
    SightingKind,
    Verdict,
    circles,
    judge,
)
from arable.domain.ids import HostId
from arable.domain.settings import (
    HOST_DOWN_SECONDS,
    HOST_SILENT_SECONDS,
    REPORT_SECONDS,
)
from arable.store import alerts, events, hearing, settings, sightings, sights
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.sightings import HostRow, Sighting

SECONDS = 2
"""Between rounds. A host that went is looked for by its machines' owners: they should not wait for us."""

TOPIC = "hosts"
"""Nudged when a host's state has changed."""

CONFIRMED = timedelta(seconds=10)
"""A peer's word that it can't reach a host counts when it was heard itself so long after it last did. By then the peers
of all hosts that went in the same moment have said so, and they are known to be lost together."""
SINCE = timedelta(seconds=5)
"""A host that was heard so long after a peer last reached it is one that this peer alone can't reach."""


def watch(tx: Tx, at: datetime) -> int:
    """One round; of how many hosts the state changed."""
    limits = _limits(tx)
    # Rounds are a few seconds apart while anybody is there: a longer break is one in which hosts may have spoken in
    # vain. One that is short to the limit takes little of a host's time, and agents that lost their server for so long
    # come back sooner than that.
    least = min(limits.down, limits.silent)
    since = hearing.note(tx, at, max(least / 2, timedelta(seconds=3 * SECONDS)))
    if at - since < least:
        return 0
    pods = sightings.troubled(tx, at - limits.missing)
    if not pods:
        return 0
    rows = sightings.hosts(tx, pods)
    seen = _seen(tx, rows, limits, since, at)
    verdicts = judge(seen, limits, sightings.elsewhere(tx, pods))
    return _settle(tx, rows, verdicts, at)


def _limits(tx: Tx) -> Limits:
    silent = timedelta(seconds=settings.get(tx, HOST_SILENT_SECONDS))
    report = min(timedelta(seconds=settings.get(tx, REPORT_SECONDS)), silent / 3)
    missing = report * 1.5
    down = max(timedelta(seconds=settings.get(tx, HOST_DOWN_SECONDS)), missing)
    return Limits(missing=missing, silent=silent, down=down)


def _seen(
    tx: Tx, rows: Sequence[HostRow], limits: Limits, since: datetime, at: datetime
) -> list[HostSeen]:
    unheard = {row.id: _unheard(row, since, at) for row in rows}
    missing = {
        row.id
        for row in rows
        if unheard[row.id] > limits.missing and row.state in (HostState.UP, HostState.SILENT)
    }
    heard = {row.id for row in rows if row.state is HostState.UP and row.id not in missing}
    asked: dict[HostId, list[HostRow]] = {}
    for asker, host in circles(rows):
        if asker.id in heard:
            asked.setdefault(host.id, []).append(asker)
    said = sightings.of(tx, unheard)
    # Storage hosts may stand in other pods, in which all is well.
    others = sightings.some(tx, {one.by for one in said} - unheard.keys())
    heard |= {
        row.id
        for row in others
        if row.state is HostState.UP and _unheard(row, since, at) <= limits.missing
    }
    said = [one for one in said if one.by in heard]
    return [
        HostSeen(
            id=row.id,
            pod=row.pod,
            zone=row.zone,
            state=row.state,
            maintenance=row.maintenance,
            powered_off=row.powered_off,
            excused=row.excused_until is not None and at < row.excused_until,
            unheard=unheard[row.id],
            witnesses=len(asked.get(row.id, ())),
            lost=_lost(row.id, asked.get(row.id, ()), said),
            doubted=_doubted(row, said),
            storage=sum(one.kind is SightingKind.LEASES and one.host == row.id for one in said),
        )
        for row in rows
    ]


def _unheard(row: HostRow, since: datetime, at: datetime) -> timedelta:
    """For how long it was not heard, though it could have been."""
    return at - (max(row.seen_at, since) if row.seen_at else since)


def _lost(host: HostId, asked: Sequence[HostRow], said: Sequence[Sighting]) -> int:
    """How many of those who were to ask for it have said that they can't reach it, and were heard well after that."""
    since = {
        one.by: one.since for one in said if one.kind is SightingKind.LOST and one.host == host
    }
    return sum(
        asker.id in since
        and asker.seen_at is not None
        and asker.seen_at - since[asker.id] >= CONFIRMED
        for asker in asked
    )


def _doubted(row: HostRow, said: Sequence[Sighting]) -> bool:
    """Whether somebody has lost it, and nobody has heard it since."""
    return any(
        one.kind is SightingKind.LOST
        and one.host == row.id
        and (row.seen_at is None or row.seen_at <= one.since + SINCE)
        for one in said
    )


def _settle(
    tx: Tx, rows: Sequence[HostRow], verdicts: Mapping[HostId, Verdict], at: datetime
) -> int:
    changed: list[tuple[HostRow, Verdict]] = []
    for row in rows:
        verdict = verdicts.get(row.id)
        if verdict is None or verdict.state is HostState.UP:
            continue
        news = (verdict.state, verdict.told, verdict.held) != (row.state, row.told, row.held_back)
        if news and sights.judged(tx, row, verdict) and verdict.state is not row.state:
            event = HostEvent.LOSE if verdict.state is HostState.DOWN else HostEvent.MISS
            if row.powered_off and verdict.state is HostState.DOWN:
                event = HostEvent.SEE_OFF
            assert HOST.next(row.state, event) is verdict.state
            changed.append((row, verdict))
    events.add_many(
        tx,
        [
            Event(
                at=at,
                account=None,
                kind=f"host.{verdict.state}",
                subject=row.id,
                text=f"{row.name} is {verdict.state}: {verdict.told}",
            )
            for row, verdict in changed
        ],
    )
    if changed:
        nudge(tx, alerts.TOPIC)
        nudge(tx, TOPIC)
    return len(changed)
