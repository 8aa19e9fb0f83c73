"""Finds hosts for machines while they are being deployed, in the transaction that accepts them.

What is accepted and placed at once is written once: one row of each kind, one commit, and no second look at what was
just written. It is a short cut of `machines.py` and nothing depends on it: whatever does not fit in here (a network's
appliance has yet to start, a placement group, no room, a host that somebody else holds at this moment, a farm that
another server acts for, room that is promised to somebody) is left waiting, and the next round there places it or says why not.

Hosts are looked at anew every second or so (`zone_views.py`) and remembered between: thousands of rows that changed, for
each batch, would cost more than all else. What is remembered decides nothing: the statement that reserves takes room
only on a host that is up, has it, and is what it was when it was looked at (its generation). And nothing here waits for
a host's row, since the accounts' rows are held already, which others take after the hosts'; where somebody holds the
chosen one, another is chosen.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Self

import msgspec

from arable.controllers import wishes, zone_views
from arable.domain.group import Placement
from arable.domain.ids import FarmId, HostId, MachineId, NetworkId, ZoneId
from arable.domain.network import ApplianceState
from arable.domain.units import Size
from arable.placement.choose import PlacementAsk, Places
from arable.placement.view import ZoneView
from arable.store import promises, reservations
from arable.store import wishes as manifests
from arable.store.attention import Fresh, Landed
from arable.store.database import Tx
from arable.store.placing import HostSeen

Holds = Callable[[Tx, Collection[FarmId]], Collection[FarmId]]
"""Those of these farms that this server may act for, which stays so until the end of the transaction (rule 5)."""

AGAIN = timedelta(seconds=1)
"""How old a look at a thousand hosts may be; at more, more."""

_placement = msgspec.json.Decoder(Placement).decode
_Way = tuple[int, int, int, int, str]
_TRIES = 3
_NOTHING = (Size(), 0, 0)


class _Found(NamedTuple):
    """A machine with its host, by index and by id, and why it is there."""

    fresh: Fresh
    at: int
    host: HostId
    why: str
    size: Size


@dataclass(slots=True)
class _Look:
    """A zone's hosts as they were seen, less what was placed on them here since."""

    at: datetime
    view: ZoneView
    seen: dict[HostId, HostSeen]
    wrong: bool = False  # a host had less room than it seemed
    places: dict[_Way, tuple[Places, str]] = field(default_factory=dict)  # and why they are chosen

    @classmethod
    def of(cls, tx: Tx, zone: ZoneId, at: datetime) -> Self:
        """As they are in this transaction. What has no disks of its own is left to the placer."""
        view, seen = zone_views.look(tx, zone)
        diskless = [index for index, host in enumerate(view.hosts) if not seen[host.id].pool]
        view.accepting[diskless] = False
        return cls(at, view, seen)

    def close(self, host: int, until: set[int]) -> None:
        """Choose it no more, until it is taken from these."""
        self.view.accepting[host] = False
        until.add(host)

    def fresh(self, at: datetime) -> bool:
        """Whether it is young enough: about 1 % of the time is spent on looking."""
        age = at - self.at
        return not self.wrong and timedelta(0) <= age < AGAIN * max(1, len(self.view.hosts) // 1000)


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
        if promises.there(tx, zone, at):
            return
        look = self._look(tx, zone, at)
        found: list[_Found] = []
        generations: dict[HostId, int] = {}
        closed: set[int] = set()
        left = fresh
        for _ in range(_TRIES):
            more = _try(tx, look, left, generations, closed)
            found += more
            here = {one.fresh.machine.id for one in more}
            left = [each for each in left if each.machine.id not in here]
            if not left or not closed:
                break
        look.view.accepting[list(closed)] = True
        look.wrong |= not found  # it was of no use
        items: list[manifests.Item] = []
        presence: set[tuple[NetworkId, HostId]] = set()
        for one in found:
            each, host, machine = one.fresh, one.host, one.fresh.machine
            pool = look.seen[host].pool
            assert pool, "a host that was chosen has one"
            landed[machine.id] = Landed(host, pool, one.why)
            items.append(
                wishes.guest(
                    machine, machine.generation + 1, each.boot, host, each.nics, each.volumes, pool
                )
            )
            for nic in each.nics:
                presence.add((nic.network, host))
                items += [
                    wishes.lease(machine.name, nic, there, each.boot.seed) for there in nic.routers
                ]
        manifests.note_presence(tx, presence)
        manifests.put(tx, items, generations, first=True)

    def _look(self, tx: Tx, zone: ZoneId, at: datetime) -> _Look:
        found = self._looks.get(zone)
        if found is None or not found.fresh(at):
            found = self._looks[zone] = _Look.of(tx, zone, at)
        return found


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


def _try(
    tx: Tx, look: _Look, left: Sequence[Fresh], generations: dict[HostId, int], closed: set[int]
) -> list[_Found]:
    """Choose for all, and reserve on the hosts that nobody else holds. On the others nothing is put in this batch."""
    ways: dict[_Way, list[Fresh]] = {}
    for each in left:
        ways.setdefault(_way(each), []).append(each)
    chosen = [one for way, those in ways.items() for one in _choose(look, way, those)]
    look.wrong |= len(chosen) < len(left)
    routers = {host for one in chosen for nic in one.fresh.nics for host in nic.routers}
    free = reservations.hold_free(tx, {one.host for one in chosen} | routers)
    wanted: dict[HostId, tuple[Size, int, int]] = {}
    for one in chosen:
        if one.host in free and _held(one.fresh, free):
            size, count, _ = wanted.get(one.host, _NOTHING)
            wanted[one.host] = (size + one.size, count + 1, look.seen[one.host].generation)
    taken = reservations.take_as_seen(tx, wanted)
    generations |= taken
    found = []
    for one in chosen:
        if one.host in taken and _held(one.fresh, free):
            found.append(one)
            continue
        look.view.take(one.at, one.size.times(-1))
        if one.host not in taken and (one.host in wanted or one.host not in free):
            look.close(one.at, closed)
        look.wrong |= one.host in wanted and one.host not in taken
    return found


def _held(each: Fresh, free: Collection[HostId]) -> bool:
    """Whether its networks' routers are free to be told."""
    return all(host in free for nic in each.nics for host in nic.routers)


def _choose(look: _Look, way: _Way, those: Sequence[Fresh]) -> list[_Found]:
    size, hosts = Size(*way[:4]), look.view.hosts
    found = look.places.get(way)
    if found is None:
        wish = _placement(way[4])
        ask = PlacementAsk(those[0].machine.id, size, wish.all_tags, wish.strategy)
        places = Places(look.view, ask)
        why = wishes.why_placed(wish.strategy, len(hosts), places.refused)
        found = look.places[way] = (places, why)
    places, why = found
    taken = places.take(len(those))
    return [
        _Found(each, at, hosts[at].id, why, size) for each, at in zip(those, taken, strict=False)
    ]
