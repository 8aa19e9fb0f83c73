"""A snapshot of one zone's hosts as columns: what can be placed where is decided on arrays, not on objects.

10,000 hosts as objects are scanned 1,400 times a second, as columns 16,000 times, and asks of one kind together
cost a heap operation each (`choose.py`).
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from arable.domain.ids import HostId, PodId
from arable.domain.units import Size

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class HostView(Struct, frozen=True, gc=False):
    """One host. `free` and `limit` include over-commit; `refuses` is why it takes no machines now, or empty.

    One that is `full` takes those that need no disk of it: what is in use of its pool can't be seen in `free`.
    """

    id: HostId
    name: str
    pod: PodId
    free: Size
    limit: Size
    tags: frozenset[str] = frozenset()
    refuses: str = ""
    full: bool = False


@dataclass(slots=True)
class ZoneView:
    """All hosts of a zone. Free amounts shrink as `choose` places; everything else stays as it was read.

    `groups` tells for each placement group how many of its members each host (by index) already has.

    Ten thousand hosts are not made into columns for each look: who remembers a view has what changed put in (`change`),
    and gives `choose` a `copy`.
    """

    hosts: list[HostView]
    groups: dict[str, dict[int, int]] = field(default_factory=dict)
    free_mhz: Ints = field(init=False)
    free_memory: Ints = field(init=False)
    free_disk: Ints = field(init=False)
    limit_mhz: Ints = field(init=False)
    limit_memory: Ints = field(init=False)
    pod: Ints = field(init=False)
    accepting: Flags = field(init=False)
    full: Flags = field(init=False)
    pods: list[PodId] = field(init=False)
    index: dict[HostId, int] = field(init=False)
    _tags: dict[str, Flags] = field(default_factory=dict)
    _pod_free: list[list[int]] = field(init=False)  # for each pod MHz and MiB, kept as sums
    _pod_limit: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        hosts = self.hosts = sorted(self.hosts, key=lambda host: host.id)  # ties break by id
        self.free_mhz = _column(host.free.cpu_mhz for host in hosts)
        self.free_memory = _column(host.free.memory_mib for host in hosts)
        self.free_disk = _column(host.free.disk_mib for host in hosts)
        self.limit_mhz = _column(host.limit.cpu_mhz for host in hosts)
        self.limit_memory = _column(host.limit.memory_mib for host in hosts)
        self.accepting = np.fromiter((not host.refuses for host in hosts), np.bool_, len(hosts))
        self.full = np.fromiter((host.full for host in hosts), np.bool_, len(hosts))
        self.pods = sorted({host.pod for host in hosts})
        order = {pod: at for at, pod in enumerate(self.pods)}
        self.pod = _column(order[host.pod] for host in hosts)
        self.index = {host.id: at for at, host in enumerate(hosts)}
        self._pod_free = self._sums(self.free_mhz, self.free_memory)
        self._pod_limit = self._sums(self.limit_mhz, self.limit_memory)

    def _sums(self, *columns: Ints) -> list[list[int]]:
        sums = np.zeros((len(self.pods), len(columns)), dtype=np.int64)
        for which, column in enumerate(columns):
            np.add.at(sums[:, which], self.pod, column)
        found: list[list[int]] = sums.tolist()
        return found

    def copy(self) -> "ZoneView":
        """To be placed on, while this one stays as it was read. Without groups."""
        made = copy.copy(self)
        made.hosts = self.hosts.copy()
        made.groups = {}
        for name in _COLUMNS:
            setattr(made, name, getattr(self, name).copy())
        for name in ("_pod_free", "_pod_limit"):
            setattr(made, name, [each.copy() for each in getattr(self, name)])
        return made

    def change(self, host: HostView) -> None:
        """A host, one of these and in the same pod, as it is now."""
        at = self.index[host.id]
        before, self.hosts[at] = self.hosts[at], host
        self.free_mhz[at] = host.free.cpu_mhz
        self.free_memory[at] = host.free.memory_mib
        self.free_disk[at] = host.free.disk_mib
        pod = int(self.pod[at])
        _move(self._pod_free[pod], before.free, host.free)
        if host.limit != before.limit:
            self.limit_mhz[at] = host.limit.cpu_mhz
            self.limit_memory[at] = host.limit.memory_mib
            _move(self._pod_limit[pod], before.limit, host.limit)
        self.accepting[at] = not host.refuses
        self.full[at] = host.full
        if host.tags != before.tags:
            self._tags = {}

    def pod_load(self, pod: int) -> float:
        """The share of a pod's CPU and memory that is taken, the larger one."""
        free, limit = self._pod_free[pod], self._pod_limit[pod]
        return max(1 - free[0] / max(limit[0], 1), 1 - free[1] / max(limit[1], 1))

    def with_tag(self, tag: str) -> Flags:
        """Which hosts carry a tag."""
        if tag not in self._tags:
            carry = (tag in host.tags for host in self.hosts)
            self._tags[tag] = np.fromiter(carry, np.bool_, len(self.hosts))
        return self._tags[tag]

    def take(self, at: int, size: Size) -> None:
        """What a placement does to the host's free amounts."""
        self.free_mhz[at] -= size.cpu_mhz
        self.free_memory[at] -= size.memory_mib
        self.free_disk[at] -= size.disk_mib
        pod = self._pod_free[int(self.pod[at])]
        pod[0] -= size.cpu_mhz
        pod[1] -= size.memory_mib

    def joined(self, group: str, at: int) -> None:
        """One more member of a placement group is on a host."""
        members = self.groups.setdefault(group, {})
        members[at] = members.get(at, 0) + 1


_COLUMNS = (
    "free_mhz",
    "free_memory",
    "free_disk",
    "limit_mhz",
    "limit_memory",
    "accepting",
    "full",
)
"""What changes in the course of time."""


def _move(sums: list[int], before: Size, after: Size) -> None:
    sums[0] += after.cpu_mhz - before.cpu_mhz
    sums[1] += after.memory_mib - before.memory_mib


def groups_of(view: ZoneView, members: Mapping[str, Iterable[HostId]]) -> None:
    """Fill the view's groups from the hosts on which each group's members are; hosts elsewhere don't count."""
    for group, hosts in members.items():
        for host in hosts:
            if (at := view.index.get(host)) is not None:
                view.joined(group, at)


def _column(values: Iterable[int]) -> Ints:
    return np.array(list(values), dtype=np.int64)
