"""Choose a host for each waiting machine, or say for every host why not.

Order of choice: the least loaded pod that has a fitting host; in it the host by strategy (`spread`: the one left
with most room; `pack`: with least); ties break by id. So the outcome depends on the snapshot and the order of the
asks alone. Asks of one *class* (same size, tags and strategy, no groups, no fixed host) are placed together by
heaps: the filters run once for the class, and each further machine costs two heap operations.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from arable.domain.group import GroupRule, Strategy
from arable.domain.ids import HostId, MachineId, PodId
from arable.domain.units import Size
from arable.placement.view import Flags, Ints, ZoneView


@dataclass(frozen=True, slots=True)
class GroupAsk:
    """A placement group that the machine belongs to. Not strict: a preference, given up when nothing else fits."""

    group: str
    rule: GroupRule
    strict: bool = True


@dataclass(frozen=True, slots=True)
class MoveAsk:
    """It goes to another host while it runs: from where, to which one if not to any, to which of the same kind, and
    which of them have enough to do with other moves.
    """

    source: HostId
    kin: frozenset[HostId]
    to: HostId | None = None
    busy: frozenset[HostId] = frozenset()


BUSY = "have as many moves as they may"


@dataclass(frozen=True, slots=True)
class PlacementAsk:
    """What a machine needs. `only` is the host that holds its disks already, when they can't move; `reach` are the
    pods whose hosts get at its shared disks, or at room for them, and `mounted` those hosts that do besides; `avoid` are hosts that could not start it.
    """

    machine: MachineId
    size: Size
    tags: frozenset[str] = frozenset()
    strategy: Strategy = Strategy.SPREAD
    groups: tuple[GroupAsk, ...] = ()
    only: HostId | None = None
    reach: frozenset[PodId] | None = None
    mounted: frozenset[HostId] = frozenset()
    avoid: frozenset[HostId] = frozenset()
    move: MoveAsk | None = None

    @property
    def alike(self) -> tuple[object, ...] | None:
        """Asks with the same value here are placed together; None: alone."""
        return (
            None
            if self.groups or self.only or self.avoid or self.move
            else (self.size, self.tags, self.strategy, self.reach, self.mounted)
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """A host, and what else was looked at: hosts considered, and how many fell to which rule."""

    machine: MachineId
    host: HostId
    considered: int
    refused: dict[str, int]
    strategy: Strategy


@dataclass(frozen=True, slots=True)
class Refused:
    """No host: for each, the first rule that it failed (`by_host` names at most `NAMED`)."""

    machine: MachineId
    reasons: dict[str, int]
    by_host: dict[str, str] = field(default_factory=dict)

    @property
    def for_room(self) -> bool:
        """Whether more hosts of the same kind would have helped: it is not only its own wishes that none meets."""
        return not self.reasons or not _ROOM.isdisjoint(self.reasons)

    def told(self) -> str:
        """One sentence for the user."""
        parts = ", ".join(f"{count} {why}" for why, count in sorted(self.reasons.items()))
        return f"no host can take this: {parts or 'there are none'}"


NAMED = 50
_ROOM = frozenset(
    {
        *("take no machines now", "lack CPU", "lack memory", "lack disk", "have a full pool"),
        "have room that is promised to orders",
    }
)


def choose(view: ZoneView, asks: Sequence[PlacementAsk]) -> list[Placed | Refused]:
    """One answer for each ask, in order; `view` is left as it is after the placements."""
    answers: list[Placed | Refused] = []
    for alike, together in groupby(asks, key=lambda ask: ask.alike):
        same = list(together)
        if alike is None:
            answers += [_one(view, ask) for ask in same]
        else:
            answers += _alike(view, same)
    return answers


def _alike(view: ZoneView, asks: list[PlacementAsk]) -> list[Placed | Refused]:
    """Place asks of one class by a heap of pods, each with a heap of hosts."""
    places, told = several(view, asks[0], len(asks))
    considered = len(view.hosts)
    answers: list[Placed | Refused] = [
        Placed(ask.machine, view.hosts[at].id, considered, told, ask.strategy)
        for ask, at in zip(asks, places, strict=False)
    ]
    answers += [_refusal(view, ask) for ask in asks[len(places) :]]
    return answers


def several(view: ZoneView, ask: PlacementAsk, count: int) -> tuple[list[int], dict[str, int]]:
    """Hosts, by index, for so many asks alike; fewer where there is no room for more. And how many fell to each rule."""
    places = Places(view, ask)
    return places.take(count), places.refused


class Places:
    """Hosts of a view for asks that are all alike, best first, as many as are asked for each time.

    A host that got one waits in a heap of its pod for the next; those that got none are taken in order, and nothing is
    done with the others. So the cost is that of the asks, and once a few steps of numpy over the hosts.

    Between two times others may be placed on the view, or hosts closed there (`accepting`): each host is looked at again
    when its turn comes. What got *more* room since is not noticed before its turn, and what takes machines again only
    if it did when this was made.
    """

    def __init__(self, view: ZoneView, ask: PlacementAsk) -> None:
        self._view = view
        self._ask = ask
        mask, reasons = passing(view, ask)
        self.refused = {reason: int(lost) for reason, lost in reasons}
        """How many hosts fell to each rule at first."""
        self._queues = _queues(view, ask, mask)

    def take(self, count: int) -> list[int]:
        """So many, by index, with what they take taken from the view; fewer where there is no room for more."""
        view, ask, queues = self._view, self._ask, self._queues
        pods = [(view.pod_load(pod), pod) for pod in queues]
        heapq.heapify(pods)
        places: list[int] = []
        closed: list[tuple[float, int]] = []
        while pods and len(places) < count:
            pod = pods[0][1]
            queue = queues[pod]
            found = queue.pop()
            if found is None:
                heapq.heappop(pods)
                continue
            at = found[1]
            if not view.accepting[at]:
                closed.append(found)
                continue
            if not _fits(view, at, ask.size):
                continue
            rank = _rank(view, at, ask)
            if rank > found[0]:  # it was used meanwhile
                heapq.heappush(queue.again, (rank, at))
                continue
            view.take(at, ask.size)
            places.append(at)
            heapq.heappush(queue.again, (_rank(view, at, ask), at))
            heapq.heapreplace(pods, (view.pod_load(pod), pod))
        for found in closed:
            heapq.heappush(queues[int(view.pod[found[1]])].again, found)
        return places


def _one(view: ZoneView, ask: PlacementAsk) -> Placed | Refused:
    """Place an ask that is like no other."""
    mask, reasons = passing(view, ask)
    if not mask.any():
        return _refusal(view, ask)
    wanted = _preferred(view, ask, mask)
    queues = _queues(view, ask, wanted)
    pod = min(queues, key=lambda pod: (view.pod_load(pod), pod))
    at = int(queues[pod].hosts[0])
    view.take(at, ask.size)
    for group in ask.groups:
        view.joined(group.group, at)
    told = {reason: int(count) for reason, count in reasons}
    return Placed(ask.machine, view.hosts[at].id, len(view.hosts), told, ask.strategy)


def passing(view: ZoneView, ask: PlacementAsk) -> tuple[Flags, list[tuple[str, int]]]:
    """Hosts that pass every rule, and how many fell to each: a host counts for the first rule that it fails."""
    left = np.ones(len(view.hosts), dtype=np.bool_)
    fallen: list[tuple[str, int]] = []
    for reason, flags in _rules(view, ask):
        lost = int(np.count_nonzero(left & ~flags))
        if lost:
            fallen.append((reason, lost))
            left &= flags
    return left, fallen


def why_not(view: ZoneView, ask: PlacementAsk) -> dict[str, str]:
    """For every host, by name, the first rule that it fails, with numbers; hosts that would do are left out."""
    told: dict[str, str] = {}
    size = ask.size
    rules = _rules(view, ask)
    for at, host in enumerate(view.hosts):
        reason = next((reason for reason, flags in rules if not flags[at]), "")
        match reason:
            case "":
                continue
            case "take no machines now":
                reason = host.refuses
            case "lack CPU":
                reason = f"needs {size.cpu_mhz} MHz, {max(0, int(view.free_mhz[at]))} free"
            case "lack memory":
                reason = (
                    f"needs {size.memory_mib} MiB of memory, "
                    f"{max(0, int(view.free_memory[at]))} free"
                )
            case "have a full pool":
                reason = "its pool is full: its disks are thin, and what is written there fills it"
            case "lack disk":
                reason = (
                    f"needs {size.disk_mib} MiB of disk, {max(0, int(view.free_disk[at]))} free"
                )
            case _:
                reason = reason.replace(
                    "lack a tag", f"lacks a tag of {', '.join(sorted(ask.tags))}"
                )
        told[host.name] = reason
    return told


def _rules(view: ZoneView, ask: PlacementAsk) -> list[tuple[str, Flags]]:
    """Every rule as (what its losers do, who passes), cheapest and most telling first."""
    hosts = view.hosts
    rules: list[tuple[str, Flags]] = []
    if ask.only is not None:
        here = np.zeros(len(hosts), dtype=np.bool_)
        if (at := view.index.get(ask.only)) is not None:
            here[at] = True
        rules.append(("don't hold its disks", here))
    if ask.reach is not None:
        reached = _of_pods(view, [pod in ask.reach for pod in view.pods])
        if ask.mounted:
            mounted = ask.mounted
            reached = reached | _hosts(view, lambda host: host in mounted)
        rules.append(("reach no pool with room for its shared disks", reached))
    if ask.move is not None:
        rules += _move_rules(view, ask.move)
    rules.append(("take no machines now", view.accepting))
    if ask.avoid:
        untried = np.fromiter((host.id not in ask.avoid for host in hosts), np.bool_, len(hosts))
        rules.append(("could not start it", untried))
    rules += [("lack a tag", view.with_tag(tag)) for tag in sorted(ask.tags)]
    rules += [
        ("lack CPU", view.free_mhz >= ask.size.cpu_mhz),
        ("lack memory", view.free_memory >= ask.size.memory_mib),
        ("have a full pool", ~view.full | (ask.size.disk_mib <= 0)),
        ("lack disk", view.free_disk >= ask.size.disk_mib),
    ]
    rules += [_group_rule(view, group) for group in ask.groups if group.strict]
    move = ask.move
    if move is not None:  # last: it is only for a while
        busy = move.busy
        rules.append((BUSY, _hosts(view, lambda host: host not in busy)))
    return rules


def _move_rules(view: ZoneView, move: MoveAsk) -> Iterator[tuple[str, Flags]]:
    if move.to is not None:
        yield "are not the host that was asked for", _hosts(view, lambda host: host == move.to)
    yield "have it now", _hosts(view, lambda host: host != move.source)
    reason = "can't take it while it runs: their hypervisor or processor is another one"
    yield reason, _hosts(view, lambda host: host in move.kin)


def _hosts(view: ZoneView, may: Callable[[HostId], bool]) -> Flags:
    """Which hosts may, by their ids."""
    return np.fromiter((may(host.id) for host in view.hosts), np.bool_, len(view.hosts))


def _of_pods(view: ZoneView, chosen: Sequence[bool]) -> Flags:
    """Which hosts are in the chosen of the view's pods."""
    return np.array(chosen or [False], dtype=np.bool_)[view.pod]


