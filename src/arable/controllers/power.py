"""Fencing by power: a host that is down, and can be switched off, is switched off, seen off, and kept off.

What is to be done is written down first (`attend`, within the store). `controllers/switching.py` does it outside any
transaction, and what it saw becomes what the cloud knows by `saw`. While a host is `powered_off`, whoever brings its
machines back elsewhere need not wait for its leases to run out (docs/decisions/0007). It is switched on again by an
operator, and by nobody else.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.host import HOST, Host, HostEvent, HostState
from arable.domain.power import Bmc, PowerState
from arable.domain.settings import HOST_BOOT_SECONDS
from arable.store import alerts, bmcs, events, hosts, resting, settings
from arable.store.database import Tx
from arable.store.nudges import nudge

SECONDS = 5
TOPIC = "power"
"""Nudged when there is something to switch."""

HOSTS = "hosts"  # `liveness.TOPIC`
_FIRST, _LONGEST = timedelta(seconds=2), timedelta(minutes=1)
_LOOK = timedelta(seconds=1)
"""Between looks at a machine that was told to switch and has not done so yet."""
PATIENCE = timedelta(seconds=30)
"""It is told again after so long."""


def attend(tx: Tx, at: datetime) -> int:
    """One round: who is down is to be switched off; who is heard again is not."""
    taken_back = bmcs.needless(tx)
    down = bmcs.to_fence(tx)
    for host in down:
        bmcs.wish(tx, host, PowerState.OFF, at, fencing=True)
    if down:
        nudge(tx, TOPIC)
    return taken_back + len(down)


def saw(tx: Tx, asked: Bmc, state: PowerState, asked_at: datetime, at: datetime) -> None:
    """How a machine's power was seen, by a look that began at `asked_at`, while `asked` was what was known of it.

    What was wished meanwhile is left as it is; what was seen is true in any case.
    """
    host = hosts.some(tx, [asked.host], lock=True).get(asked.host)
    now = bmcs.find(tx, asked.host, lock=True)
    if host is None or now is None:
        return
    after = replace(now, seen=state, seen_at=at)
    if now.generation == asked.generation and now.wanted is not None:
        if state is now.wanted:
            _tell(tx, host, f"host.powered-{state}", f"{host.name} is powered {state}", at)
            after = replace(after, wanted=None, fencing=False, tries=0, told="")
        else:
            after = _not_yet(after, at)
    bmcs.note(tx, after)
    to_be_on = PowerState.ON in (now.wanted, asked.wanted)
    if (
        state is PowerState.OFF
        and not to_be_on
        and (host.seen_at is None or host.seen_at <= asked_at)
    ):
        _off(tx, host)
    elif state is PowerState.ON and (host.powered_off or to_be_on):
        _on(tx, host, at)


def failed(tx: Tx, asked: Bmc, error: CloudError, at: datetime) -> None:
    """Its switch could not be asked, or did not do it."""
    now = bmcs.find(tx, asked.host, lock=True)
    if now is None or now.generation != asked.generation:
        return
    wait = min(_FIRST * (1 << min(now.tries, 10)), _LONGEST)
    after = replace(now, tries=now.tries + 1, told=error.public, next_at=at + wait)
    if (
        now.wanted is None
    ):  # a look at a machine that should be off: it is looked at again in its time
        after = replace(after, tries=0, seen_at=at)
    bmcs.note(tx, after)
    nudge(tx, alerts.TOPIC)


def _not_yet(after: Bmc, at: datetime) -> Bmc:
    """It was told, and takes its time; too long is a failure like any other."""
    if after.wanted_at is not None and at - after.wanted_at > PATIENCE * (after.tries + 1):
        told = Unavailable(f"it was told to be {after.wanted}, and is not")
        return replace(after, tries=after.tries + 1, told=told.public, next_at=at + _FIRST)
    return replace(after, next_at=at + _LOOK)


def _off(tx: Tx, host: Host) -> None:
    if host.powered_off or not HOST.allows(host.state, HostEvent.SEE_OFF):
        return
    if host.rests:
        state, told = HOST.next(host.state, HostEvent.FALL_ASLEEP), resting.ASLEEP
    else:
        state = HOST.next(host.state, HostEvent.SEE_OFF)
        told = f"{host.told}; it is powered off" if host.told else "it is powered off"
    bmcs.switched(
        tx,
        host.id,
        powered_off=True,
        state=state,
        told=told,
        excused_until=None,
    )
    nudge(tx, HOSTS)
    nudge(tx, "machines")
    nudge(tx, alerts.TOPIC)


def _on(tx: Tx, host: Host, at: datetime) -> None:
    """It comes up, and is nobody's to be missed meanwhile."""
    state = host.state
    if HOST.allows(state, HostEvent.POWER_ON):
        state = HOST.next(state, HostEvent.POWER_ON)
    boots = timedelta(seconds=settings.get(tx, HOST_BOOT_SECONDS))
    bmcs.switched(
        tx,
        host.id,
        powered_off=False,
        state=state,
        told=_COMING.get(state, "it was powered on, and has not been heard yet"),
        excused_until=at + boots,
    )
    nudge(tx, HOSTS)


_COMING = {HostState.UP: "", HostState.ASLEEP: resting.WAKING}


def _tell(tx: Tx, host: Host, kind: str, text: str, at: datetime) -> None:
    events.add_many(tx, [Event(at=at, account=None, kind=kind, subject=host.id, text=text)])
