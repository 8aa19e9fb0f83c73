"""Finds hosts for machines while they are being deployed, in the transaction that accepts them.

What is accepted and placed at once is written once: one row of each kind, one commit, and no second look at what was
just written. It is a short cut of `machines.py` and nothing depends on it: whatever does not fit in here (a network's
appliance has yet to start, a placement group, no room, a host that somebody else holds at this moment, a farm that
another server acts for) is left waiting, and the next round there places it or says why not.

Hosts are looked at anew every second or so and remembered between: ten thousand rows for each batch would cost more
than all else. What is remembered decides nothing: the statement that reserves takes room only on a host that is up, has
it, and is what it was when it was looked at (its generation). And nothing here waits for a host's row, since the
accounts' rows are held already, which others take after the hosts'.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from arable.controllers import wishes
from arable.domain.group import Placement
from arable.domain.ids import FarmId, HostId, MachineId, NetworkId, PoolId, ZoneId
from arable.domain.network import ApplianceState
from arable.domain.units import Size
from arable.placement.choose import PlacementAsk, several
from arable.placement.view import HostView, ZoneView
from arable.store import placing, reservations
from arable.store import wishes as manifests
from arable.store.attention import Fresh, Landed
from arable.store.database import Tx

Holds = Callable[[Tx, Collection[FarmId]], Collection[FarmId]]
"""Those of these farms that this server may act for, which stays so until the end of the transaction (rule 5)."""

AGAIN = timedelta(seconds=1)
"""How old a look at a thousand hosts may be; at more, more."""

_placement = msgspec.json.Decoder(Placement).decode
_Way = tuple[int, int, int, int, str]


@dataclass(slots=True)
class _Look:
    """A zone's hosts as they were seen, less what was placed on them here since."""

    at: datetime
    view: ZoneView
    pools: dict[HostId, tuple[PoolId, int]]  # and the host's generation

    def fresh(self, at: datetime) -> bool:
        """Whether it is young enough: about 1 % of the time is spent on looking."""
        age = at - self.at
        return timedelta(0) <= age < AGAIN * max(1, len(self.view.hosts) // 1000)


@dataclass(slots=True)
class Landing:
    """Called by one thread, the store's writer."""

    holds: Holds
    _looks: dict[ZoneId, _Look] = field(default_factory=dict)

    def __call__(self, tx: Tx, fresh: Sequence[Fresh], at: datetime) -> Mapping[MachineId, Landed]:
        """Hosts for those that can have one now, reserved and told; the others are not in the answer."""
        able = [each for each in fresh if _routed(each) and not _shares(each)]
        held = self.holds(tx, {each.farm for each in able}) if able else ()
        able = [each for each in able if each.farm in held]
        by_zone: dict[ZoneId, list[Fresh]] = {}
        for each in able:
            by_zone.setdefault(each.machine.zone, []).append(each)
        landed: dict[MachineId, Landed] = {}
        for zone, those in sorted(by_zone.items()):
            self._land(tx, zone, those, at, landed)
        return landed

    def _land(
        self,
        tx: Tx,
        zone: ZoneId,
        fresh: Sequence[Fresh],
        at: datetime,
        landed: dict[MachineId, Landed],
    ) -> None:
        look = self._look(tx, zone, at)
        ways: dict[_Way, list[Fresh]] = {}
        for each in fresh:
            ways.setdefault(_way(each), []).append(each)
        placed: list[tuple[Fresh, HostId, str, Size]] = []
        for way, those in ways.items():
            placed += _choose(look.view, way, those)
        taken = _reserve(tx, look, placed)
        if len(placed) < len(fresh) or len(taken) < len({host for _, host, _, _ in placed}):
            del self._looks[zone]  # it may be wrong, and was of no use
        items: list[manifests.Item] = []
        presence: set[tuple[NetworkId, HostId]] = set()
        for each, host, why, _size in placed:
            if host not in taken:
                continue
            pool, machine = look.pools[host][0], each.machine
            landed[machine.id] = Landed(host, pool, why)
            items.append(
                wishes.guest(
                    machine, machine.generation + 1, each.boot, host, each.nics, each.volumes, pool
                )
            )
            for nic in each.nics:
                presence.add((nic.network, host))
                if nic.appliance_host:
                    items.append(wishes.lease(machine.name, nic, nic.appliance_host))
        manifests.note_presence(tx, presence)
        manifests.put(tx, items, taken)

    def _look(self, tx: Tx, zone: ZoneId, at: datetime) -> _Look:
        found = self._looks.get(zone)
        if found is None or not found.fresh(at):
            found = self._looks[zone] = look(tx, zone, at)
        return found


def look(tx: Tx, zone: ZoneId, at: datetime) -> _Look:
    """The zone's hosts for machines as they are in this transaction."""
    hosts = [host for host in placing.hosts(tx, zone) if "compute" in host.roles and host.pool]
    view = ZoneView(
        [HostView(h.id, h.name, h.pod, h.free, h.limit, h.tags, h.refuses) for h in hosts]
    )
    return _Look(at, view, {h.id: (h.pool, h.generation) for h in hosts if h.pool})


def _routed(each: Fresh) -> bool:
    return all(
        nic.appliance_state == ApplianceState.RUNNING and nic.appliance_host for nic in each.nics
    )


def _shares(each: Fresh) -> bool:
    """Whether it needs a shared pool, too: two hosts' room at once is the placer's business."""
    return any(volume.shared for volume in each.volumes)


def _way(each: Fresh) -> _Way:
    """What is the same here is placed together."""
    machine = each.machine
    disk = sum(volume.mib for volume in each.volumes)
    return (machine.cpus, machine.cpu_mhz, machine.memory_mib, disk, machine.placement)


def _choose(
    view: ZoneView, way: _Way, those: Sequence[Fresh]
) -> list[tuple[Fresh, HostId, str, Size]]:
    cpus, mhz, memory, disk, text = way
    size, wish = Size(cpus, mhz, memory, disk), _placement(text)
    ask = PlacementAsk(those[0].machine.id, size, wish.all_tags, wish.strategy)
    places, refused = several(view, ask, len(those))
    why = wishes.why_placed(wish.strategy, len(view.hosts), refused)
    return [(each, view.hosts[at].id, why, size) for each, at in zip(those, places, strict=False)]


def _reserve(
    tx: Tx, look: _Look, placed: Sequence[tuple[Fresh, HostId, str, Size]]
) -> dict[HostId, int]:
    """The hosts on which all that was placed there has its room now, and their next manifests' generations."""
    routers = {nic.appliance_host for each, *_ in placed for nic in each.nics if nic.appliance_host}
    free = reservations.hold_free(tx, {host for _, host, _, _ in placed} | routers)
    sums: dict[HostId, list[int]] = {}
    for each, host, _why, size in placed:
        if host not in free or any(nic.appliance_host not in free for nic in each.nics):
            sums[host] = []  # and nothing else is put there
            continue
        of = sums.setdefault(host, [0, 0, 0, 0, 0])
        if of:
            of[0] += size.cpus
            of[1] += size.cpu_mhz
            of[2] += size.memory_mib
            of[3] += size.disk_mib
            of[4] += 1
    wanted = {host: (Size(*of[:4]), of[4], look.pools[host][1]) for host, of in sums.items() if of}
    return reservations.take_as_seen(tx, wanted)
