"""Every machine whose wish changed: find it a host, tell its host, or let it go.

One round takes all machines that want attention, in one transaction. Nothing is remembered between rounds; whatever
a round could not do it leaves to a nudge (the appliance came up, the host reported) or to the next round.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from arable.controllers import appliances, attachments, endings, resting, wishes, zone_views
from arable.controllers import nics as ports
from arable.controllers.promised import Kept
from arable.controllers.shelves import Shelves, next_epochs
from arable.domain.errors import CloudError, NoRoom, Unavailable
from arable.domain.group import GroupRule, Placement, Strategy
from arable.domain.ids import FarmId, HostId, MachineId, NetworkId, PoolId, SegmentId, ZoneId
from arable.domain.machine import MACHINE, MachineEvent, MachineState
from arable.domain.network import ApplianceState
from arable.domain.units import Size
from arable.placement.choose import GroupAsk, Placed, PlacementAsk, Refused, choose
from arable.placement.view import HostView, ZoneView, groups_of
from arable.store import (
    attention,
    holdings,
    idle_pool,
    incarnations,
    moves,
    placing,
    reservations,
    routing,
    transfers,
)
from arable.store import wishes as manifests
from arable.store.attention import BootRow, MachineRow, NicRow, VolumeRow
from arable.store.database import Tx
from arable.store.nudges import nudge

MOST = 2000
"""Machines in one round: what one transaction should hold up others for."""

_AT_REST = (MachineState.STOPPED, MachineState.ERROR)
_placement = msgspec.json.Decoder(Placement)
_why = msgspec.json.Decoder(dict[str, object])
_CHANGED = (
    *("state", "host", "attention", "told", "why", "giving_up", "epoch", "fenced"),
    *("generation", "changed_at"),
)


@dataclass(slots=True)
class _Round:
    """What one round has read and is about to write."""

    at: datetime
    nics: dict[MachineId, list[NicRow]]
    volumes: dict[MachineId, list[VolumeRow]]
    boots: dict[MachineId, BootRow]
    items: list[manifests.Item] = field(default_factory=list)
    presence: set[tuple[NetworkId, HostId]] = field(default_factory=set)
    changes: list[dict[str, object]] = field(default_factory=list)

    def change(self, machine: MachineRow, *, state: str, host: HostId | None, why: str) -> None:
        self.changes.append(
            {
                "id": machine.id,
                "state": state,
                "host": host,
                "attention": False,
                # While it only waits, no host has been told of it.
                "told": machine.generation if host or machine.told else 0,
                "why": why,
                "giving_up": machine.giving_up,
                "epoch": machine.epoch,
                "fenced": machine.fenced,
                "generation": machine.generation,
                "changed_at": attention.stamp(self.at),
            }
        )

    def tell(self, machine: MachineRow, host: HostId, pool: PoolId) -> None:
        """Put the machine in its host's manifest, its name and addresses in its appliances' ones, and who may have its
        shared disks in that of their host.
        """
        nics = self.nics.get(machine.id, [])
        volumes = self.volumes.get(machine.id, [])
        boot = self.boots[machine.id]
        self.items.append(
            wishes.guest(machine, machine.generation, boot, host, nics, volumes, pool)
        )
        self.items += wishes.export(machine._replace(host=host), machine.generation, volumes)
        self.presence |= {(nic.network, host) for nic in nics if not nic.leaving}
        self.items += ports.leases(machine, nics, boot.seed)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The machines of a zone with what placement says of each."""

    rows: list[MachineRow]
    sizes: dict[MachineId, Size]
    answers: list[Placed | Refused]
    placed: dict[MachineId, Placed]
    shelves: Shelves
    awaited: dict[MachineId, HostId]  # for those for which there is room only on a host that sleeps
    sleepers: dict[HostId, str]  # by name
    kept: Kept


def wanting(tx: Tx, holder: SegmentId, at: datetime) -> Sequence[FarmId]:  # noqa: ARG001
    """Its farms with machines that want attention."""
    return holdings.wanting_machines(tx, holder, MOST)


