"""Which idle hosts may sleep, and which are woken, so that enough room is awake. Pure, on spans of time.

Called for whole pods. A host sleeps only after it had nothing to do for a while, and as long after it was woken: so at
most one change of its power falls into that span, whatever machines come and go. The reserve is what keeps customers
from waiting: so many hosts of a pod stay awake with nothing to do. Where they are fewer, sleeping ones are woken, at
once; what that costs is electricity.

Nobody is put to sleep in a pod where a host is lost or its machines are being brought back: it is about to be needed,
and fewer awake would be fewer that can tell a lost host from a broken switch (`domain/host_health.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from arable.domain.ids import HostId, PodId


class Stance(StrEnum):
    """What a host is good for."""

    IDLE = "idle"  # awake, takes machines, has nothing to do
    BUSY = "busy"  # has something to do, or must not be switched
    ASLEEP = "asleep"
    WAKING = "waking"  # told to, and not yet heard
    TROUBLED = "troubled"  # lost, or its machines are being brought back
    APART = "apart"  # takes no machines, as somebody wants it


@dataclass(frozen=True, slots=True, kw_only=True)
class Rester:
    """One host. `idle` is for how long it has had nothing to do, `awake` since it was last told to wake."""

    id: HostId
    pod: PodId
    stance: Stance
    switchable: bool = False  # it is known by what to switch it, and that works
    idle: timedelta = timedelta()
    awake: timedelta = timedelta.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`reserve`: idle hosts awake in each pod. `idle`: how long one has nothing to do before it sleeps."""

    reserve: int
    idle: timedelta


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to put to sleep, and whom to wake."""

    sleep: tuple[HostId, ...] = ()
    wake: tuple[HostId, ...] = ()


def plan(hosts: Iterable[Rester], policy: Policy) -> Plan:
    """For whole pods."""
    pods: dict[PodId, list[Rester]] = {}
    for host in hosts:
        pods.setdefault(host.pod, []).append(host)
    sleep: list[HostId] = []
    wake: list[HostId] = []
    for _pod, those in sorted(pods.items()):
        sleep += _to_sleep(those, policy)
        wake += _to_wake(those, policy)
    return Plan(tuple(sleep), tuple(wake))


def _to_sleep(hosts: Sequence[Rester], policy: Policy) -> list[HostId]:
    stances = [host.stance for host in hosts]
    if Stance.TROUBLED in stances:
        return []
    spare = stances.count(Stance.IDLE) - policy.reserve
    able = [
        host
        for host in hosts
        if host.stance is Stance.IDLE
        and host.switchable
        and min(host.idle, host.awake) >= policy.idle
    ]
    able.sort(key=lambda host: (-host.idle, host.id))
    return [host.id for host in able[: max(0, spare)]]


def _to_wake(hosts: Sequence[Rester], policy: Policy) -> list[HostId]:
    coming = sum(host.stance in (Stance.IDLE, Stance.WAKING) for host in hosts)
    asleep = sorted(host.id for host in hosts if host.stance is Stance.ASLEEP and host.switchable)
    return asleep[: max(0, policy.reserve - coming)]
