"""What an operator may know of a host's health, and say of it."""

from collections.abc import Iterator

import msgspec

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.event import Event
from arable.domain.host import HOST, HostEvent, HostState
from arable.domain.host_health import SightingKind, circles
from arable.domain.ids import HostId, PodId
from arable.domain.machine import MachineState, MachineWish
from arable.domain.move import MoveStage, immovable
from arable.domain.power import Bmc
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.store import bmcs, drains, events, hosts, moves, router_memory, sightings
from arable.store.nudges import nudge
from arable.wire.hosts import BmcOut, HostDetailOut, HostOut, SignalOut, StayingOut


def detail(call: Call, host: HostOut) -> HostDetailOut:
    """Who sees the host, and how its power is."""
    bmc = bmcs.find(call.tx, HostId(host.id))
    return HostDetailOut(
        **{name: getattr(host, name) for name in host.__struct_fields__},
        signals=tuple(_signals(call, host)),
        bmc=None if bmc is None else shown(bmc),
        staying=tuple(_staying(call, host)) if host.maintenance else (),
        routers_memory_mib=router_memory.by_host(call.tx, [HostId(host.id)]).get(
            HostId(host.id), 0
        ),
    )


def _staying(call: Call, host: HostOut) -> Iterator[StayingOut]:
    """The machines that are on a host in maintenance: those on their way, and why the others are not."""
    id_ = HostId(host.id)
    for one in drains.left(call.tx, [id_]).get(id_, ()):
        why, move = immovable(one.stores), one.move
        if why and host.maintenance_stops and one.ends():
            told = "is stopped, or replaced if it is of a farm"
            yield StayingOut(machine=one.id, name=one.name, leaves=True, told=told)
            continue
        running = one.state == MachineState.RUNNING and one.wish == MachineWish.RUNNING
        if why or not running:
            told = why or f"it is {one.state}, and should be {one.wish}"
        elif move is None:
            told = "is about to leave"
        elif move.stage == MoveStage.OVER:
            told = move.told or "is about to leave"
        else:
            told = f"{move.stage}{moves.memory(move)}"
        leaves = not why and running and (not move or move.stage != MoveStage.OVER)
        yield StayingOut(machine=one.id, name=one.name, leaves=leaves, told=told)


def shown(bmc: Bmc) -> BmcOut:
    """Without its password."""
    believed = "fingerprint" if bmc.fingerprint else "authority" if bmc.authority else "system"
    return msgspec.convert(
        {
            "driver": bmc.driver.value,
            "url": bmc.url,
            "user": bmc.user,
            "believed_by": believed,
            "fingerprint": bmc.fingerprint,
            "wanted": bmc.wanted,
            "fencing": bmc.fencing,
            "seen": bmc.seen,
            "seen_at": bmc.seen_at,
            "tries": bmc.tries,
            "told": bmc.told,
        },
        BmcOut,
    )


def declare_down(call: Call, host: HostId) -> None:
    """An operator has made sure that it is down: what waits for that goes on. Only for one that is not heard."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = hosts.get(call.tx, host, lock=True)
    check_expected(call, before.generation, "host")
    if before.state is HostState.DOWN:
        return
    if not HOST.allows(before.state, HostEvent.DECLARE):
        raise Conflict(
            f"the host is {before.state}: only one that is silent can be said to be down;"
            " put one that works into maintenance"
        )
    told = f"{call.caller.name} said so"
    hosts.change(
        call.tx,
        before,
        {
            "state": HOST.next(before.state, HostEvent.DECLARE),
            "told": f"{told}; before: {before.told}" if before.told else told,
            "held_back": False,
        },
    )
    event = Event(
        at=call.around.clock.now(),
        account=None,
        kind="host.down",
        subject=host,
        text=f"{before.name} is down: {told}",
    )
    events.add_many(call.tx, [event])
    for topic in ("hosts", "alerts", "machines"):
        nudge(call.tx, topic)


def _signals(call: Call, host: HostOut) -> list[SignalOut]:
    rows = {row.id: row for row in sightings.hosts(call.tx, [PodId(host.pod)])}
    id_ = HostId(host.id)
    said = sightings.of(call.tx, [id_])
    lost = {one.by: one.since for one in said if one.kind is SightingKind.LOST}
    found = [
        SignalOut(
            by="management",
            name=host.server or "management",
            kind="agent",
            sees=HostState(host.state) is HostState.UP,
            since=host.seen_at,
        )
    ]
    found += [
        SignalOut(
            by=asker.id,
            name=asker.name,
            kind="peer",
            sees=asker.id not in lost,
            since=lost.get(asker.id),
        )
        for asker, asked in circles(rows.values())
        if asked.id == id_
    ]
    storage = {one.by: one.since for one in said if one.kind is SightingKind.LEASES}
    names = {each.id: each.name for each in hosts.some(call.tx, storage).values()}
    found += [
        SignalOut(by=by, name=names[by], kind="storage", sees=True, since=since)
        for by, since in sorted(storage.items())
        if by in names
    ]
    return found