def attend(tx: Tx, at: datetime, farms: Iterable[FarmId] | None = None) -> int:
    """One round, for these farms or for all; how many machines it looked at. Call again at once when it is `MOST`."""
    rows = attention.machines(tx, MOST, farms)
    if not rows or incarnations.taking_stock(tx):
        return 0
    looked = len(rows)
    rows = _at_rest(tx, rows)
    ids = [row.id for row in rows]
    this = _Round(at, attention.nics(tx, ids), attention.volumes(tx, ids), attention.boots(tx, ids))
    off = [row for row in rows if not row.host]
    _forget_ports(tx, this, off)
    _route(tx, this, rows)
    waiting = [row for row in rows if row.state == MachineState.WAITING]
    waiting = _accounted(tx, this, waiting) if waiting else []
    waiting = _imaged(tx, this, waiting) if waiting else []
    chosen = _choose(tx, this, _routed(tx, this, waiting)) if waiting else []
    needed = Counter(host for each in chosen for host in each.awaited.values())
    reservations.hold(tx, _touched(this, rows, chosen) | needed.keys())
    resting.wake_for(tx, needed, at)
    for each in chosen:
        _place(tx, this, each)
    pools = attention.local_pools(tx, {row.host for row in rows if row.host})
    for row in rows:
        if row.state == MachineState.WAITING:
            continue
        if row.host:
            this.tell(row, row.host, pools[row.host])
            this.change(row, state=row.state, host=row.host, why=row.why)
        elif row.state != MachineState.EXPUNGING:
            this.items += ports.leases(row, this.nics.get(row.id, ()), this.boots[row.id].seed)
            this.change(row, state=row.state, host=None, why=row.why)
    leaving = [row for row in rows if row.state == MachineState.EXPUNGING and not row.host]
    attention.change_machines(tx, _CHANGED, this.changes)
    manifests.note_presence(tx, this.presence)
    manifests.put(tx, this.items)
    attachments.release(tx, [row.id for row in leaving], at)
    _expunge(tx, this, leaving)
    _end_changes(tx, off, at)
    return looked


def _forget_ports(tx: Tx, this: _Round, off: list[MachineRow]) -> None:
    """Where no host has the machine, what was detached from it is gone; only the networks' routers are still told."""
    leaving = [row.id for row in off if any(nic.leaving for nic in this.nics.get(row.id, ()))]
    if leaving:
        ports.let_go(tx, leaving)


def _route(tx: Tx, this: _Round, rows: list[MachineRow]) -> None:
    """A network to which a machine that runs was attached may have no router yet."""
    absent = {
        nic.network
        for row in rows
        if row.host
        for nic in this.nics.get(row.id, ())
        if nic.appliance_state == ApplianceState.ABSENT and not nic.leaving
    }
    for network, error in appliances.want(tx, absent).items() if absent else ():
        routing.note_told(tx, [network], error.public)


def _end_changes(tx: Tx, off: list[MachineRow], at: datetime) -> None:
    """What was asked of a machine that is off is done: there is no host to wait for."""
    done = [row for row in off if row.operation and row.state in _AT_REST]
    if done:
        changed = [{"id": row.id, "operation": None} for row in done]
        attention.change_machines(tx, ("operation",), changed)
        endings.settle(tx, [(row.operation, None) for row in done], at)


def _at_rest(tx: Tx, rows: list[MachineRow]) -> list[MachineRow]:
    """Without those on their way to another host: that is taken back first, or over, and wakes them (`moving.py`)."""
    shared = [row.id for row in rows if row.epoch and row.host]
    under_way = moves.bound(tx, shared) if shared else {}
    if under_way:
        nudge(tx, moves.TOPIC)
    return [row for row in rows if row.id not in under_way]


def _accounted(tx: Tx, this: _Round, waiting: list[MachineRow]) -> list[MachineRow]:
    """Without those that may be on a host that is without power, and was not heard since a copy was restored.

    What was accepted since then can't be there; what the copy knows can, with disks that nobody else has.
    """
    unheard = incarnations.unheard(tx)
    if unheard is None:
        return waiting
    since, names = unheard
    doubtful = attention.older(tx, [row.id for row in waiting], since)
    why = {
        "waiting": "may be on a host that has not said what it runs since an older copy of the database was restored",
        "avoid": [],
        "hosts": dict.fromkeys(
            names, "was not heard since; if it is off for good, put it in maintenance"
        ),
    }
    told = msgspec.json.encode(why).decode()
    for row in waiting:
        if row.id in doubtful:
            this.change(row, state=row.state, host=None, why=told)
            this.changes[-1]["attention"] = True
    return [row for row in waiting if row.id not in doubtful]


