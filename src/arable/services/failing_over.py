"""Bringing a pool's volumes back from their replicas, when its host is lost: an operator's business (docs/decisions/0051).

It happens by itself when the host is down and its power was seen to be off. Here an operator learns what would become of
what, and may say that the host has no power where nobody can see that.
"""

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.host import Host, HostState
from arable.domain.ids import AccountId, PoolId
from arable.services.asks import begin, check_expected, under_way
from arable.services.call import Call
from arable.services.operations import shown
from arable.store import fail_overs, hosts, pools
from arable.store.nudges import nudge
from arable.wire.operations import OperationOut
from arable.wire.pools import FailOverIn, FailOverPlanOut, FailOverStaysOut

_SHOWN = 100


def plan(call: Call, pool: PoolId) -> FailOverPlanOut:
    """What would be brought back, as of when, and what would not; nothing is done."""
    call.caller.needs(Permission.INFRA_READ)
    found = pools.get(call.tx, pool)
    host = hosts.get(call.tx, found.host) if found.host else None
    groups = fail_overs.groups(call.tx, pool, fail_overs.machines_of(call.tx, pool))
    able, left = [g for g in groups if not g.why], [g for g in groups if g.why]
    points = [group.since for group in able if group.since]
    return FailOverPlanOut(
        pool=pool,
        waits="" if host is None else _waits(host),
        machines=sum(group.machine is not None for group in able),
        volumes=sum(len(group.replicas) for group in able),
        oldest_at=min(points, default=None),
        left=len(left),
        stays=tuple(
            FailOverStaysOut(
                machine=group.machine,
                volumes=tuple(row.volume for row in group.replicas),
                why=group.why,
            )
            for group in left[:_SHOWN]
        ),
    )


def fail_over(call: Call, pool: PoolId, ask: FailOverIn) -> OperationOut:
    """Done when what can be is where its replicas are."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = pools.get(call.tx, pool, lock=True)
    check_expected(call, found.generation, "pool")
    if found.fail_over:
        return shown(under_way(call, found.fail_over))
    host = hosts.get(call.tx, found.host) if found.host else None
    if host is None:
        raise Conflict("there is no host of this pool any more")
    if host.state is not HostState.DOWN:
        raise Conflict(
            f"{host.name}, whose pool it is, is {host.state}, and may be serving these volumes: only when it is down they"
            f" can be brought back elsewhere (`arable host declare-down {host.name}` when you know that it is)"
        )
    if not host.powered_off and not ask.without_power:
        raise Conflict(
            f"nobody has seen that {host.name} is without power, and while it has some, hosts that management can't reach may"
            " write to these volumes there. Have its power cut (`arable host power-off`), or pull its plug and say"
            " so (`--without-power`)",
            field="without_power",
        )
    operation = begin(call, "pool.fail-over", pool, AccountId(""), done=False)
    fail_overs.begin(call.tx, pool, operation.id)
    nudge(call.tx, fail_overs.TOPIC)
    return shown(operation)


def _waits(host: Host) -> str:
    """Why it does not happen by itself just now."""
    if host.state is not HostState.DOWN:
        return f"{host.name} is {host.state}"
    if not host.powered_off:
        return f"nobody has seen that {host.name} is without power"
    return f"{host.name} is in maintenance" if host.maintenance else ""
