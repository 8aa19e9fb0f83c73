"""An operator says that a host will never come back; what that means for what it had is `controllers/removals.py`'s."""

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.event import Event
from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.pool import SHARED
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.hosts import shown
from arable.store import events, hosts, pools, removals
from arable.store.nudges import nudge
from arable.wire.hosts import HostOut


def remove_lost(call: Call, host: HostId) -> HostOut:
    """None of its certificates counts from now on: it can never report or connect again, whatever becomes of it."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = hosts.get(call.tx, host, lock=True)
    check_expected(call, before.generation, "host")
    if before.removing:
        return shown(before)
    if before.state not in (HostState.DOWN, HostState.JOINED):
        raise Conflict(
            f"the host is {before.state}: only one that is down, or was never heard, can be removed as lost"
        )
    if before.pool and pools.get(call.tx, before.pool).kind in SHARED:
        count = removals.keeps_for_others(call.tx, before.pool)
        if count:
            raise Conflict(
                f"machines of other hosts have {count} disks in its shared pool: expunge them first"
            )
    said = {"removing": True, "server": "", "told": f"{call.caller.name} said that it is gone"}
    hosts.change(call.tx, before, said)
    hosts.next_epoch(call.tx, before)
    event = Event(
        at=call.around.clock.now(),
        account=None,
        kind="host.removing",
        subject=host,
        text=f"{before.name} is gone for good, said {call.caller.name}",
    )
    events.add_many(call.tx, [event])
    for topic in ("hosts", "alerts"):
        nudge(call.tx, topic)
    return shown(hosts.get(call.tx, host))
