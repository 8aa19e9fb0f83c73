"""Which few machines should leave the hosts that have most to do for those that have least. Pure.

A host's load is the larger of two shares: of its processors' speed, what is really used; of its memory, what is
reserved. Something is done only where two hosts of a pod differ by more than a threshold, and only what leaves the
fuller of the two less full than it was by a good part of that: so what was moved is never worth moving back, and small
differences are left alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from arable.domain.ids import HostId, MachineId, PodId

GAIN = 3
"""What is gained at least: the threshold, divided by this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLoad:
    """A host that machines may leave, and go to. `limit_mib` is what may be reserved."""

    id: HostId
    pod: PodId
    mhz: int
    used_mhz: int
    limit_mib: int
    reserved_mib: int

    @property
    def load(self) -> float:
        """From 0 to 1, and above that if it was measured so."""
        return max(self.used_mhz / max(self.mhz, 1), self.reserved_mib / max(self.limit_mib, 1))

    def without(self, machine: "MachineLoad") -> "HostLoad":
        """After it has left."""
        return self._changed(-machine.used_mhz, -machine.memory_mib)

    def beside(self, machine: "MachineLoad") -> "HostLoad":
        """After it has come."""
        return self._changed(machine.used_mhz, machine.memory_mib)

    def _changed(self, mhz: int, mib: int) -> "HostLoad":
        return replace(self, used_mhz=self.used_mhz + mhz, reserved_mib=self.reserved_mib + mib)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLoad:
    """One that may move, and what it takes along."""

    id: MachineId
    host: HostId
    used_mhz: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """From where to where."""

    machine: MachineId
    source: HostId
    target: HostId


def propose(
    hosts: Iterable[HostLoad],
    machines: Callable[[HostId], Sequence[MachineLoad]],
    may: Callable[[MachineId, HostId], bool],
    *,
    threshold: float,
    most: int,
) -> list[Proposal]:
    """At most so many in each pod. `may` knows all that stands against a machine's going to a host."""
    by_pod: dict[PodId, dict[HostId, HostLoad]] = {}
    for host in hosts:
        by_pod.setdefault(host.pod, {})[host.id] = host
    return [
        proposal
        for _pod, there in sorted(by_pod.items())
        for proposal in _within(there, machines, may, threshold, most)
    ]


def _within(
    there: dict[HostId, HostLoad],
    machines: Callable[[HostId], Sequence[MachineLoad]],
    may: Callable[[MachineId, HostId], bool],
    threshold: float,
    most: int,
) -> list[Proposal]:
    found: list[Proposal] = []
    moved: set[MachineId] = set()
    while len(found) < most:
        ordered = sorted(there.values(), key=lambda host: (host.load, host.id))
        if len(ordered) < 2 or ordered[-1].load - ordered[0].load < threshold:
            break
        source = ordered[-1]
        able = [one for one in machines(source.id) if one.id not in moved]
        best = _best(source, ordered[:-1], able, may, threshold / GAIN)
        if best is None:
            break
        machine, target = best
        there[source.id], there[target.id] = source.without(machine), target.beside(machine)
        moved.add(machine.id)
        found.append(Proposal(machine.id, source.id, target.id))
    return found


def _best(
    source: HostLoad,
    targets: Sequence[HostLoad],
    able: Sequence[MachineLoad],
    may: Callable[[MachineId, HostId], bool],
    gain: float,
) -> tuple[MachineLoad, HostLoad] | None:
    """What leaves the fuller of the two least full, if that is worth it."""
    ways = []
    for machine in able:
        for target in targets:
            if target.reserved_mib + machine.memory_mib <= target.limit_mib:
                ends = sorted((source.without(machine).load, target.beside(machine).load))
                ways.append((ends[1], ends[0], machine.id, target.id, machine, target))
    for way in sorted(ways, key=lambda way: way[:4]):
        fuller, *_rank, machine, target = way
        if fuller > source.load - gain:
            return None
        if may(machine.id, target.id):
            return machine, target
    return None