def _group_rule(view: ZoneView, ask: GroupAsk) -> tuple[str, Flags]:
    members = view.groups.get(ask.group, {})
    has = np.zeros(len(view.hosts), dtype=np.bool_)
    has[list(members)] = True
    if ask.rule is GroupRule.APART:
        return "have a member of a group that wants to be apart", ~has
    if not members:
        return "", np.ones(len(view.hosts), dtype=np.bool_)
    return "are not where its group is", has


def _preferred(view: ZoneView, ask: PlacementAsk, mask: Flags) -> Flags:
    """Of the passing hosts those that also meet the wishes that are not strict, if there are any."""
    for group in ask.groups:
        if not group.strict:
            narrower = mask & _group_rule(view, group)[1]
            if narrower.any():
                mask = narrower
    return mask


@dataclass(slots=True)
class _Queue:
    """Hosts of a pod: those that were not used yet, in order, and a heap of (rank, index) of those to be used `again`."""

    ranks: NDArray[np.float64]
    hosts: Ints
    again: list[tuple[float, int]] = field(default_factory=list)
    _next: int = 0

    def pop(self) -> tuple[float, int] | None:
        """The best as (rank, index); None when there is none."""
        at = self._next
        if at < len(self.hosts):
            first = (float(self.ranks[at]), int(self.hosts[at]))
            if not self.again or first < self.again[0]:
                self._next += 1
                return first
        return heapq.heappop(self.again) if self.again else None