def _imaged(tx: Tx, this: _Round, waiting: list[MachineRow]) -> list[MachineRow]:
    """Without those whose image is on its way from another region: it wakes them, or can't be had."""
    awaited = transfers.awaited(tx, [row.id for row in waiting])
    if not awaited:
        return waiting
    hopeless: list[tuple[MachineRow, CloudError]] = []
    for row in waiting:
        image = awaited.get(row.id)
        if image is None:
            continue
        if image.failed:
            told = f"its image {image.image}/{image.number} can't be fetched: {image.failed}"
            hopeless.append((row, Unavailable(told)))
            continue
        why = {"waiting": f"waits for its image {image.image}/{image.number} from another region"}
        this.change(row, state=row.state, host=None, why=msgspec.json.encode(why).decode())
    endings.refuse(tx, hopeless, this.at)
    return [row for row in waiting if row.id not in awaited]


def _routed(tx: Tx, this: _Round, waiting: list[MachineRow]) -> list[MachineRow]:
    """Those whose networks all have a running appliance; for the others it is started and wakes them later."""
    wanted: dict[NetworkId, list[MachineRow]] = {}
    blocked: set[MachineId] = set()
    for row in waiting:
        for nic in this.nics.get(row.id, ()):
            if nic.appliance_state != ApplianceState.RUNNING:
                blocked.add(row.id)
                wanted.setdefault(nic.network, []).append(row)
    if not blocked:
        return waiting
    refused = appliances.want(tx, list(wanted))
    hopeless = {
        row.id: refused[net] for net, rows in wanted.items() if net in refused for row in rows
    }
    told = msgspec.json.encode(
        {"waiting": "waits for the routing appliance of its network"}
    ).decode()
    for row in waiting:
        if row.id in blocked and row.id not in hopeless:
            this.change(row, state=row.state, host=None, why=told)
    endings.refuse(tx, [(row, hopeless[row.id]) for row in waiting if row.id in hopeless], this.at)
    return [row for row in waiting if row.id not in blocked]


def _choose(tx: Tx, this: _Round, waiting: list[MachineRow]) -> list[_Chosen]:
    by_zone: dict[ZoneId, list[MachineRow]] = {}
    for row in waiting:
        by_zone.setdefault(row.zone, []).append(row)
    chosen = []
    for zone, rows in sorted(by_zone.items()):
        shelves = Shelves.of(tx, zone, [v for row in rows for v in this.volumes.get(row.id, ())])
        asked, sizes = asks(tx, this.volumes, rows, shelves)
        view = snapshot(tx, zone, asked)
        kept = Kept.of(tx, zone, rows, sizes, this.at)
        able = [ask for ask in asked if ask.machine not in kept.refused]
        found = {answer.machine: answer for answer in choose(view, able)}
        answers = [kept.refused.get(ask.machine) or found[ask.machine] for ask in asked]
        placed = {a.machine: a for a in answers if isinstance(a, Placed)}
        shelves.assign(placed.values(), this.volumes, view)
        lack = len(placed) < len(able)
        asleep = _asleep(tx, zone, able, [found[ask.machine] for ask in able]) if lack else {}
        names = {host.id: host.name for host in view.hosts if host.id in asleep.values()}
        chosen.append(_Chosen(rows, sizes, answers, placed, shelves, asleep, names, kept))
    return chosen


def _asleep(
    tx: Tx, zone: ZoneId, asked: Iterable[PlacementAsk], answers: Iterable[Placed | Refused]
) -> dict[MachineId, HostId]:
    """Hosts that sleep or are being woken for those for which no other has room: as few hosts as will do."""
    left = [
        replace(ask, strategy=Strategy.PACK)
        for ask, answer in zip(asked, answers, strict=True)
        if isinstance(answer, Refused)
    ]
    hosts = [
        HostView(host.id, host.name, host.pod, host.free, host.limit, host.tags)
        for host in zone_views.look(tx, zone)[1].values()
        if host.refuses in placing.WAKABLE and "compute" in host.roles
    ]
    if not hosts:
        return {}
    view = ZoneView(sorted(hosts, key=lambda host: host.id))
    groups_of(view, placing.group_hosts(tx, {g.group for ask in left for g in ask.groups}))
    return {a.machine: a.host for a in choose(view, left) if isinstance(a, Placed)}


