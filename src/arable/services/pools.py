"""Storage pools: they come and go with their hosts, so an operator can only look."""

from arable.domain.access import Permission
from arable.domain.ids import HostId, PoolId, ZoneId
from arable.domain.pool import Pool
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import pools
from arable.store.pools import PoolFilter
from arable.wire.common import Page
from arable.wire.pools import PoolOut, PoolQuery


def page(call: Call, query: PoolQuery) -> Page[PoolOut]:
    """Pools by age."""
    call.caller.needs(Permission.INFRA_READ)
    where = PoolFilter(
        zone=ZoneId(query.zone) if query.zone else None,
        host=HostId(query.host) if query.host else None,
    )
    found = pools.page(call.tx, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, _out)


def get(call: Call, pool: PoolId) -> PoolOut:
    """One pool."""
    call.caller.needs(Permission.INFRA_READ)
    return _out(pools.get(call.tx, pool))


def _out(pool: Pool) -> PoolOut:
    return PoolOut(
        id=pool.id,
        name=pool.name,
        kind=pool.kind,
        zone=pool.zone,
        host=pool.host,
        address=pool.address,
        total_mib=pool.total_mib,
        used_mib=pool.used_mib,
        generation=pool.generation,
        created_at=pool.created_at,
    )
