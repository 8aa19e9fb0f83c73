"""What is the matter with hosts that management does not hear: silent, or down. Pure, on spans of time.

Three sorts of witnesses tell of a host: its own agent, the peers of its pod that ask whether it is there, and storage
hosts where it renews leases. A host is **silent** when its agent is not heard: its agent or its uplink is in trouble,
and what runs there is left alone. It is **down** when, besides, nobody sees it: each of the peers who should, and can be
heard themselves, says that it does not, for a while, and no storage host hears it either.

A host that nobody could have seen is not condemned. Nor is one that was lost together with most others of its pod or
zone: then it is the network that is in trouble, or whoever looks. Both are for an operator to judge, and so is a host
in maintenance, where somebody is at work.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

from arable.domain.host import HostState
from arable.domain.ids import HostId, PodId, ZoneId

H = TypeVar("H")


class Standing(Protocol):
    """What has to be known of a host to find its place."""

    @property
    def id(self) -> HostId: ...
    @property
    def pod(self) -> PodId: ...
    @property
    def state(self) -> HostState: ...
    @property
    def peer_address(self) -> str: ...


R = TypeVar("R", bound=Standing)

WITNESSES = 3
"""So many peers ask for each host."""
TOGETHER = timedelta(minutes=2)
"""What is lost within so long of each other is lost at once."""


class SightingKind(StrEnum):
    """What a host says of another one."""

    LOST = "lost"  # it was to ask for it as a peer, and can't reach it
    LEASES = "leases"  # it renews leases there


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSeen:
    """What is known of one host that may be in trouble, or that others may be counted against.

    `unheard` counts only time in which it could have been heard. Witnesses count that are heard themselves.
    """

    id: HostId
    pod: PodId
    zone: ZoneId
    state: HostState
    maintenance: bool = False
    powered_off: bool = False
    excused: bool = False  # it is coming up
    unheard: timedelta = timedelta()
    witnesses: int = 0  # peers that were to ask for it
    lost: int = 0  # of those, how many say for long enough that they can't reach it
    storage: int = 0  # storage hosts where it renews leases
    doubted: bool = False  # a peer can't reach it, and nobody has heard it since


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`missing`: unheard for longer than is usual. `silent`, `down`: unheard for so long may be one."""

    missing: timedelta
    silent: timedelta
    down: timedelta


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a host is, and why. `held`: it would be down, had not most others been lost with it."""

    state: HostState
    told: str = ""
    held: bool = False


def judge(
    hosts: Sequence[HostSeen], limits: Limits, elsewhere: Mapping[ZoneId, int] | None = None
) -> dict[HostId, Verdict]:
    """Of each host that is up or silent, out of all hosts of some pods. Others are not judged: see `HOST`.

    `elsewhere` is how many hosts are heard in further pods of each zone.
    """
    living = [host for host in hosts if host.state in (HostState.UP, HostState.SILENT)]
    counted = [host for host in living if not host.maintenance]
    heard: Counter[PodId | ZoneId] = Counter(elsewhere or {})
    missing: dict[PodId | ZoneId, list[timedelta]] = {}
    for host in counted:
        for place in (host.pod, host.zone):
            if host.unheard > limits.missing or host.doubted:
                missing.setdefault(place, []).append(host.unheard)
            else:
                heard[place] += 1
    return {host.id: _judge(host, limits, heard, missing) for host in living}


def _judge(
    host: HostSeen,
    limits: Limits,
    heard: Mapping[PodId | ZoneId, int],
    missing: Mapping[PodId | ZoneId, Sequence[timedelta]],
) -> Verdict:
    if host.powered_off and host.unheard > limits.missing:
        return Verdict(HostState.DOWN, "it is powered off")
    if host.excused:
        return _not_down(host, limits, "it was powered on, and has not been heard yet")
    if _nobody_sees(host) and host.unheard >= limits.down:
        told = f"its agent is not heard, and none of {_peers(host.witnesses)} reaches it"
        if host.maintenance:
            return _not_down(host, limits, f"{told}; it is in maintenance")
        for place, name in ((host.pod, "pod"), (host.zone, "zone")):
            others = [one for one in missing.get(place, ()) if abs(one - host.unheard) <= TOGETHER]
            if 2 * len(others) > len(others) + heard.get(place, 0):
                together = f"{told}; but {len(others)} of {len(others) + heard.get(place, 0)}"
                told = f"{together} hosts of its {name} were lost at once, so it is not taken for down by itself"
                return _not_down(host, limits, told, held=True)
        return Verdict(HostState.DOWN, told)
    return _not_down(host, limits, _why_not(host))


def _not_down(host: HostSeen, limits: Limits, told: str, *, held: bool = False) -> Verdict:
    if host.state is HostState.SILENT or host.unheard >= limits.silent or held:
        return Verdict(HostState.SILENT, told, held)
    return Verdict(HostState.UP)


def _nobody_sees(host: HostSeen) -> bool:
    return 0 < host.witnesses <= host.lost and not host.storage


def _why_not(host: HostSeen) -> str:
    if host.storage:
        return "its agent is not heard, but its storage hears it: its machines run"
    reach = host.witnesses - host.lost
    if reach > 0:
        return (
            f"its agent is not heard, but {reach} of {_peers(host.witnesses)} do not miss it:"
            " its agent or its uplink is in trouble, its machines run"
        )
    return "its agent is not heard, and there is no other host that could tell of it"


def _peers(count: int) -> str:
    return "1 peer" if count == 1 else f"{count} peers"


def circle(hosts: Iterable[tuple[str, H]], witnesses: int = WITNESSES) -> list[tuple[H, H]]:
    """Who asks for whom among the hosts of a pod: pairs of asker and asked, each as often the one as the other.

    They stand in a circle in the order of their keys, and each asks for the next ones: when one comes or goes, only its
    neighbours change. Keys should be as good as drawn by lot, or those that stand next to each other fall together.
    """
    round_ = [host for _key, host in sorted(hosts, key=lambda pair: pair[0])]
    count = len(round_)
    return [
        (round_[at], round_[(at + step) % count])
        for step in range(1, min(witnesses, count - 1) + 1)
        for at in range(count)
    ]


def circles(hosts: Iterable[R]) -> list[tuple[R, R]]:
    """`circle` of each pod, of hosts that can be asked. Those that are down are left out until they are heard again.

    Ids tell of age, and hosts that came together stand together, so they are mixed: they should not be each other's
    only witnesses.
    """
    pods: dict[PodId, list[tuple[str, R]]] = {}
    for host in hosts:
        if host.peer_address and host.state in (HostState.UP, HostState.SILENT):
            key = hashlib.sha256(host.id.encode()).hexdigest()
            pods.setdefault(host.pod, []).append((key, host))
    return [pair for pod in pods.values() for pair in circle(pod)]