def _touched(this: _Round, rows: Iterable[MachineRow], chosen: Iterable[_Chosen]) -> set[HostId]:
    """All hosts that this round writes of. They are held at once and in order: several servers place at a time."""
    hosts = {row.host for row in rows if row.host}
    hosts |= {placed.host for each in chosen for placed in each.placed.values()}
    hosts |= {host for nics in this.nics.values() for nic in nics for host in nic.routers}
    leaving = {row.id for row in rows if row.state == MachineState.EXPUNGING}
    return hosts | {
        v.host
        for vs in this.volumes.values()
        for v in vs
        if v.host and (v.address or v.machine in leaving)
    }


def _place(tx: Tx, this: _Round, chosen: _Chosen) -> None:
    rows, sizes, answers, placed = chosen.rows, chosen.sizes, chosen.answers, chosen.placed
    lacking = take(tx, chosen.shelves, placed.values(), sizes)
    if lacking:  # others took the room since our snapshot: the next round looks anew
        nudge(tx, "machines")
    shared = {
        row.id: row.epoch for row in rows if any(v.shared for v in this.volumes.get(row.id, ()))
    }
    epochs = next_epochs(tx, shared) if shared else {}
    pools = attention.local_pools(tx, {a.host for a in placed.values()})
    adopted: list[tuple[PoolId, VolumeRow]] = []
    refused: list[tuple[MachineRow, CloudError]] = []
    came: list[MachineRow] = []
    turned_away: list[MachineRow] = []
    considered: dict[tuple[object, ...], str] = {}
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, Refused):
            why = {"reasons": answer.reasons, "hosts": answer.by_host}
            if row.id in chosen.awaited:
                waits = "waits for a host that is being woken"
                why = {"waiting": waits, "wakes": chosen.sleepers[chosen.awaited[row.id]], **why}
                this.change(row, state=row.state, host=None, why=msgspec.json.encode(why).decode())
                this.changes[-1]["attention"] = True
                continue
            if row.recovery:  # its host was lost; nobody waits for an answer, it waits for room
                waits = msgspec.json.encode({"waiting": answer.told(), **why}).decode()
                this.change(row, state=row.state, host=None, why=waits)
            else:
                refused.append((row, NoRoom(_told(row, answer), why=why)))
                if answer.for_room and not row.tries:
                    turned_away.append(row)
            continue
        if row.id in lacking:
            continue
        state = MACHINE.next(MachineState(row.state), MachineEvent.PLACE)
        told = row._replace(generation=row.generation + 1, giving_up=False)
        pool, disks = pools[answer.host], this.volumes.get(row.id, [])
        if row.id in epochs:
            told = told._replace(epoch=epochs[row.id], fenced=None)
            this.items += wishes.arrives(answer.host, pool, disks)
            adopted += chosen.shelves.adopted(row.id)
        this.tell(told, answer.host, pool)
        adopted += [(pool, disk) for disk in disks if not disk.pool]
        key = (answer.strategy, answer.considered, *sorted(answer.refused.items()))
        if key not in considered:
            considered[key] = wishes.why_placed(answer.strategy, answer.considered, answer.refused)
        this.change(told, state=state, host=answer.host, why=considered[key])
        came.append(row)
    chosen.kept.used(tx, came)
    anew = [row for row in came if row.tries or row.recovery]
    first = [row for row in came if not (row.tries or row.recovery)]
    idle_pool.note(tx, this.at, came=first, again=anew, refused=turned_away)
    attention.adopt_volumes(tx, adopted)
    endings.refuse(tx, refused, this.at)
    endings.step(tx, rows, placed, this.at)


def _told(row: MachineRow, answer: Refused) -> str:
    """Why it has no host, and of one that was tried on some, what failed there."""
    failed = _why.decode(row.why or "{}").get("failed") if row.tries else None
    return f"{answer.told()}; where it was tried last: {failed}" if failed else answer.told()


