"""Idle hosts sleep, and wake when they are needed: without power in between, by what else switches it.

Off unless an operator wants it (`idle_hosts`). What is decided is `placement/resting.py`'s; what is switched is written
down and done by `switching.py`. A host that is to sleep `rests` from the transaction on in which it was seen, locked, to
have nothing to do: nothing is placed there any more (`store/reservations.py`), so its power can be cut. Once it was seen
without, it is `asleep`: missed by nobody, and room that can be had. It is woken when its pod's reserve is used up, when
no other host has room for a machine that waits (`wake_for`), or by hand, and takes machines when its agent is heard.

One that is woken and not heard in time is silent, which is an alert, and no longer counted on; one whose switch fails is
an alert of its own.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.settings import (
    HOST_BOOT_SECONDS,
    IDLE_HOST_RESERVE,
    IDLE_HOST_SECONDS,
    IDLE_HOSTS,
    REPORT_SECONDS,
)
from arable.placement.resting import Policy, Rester, Stance, plan
from arable.store import alerts, incarnations, recoveries, reservations, resting, settings
from arable.store.database import Tx
from arable.store.nudges import nudge
from arable.store.resting import RestRow

SECONDS = 10
HOSTS = "hosts"  # `liveness.TOPIC`


def attend(tx: Tx, at: datetime) -> int:
    """One round; how many hosts were put to sleep, woken, or missed."""
    sleeps = settings.get(tx, IDLE_HOSTS) == "sleep"
    if not sleeps and not resting.any_rests(tx):
        return 0
    rows = resting.every(tx)
    boots = timedelta(seconds=settings.get(tx, HOST_BOOT_SECONDS))
    done = _look_after(tx, rows, boots, at)
    if not sleeps or incarnations.taking_stock(tx):
        return done
    _note_idle(tx, rows, at)
    policy = Policy(
        reserve=settings.get(tx, IDLE_HOST_RESERVE),
        idle=timedelta(seconds=settings.get(tx, IDLE_HOST_SECONDS)),
    )
    lost = recoveries.lost_hosts(tx)
    wanted = plan([_rester(row, lost, boots, at) for row in rows], policy)
    done += len(resting.wake(tx, wanted.wake, at, "its pod's reserve is used up"))
    return done + len(resting.sleep(tx, wanted.sleep, at, "it had nothing to do"))


def _note_idle(tx: Tx, rows: Iterable[RestRow], at: datetime) -> None:
    begun = [row.id for row in rows if not row.busy and row.idle_since is None]
    over = [row.id for row in rows if row.busy and row.idle_since is not None]
    reservations.hold(tx, {*begun, *over})
    resting.idle(tx, begun, at)
    resting.idle(tx, over, None)


def _rester(row: RestRow, lost: Collection[HostId], boots: timedelta, at: datetime) -> Rester:
    return Rester(
        id=row.id,
        pod=row.pod,
        stance=_stance(row, lost, boots, at),
        switchable=not row.fails,
        idle=at - row.idle_since if row.idle_since else timedelta(),
        awake=at - row.rests_since if row.rests_since else timedelta.max,
    )


def _stance(row: RestRow, lost: Collection[HostId], boots: timedelta, at: datetime) -> Stance:
    if row.relied_on or row.id in lost or row.state in (HostState.DOWN, HostState.SILENT):
        return Stance.TROUBLED
    if row.maintenance or not row.enabled or row.awaited or row.state is HostState.JOINED:
        return Stance.APART
    if row.rests:
        return Stance.ASLEEP
    if row.state is HostState.ASLEEP:
        late = row.rests_since is None or at - row.rests_since > boots
        return Stance.TROUBLED if late or row.fails else Stance.WAKING
    return Stance.BUSY if row.busy or row.wanted is not None else Stance.IDLE


def _look_after(tx: Tx, rows: Iterable[RestRow], boots: timedelta, at: datetime) -> int:
    """Those that did not wake, and those that somebody else woke."""
    reports = timedelta(seconds=3 * settings.get(tx, REPORT_SECONDS))
    late, risen = [], []
    for row in rows:
        since = at - row.rests_since if row.rests_since else timedelta.max
        if row.state is HostState.ASLEEP and not row.rests and (since > boots or row.fails):
            late.append(row)
        elif row.state is HostState.UP and row.rests and row.wanted is None and since > reports:
            risen.append(row)
    reservations.hold(tx, {row.id for row in (*late, *risen)})
    for row in late:
        told = "it was woken, and has not been heard in time"
        if row.fails:
            told = "it should be woken, and can't be switched"
        if resting.late(tx, row.id, told):
            resting.tell(tx, row, "host.silent", f"{row.name} is silent: {told}", at)
            nudge(tx, alerts.TOPIC)
            nudge(tx, HOSTS)
    for row in risen:
        resting.wakes(tx, row.id, at, told="")
        told = f"{row.name} was given power by somebody else, and is awake"
        resting.tell(tx, row, "host.woken", told, at)
    return len(late) + len(risen)


def wake_for(tx: Tx, hosts: Mapping[HostId, int], at: datetime) -> None:
    """Machines wait for these hosts, so many for each."""
    for host, count in sorted(hosts.items()):
        machines = "1 machine waits" if count == 1 else f"{count} machines wait"
        resting.wake(tx, [host], at, f"{machines} for room")
