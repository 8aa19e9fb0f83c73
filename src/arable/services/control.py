"""The management servers themselves: what an operator may ask of them.

A server that is *drained* goes on answering, but others do its work: it is no master and holds no farm, its agents go to
others, and load balancers hear on `/readyz` that they should leave it. It is ready again when it is told so, or started
anew; so nobody has to remember what was drained for a restart.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from arable.domain.access import Permission
from arable.domain.errors import Conflict, NotFound
from arable.domain.event import Event
from arable.domain.ids import SegmentId
from arable.domain.segment import NOBODY, Mastership, Segment, SegmentState, Suspicion
from arable.services.call import Call
from arable.store import elections, events, holdings, hosts, leases, segments, troubles
from arable.store.database import Tx
from arable.wire.control import (
    ControlOut,
    ElectionOut,
    FailingFarmOut,
    FarmsOut,
    MasterOut,
    ServerChoice,
    ServerOut,
)

_SILENT = timedelta(
    seconds=20
)  # without a heartbeat; for showing only: by then the master has said it is gone
_FAILING = 100  # farms that are shown


def status(call: Call) -> ControlOut:
    """Who is master, who is there, who holds how much, and the last elections."""
    call.caller.needs(Permission.INFRA_READ)
    now = leases.now(call.tx, call.around.clock.now())
    lease = elections.mastership(call.tx)
    agents = hosts.by_server(call.tx)
    return ControlOut(
        master=_master(lease, elections.suspicions(call.tx), now),
        servers=tuple(_server(each, agents, lease, now) for each in segments.page(call.tx)),
        farms=_farms(call.tx),
        elections=tuple(
            ElectionOut(
                epoch=each.epoch,
                server=each.holder,
                at=each.at,
                cause=each.cause,
                agreed=each.agreed,
            )
            for each in elections.history(call.tx)
        ),
    )


def drain(call: Call, ask: ServerChoice) -> ServerOut:
    """Have others do its work, before it is stopped. Refused when there is no other one."""
    call.caller.needs(Permission.INFRA_WRITE)
    return _become(call, SegmentId(ask.server), SegmentState.DRAINING)


def undrain(call: Call, ask: ServerChoice) -> ServerOut:
    """It takes work again."""
    call.caller.needs(Permission.INFRA_WRITE)
    return _become(call, SegmentId(ask.server), SegmentState.READY)


def _become(call: Call, id_: SegmentId, state: SegmentState) -> ServerOut:
    now = leases.now(call.tx, call.around.clock.now())
    segments.hold(call.tx)
    servers = {each.id: each for each in segments.members(call.tx)}
    if id_ not in servers:
        raise NotFound("there is no such management server")
    able = (
        each.id != id_ and each.state is SegmentState.READY and now - each.heartbeat_at <= _SILENT
        for each in servers.values()
    )
    if state is SegmentState.DRAINING and not any(able):
        raise Conflict("there is no other management server that could do its work", field="server")
    before = servers[id_]
    segments.become(call.tx, id_, state)
    if before.state is not state:
        word = "is being drained" if state is SegmentState.DRAINING else "takes work again"
        text = f"the management server {id_} {word}"
        kind = f"segment.{state}"
        event = Event(at=call.around.clock.now(), account=None, kind=kind, subject=id_, text=text)
        events.add_many(call.tx, [event])
        holdings.wanting(call.tx)
    lease = elections.mastership(call.tx)
    after = next(each for each in segments.page(call.tx) if each.id == id_)
    return _server(after, hosts.by_server(call.tx), lease, now)


def _farms(tx: Tx) -> FarmsOut:
    counts = holdings.counts(tx)
    return FarmsOut(
        total=counts.total,
        unheld=counts.unheld,
        unconfirmed=counts.unconfirmed,
        failing=tuple(
            FailingFarmOut(
                farm=each.farm,
                name=each.name,
                server=each.server,
                tries=each.tries,
                since=each.since,
                tried_at=each.tried_at,
                told=each.told,
            )
            for each in troubles.every(tx, _FAILING)
        ),
    )


def _master(lease: Mastership, said: tuple[Suspicion, ...], now: datetime) -> MasterOut:
    return MasterOut(
        server=lease.holder or None,
        epoch=lease.epoch,
        since=lease.since if lease.holder else None,
        acting=lease.holder != NOBODY and now < lease.until,
        suspected_by=tuple(each.by for each in said if each.epoch == lease.epoch),
    )


def _server(
    segment: Segment, agents: Mapping[str, int], lease: Mastership, now: datetime
) -> ServerOut:
    silent = segment.state is not SegmentState.GONE and now - segment.heartbeat_at > _SILENT
    return ServerOut(
        name=segment.id,
        state="silent" if silent else segment.state,
        master=segment.id == lease.holder and now < lease.until,
        sequence=segment.seq,
        epoch=segment.epoch,
        address=segment.address,
        site=segment.site,
        version=segment.version,
        heartbeat_at=segment.heartbeat_at,
        cpu_percent=segment.load.cpu_percent,
        memory_mib=segment.load.memory_mib,
        lag_ms=segment.load.lag_ms,
        pending=segment.load.pending,
        farms=segment.farms,
        agents=agents.get(segment.id, 0),
        asked=segment.asked,
        answer=segment.told,
    )
