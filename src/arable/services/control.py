"""The management servers themselves: what an operator may ask of them."""

from datetime import datetime, timedelta

from arable.domain.access import Permission
from arable.domain.segment import NOBODY, Mastership, Segment, SegmentState, Suspicion
from arable.services.call import Call
from arable.store import elections, holdings, leases, segments
from arable.wire.control import ControlOut, ElectionOut, FarmsOut, MasterOut, ServerOut

_SILENT = timedelta(
    seconds=20
)  # without a heartbeat; for showing only: by then the master has said it is gone


def status(call: Call) -> ControlOut:
    """Who is master, who is there, who holds how much, and the last elections."""
    call.caller.needs(Permission.INFRA_READ)
    now = leases.now(call.tx, call.around.clock.now())
    lease = elections.mastership(call.tx)
    counts = holdings.counts(call.tx)
    return ControlOut(
        master=_master(lease, elections.suspicions(call.tx), now),
        servers=tuple(_server(each, lease, now) for each in segments.page(call.tx)),
        farms=FarmsOut(total=counts.total, unheld=counts.unheld, unconfirmed=counts.unconfirmed),
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


def _master(lease: Mastership, said: tuple[Suspicion, ...], now: datetime) -> MasterOut:
    return MasterOut(
        server=lease.holder or None,
        epoch=lease.epoch,
        since=lease.since if lease.holder else None,
        acting=lease.holder != NOBODY and now < lease.until,
        suspected_by=tuple(each.by for each in said if each.epoch == lease.epoch),
    )


def _server(segment: Segment, lease: Mastership, now: datetime) -> ServerOut:
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
        asked=segment.asked,
        answer=segment.told,
    )