def take(
    tx: Tx, shelves: Shelves, placed: Iterable[Placed], sizes: Mapping[MachineId, Size]
) -> frozenset[MachineId]:
    """Reserve what was chosen, on hosts and in shared pools. Those that did not get all of it have nothing."""
    able = [each for each in placed if each.machine not in shelves.homeless]
    needs = [(each.machine, (each.host, sizes[each.machine], 1)) for each in able]
    needs += [(each.machine, more) for each in able for more in shelves.needs(each.machine)]
    full = reservations.take(tx, _sums(need for _, need in needs))
    failed = {machine for machine, need in needs if need[0] in full}
    back = [need for machine, need in needs if machine in failed and need[0] not in full]
    reservations.give(tx, back)
    return shelves.homeless | failed


def asks(
    tx: Tx,
    volumes_of: Mapping[MachineId, list[VolumeRow]],
    rows: Sequence[MachineRow],
    shelves: Shelves,
) -> tuple[list[PlacementAsk], dict[MachineId, Size]]:
    """What each machine needs. Its disks count only until they have a pool: then their room is taken already."""
    member_of = placing.memberships(tx, [row.id for row in rows])
    asked, sizes = [], {}
    decoded: dict[str, Placement] = {}
    for row in rows:
        if row.placement not in decoded:
            decoded[row.placement] = _placement.decode(row.placement)
        wish = decoded[row.placement]
        volumes = volumes_of.get(row.id, [])
        disk = sum(volume.mib for volume in volumes if not volume.pool and not volume.shared)
        sizes[row.id] = Size(row.cpus, row.cpu_mhz, row.memory_mib, disk)
        asked.append(
            PlacementAsk(
                machine=row.id,
                size=sizes[row.id],
                tags=wish.all_tags,
                strategy=wish.strategy,
                groups=tuple(
                    GroupAsk(g.group, GroupRule(g.rule), g.strict)
                    for g in member_of.get(row.id, ())
                ),
                only=next((v.host for v in volumes if v.host and not v.shared), None),
                reach=shelves.reach(volumes),
                mounted=shelves.mounted(volumes),
                avoid=_avoid(row),
            )
        )
    return asked, sizes


def _avoid(row: MachineRow) -> frozenset[HostId]:
    """Hosts that could not start it."""
    if not row.tries:
        return frozenset()
    hosts = _why.decode(row.why).get("avoid", [])
    return frozenset(hosts) if isinstance(hosts, list) else frozenset()


def snapshot(tx: Tx, zone: ZoneId, asks: Iterable[PlacementAsk]) -> ZoneView:
    """The zone's compute hosts as they are in this transaction, and where the asks' groups have members."""
    view, _ = zone_views.look(tx, zone)
    named = {group.group for ask in asks for group in ask.groups}
    if named:
        placing.hold_groups(tx, named)
        groups_of(view, placing.group_hosts(tx, named))
    return view


def _sums(needs: Iterable[tuple[HostId, Size, int]]) -> dict[HostId, tuple[Size, int]]:
    sums: dict[HostId, tuple[Size, int]] = {}
    for host, size, machines in needs:
        before, count = sums.get(host, (Size(), 0))
        sums[host] = (before + size, count + machines)
    return sums


def _expunge(tx: Tx, this: _Round, rows: list[MachineRow]) -> None:
    """Have their disks erased; those that have none anywhere are gone now."""
    items, erasing, gone = [], [], []
    for row in rows:
        disks = [v for v in this.volumes.get(row.id, ()) if not v.stays]
        held = [v for v in disks if v.pool and v.host]
        items += [wishes.scrap(v, v.host, v.pool) for v in held if v.pool and v.host]
        erasing += [v.id for v in held]
        if not held:
            gone.append(row)
    attention.mark_erasing(tx, erasing)
    manifests.put(tx, items)
    waiting = {row.id for row in gone}
    attention.change_machines(
        tx,
        ("attention",),
        [{"id": row.id, "attention": False} for row in rows if row.id not in waiting],
    )
    endings.gone(tx, gone, this.at)