def _queues(view: ZoneView, ask: PlacementAsk, mask: Flags) -> dict[int, _Queue]:
    """For each pod its passing hosts, best first; ties by index."""
    passed = np.flatnonzero(mask)
    if not passed.size:
        return {}
    ranks = _ranks(view, passed, ask)
    pods = view.pod[passed]
    order = np.lexsort((ranks, pods))  # stable, and the indexes ascend: ties stay in order
    where, first = np.unique(pods[order], return_index=True)
    ranks, passed = ranks[order], passed[order]
    ends = [*first[1:].tolist(), len(passed)]
    return {
        pod: _Queue(ranks[begin:end], passed[begin:end])
        for pod, begin, end in zip(where.tolist(), first.tolist(), ends, strict=True)
    }


def _ranks(view: ZoneView, at: Ints, ask: PlacementAsk) -> NDArray[np.float64]:
    """Smaller is better: how full the fuller of CPU and memory will be (spread), or how empty (pack)."""
    mhz = (view.free_mhz[at] - ask.size.cpu_mhz) / np.maximum(view.limit_mhz[at], 1)
    memory = (view.free_memory[at] - ask.size.memory_mib) / np.maximum(view.limit_memory[at], 1)
    left = np.minimum(mhz, memory)
    return left if ask.strategy is Strategy.PACK else -left


def _rank(view: ZoneView, at: int, ask: PlacementAsk) -> float:
    mhz = (int(view.free_mhz[at]) - ask.size.cpu_mhz) / max(int(view.limit_mhz[at]), 1)
    memory = (int(view.free_memory[at]) - ask.size.memory_mib) / max(int(view.limit_memory[at]), 1)
    left = min(mhz, memory)
    return left if ask.strategy is Strategy.PACK else -left


def _fits(view: ZoneView, at: int, size: Size) -> bool:
    return bool(
        view.free_mhz[at] >= size.cpu_mhz
        and view.free_memory[at] >= size.memory_mib
        and view.free_disk[at] >= size.disk_mib
    )


def _refusal(view: ZoneView, ask: PlacementAsk) -> Refused:
    mask, reasons = passing(view, ask)
    if mask.any():
        raise AssertionError("refused although a host passes every rule")
    named = dict(list(why_not(view, ask).items())[:NAMED])
    return Refused(ask.machine, dict(reasons), named)
