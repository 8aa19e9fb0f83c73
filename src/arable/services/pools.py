"""Storage pools: they come and go with their hosts; an operator looks at them, and says how much may be promised.

What is promised (`allocated_mib`) is the disk that is reserved on the pool's host, and its bound is that host's disk
over-commit: there is one of each, whether it is changed by way of the host or of the pool. What is in use is what the
host last measured. Disks are thin, so neither follows from the other.
"""

from collections.abc import Mapping

import msgspec

from arable.domain.access import Permission
from arable.domain.errors import Conflict, NotFound
from arable.domain.host import Host
from arable.domain.ids import HostId, PoolId, ZoneId
from arable.domain.pool import Pool, Thresholds, fill
from arable.domain.settings import (
    ALERT_POOL_CRITICAL_PERCENT,
    ALERT_POOL_PERCENT,
    POOL_FULL_PERCENT,
)
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import hosts, pools, settings
from arable.store.nudges import nudge
from arable.store.pools import PoolFilter
from arable.wire.common import Page
from arable.wire.pools import PoolChange, PoolOut, PoolQuery


def page(call: Call, query: PoolQuery) -> Page[PoolOut]:
    """Pools by age."""
    call.caller.needs(Permission.INFRA_READ)
    where = PoolFilter(
        zone=ZoneId(query.zone) if query.zone else None,
        host=HostId(query.host) if query.host else None,
    )
    found = pools.page(call.tx, where, after=query.after, limit=query.limit + 1)
    there = hosts.some(call.tx, {pool.host for pool in found if pool.host})
    at = _thresholds(call)
    return paged(found, query, lambda pool: _out(pool, there, at))


def get(call: Call, pool: PoolId) -> PoolOut:
    """One pool."""
    call.caller.needs(Permission.INFRA_READ)
    found = pools.get(call.tx, pool)
    there = hosts.some(call.tx, [found.host] if found.host else [])
    return _out(found, there, _thresholds(call))


def update(call: Call, pool: PoolId, ask: PoolChange) -> PoolOut:
    """How much may be promised; never less than is promised already (rule 2)."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = pools.get(call.tx, pool, lock=True)
    check_expected(call, before.generation, "pool")
    if before.host is None:
        raise NotFound("there is no host of this pool")
    host = hosts.get(call.tx, before.host, lock=True)
    said = msgspec.to_builtins(ask)
    after = host.changed(disk_percent=said.get("percent", host.disk_percent))
    if after.reserved_disk_mib > after.limit("disk_mib"):
        raise Conflict(
            f"{after.reserved_disk_mib} MiB are promised, and only {after.limit('disk_mib')} could be",
            field="percent",
        )
    if after.disk_percent != host.disk_percent:
        hosts.change(call.tx, host, {"disk_percent": after.disk_percent})
        before = pools.touch(call.tx, before)
        nudge(call.tx, "machines")  # some may wait for just this room
    return _out(before, {after.id: after}, _thresholds(call))


def _thresholds(call: Call) -> Thresholds:
    return Thresholds(
        warning=settings.get(call.tx, ALERT_POOL_PERCENT),
        critical=settings.get(call.tx, ALERT_POOL_CRITICAL_PERCENT),
        full=settings.get(call.tx, POOL_FULL_PERCENT),
    )


def _out(pool: Pool, there: Mapping[HostId, Host], at: Thresholds) -> PoolOut:
    host = there.get(pool.host) if pool.host else None
    return PoolOut(
        id=pool.id,
        name=pool.name,
        kind=pool.kind,
        zone=pool.zone,
        host=pool.host,
        address=pool.address,
        total_mib=pool.total_mib,
        used_mib=pool.used_mib,
        used_percent=pool.used_mib * 100 // pool.total_mib if pool.total_mib else 0,
        images=pool.images,
        image_mib=pool.image_mib,
        fill=fill(pool.total_mib, pool.used_mib, at).value,
        takes_disks=host is not None and not host.disk_full,
        percent=host.percent("disk_mib") if host else 0,
        reservable_mib=host.limit("disk_mib") if host else 0,
        allocated_mib=host.reserved("disk_mib") if host else 0,
        generation=pool.generation,
        created_at=pool.created_at,
    )
