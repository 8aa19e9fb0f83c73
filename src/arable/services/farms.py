"""What one may ask of farms."""

from arable.domain.access import Permission
from arable.domain.farm import Farm
from arable.domain.ids import AccountId, FarmId, ZoneId
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import farms
from arable.wire.common import Page
from arable.wire.farms import FarmOut, FarmQuery


def page(call: Call, query: FarmQuery) -> Page[FarmOut]:
    """Farms in sight, by age."""
    call.caller.needs(Permission.MACHINE_READ)
    where = farms.FarmFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        name=query.name or "",
    )
    found = farms.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, _shape)


def get(call: Call, farm: FarmId) -> FarmOut:
    """One."""
    call.caller.needs(Permission.MACHINE_READ)
    return _shape(farms.get(call.tx, call.caller.scope, farm))


def _shape(farm: Farm) -> FarmOut:
    return FarmOut(
        id=farm.id,
        account=farm.account,
        zone=farm.zone,
        name=farm.name,
        generation=farm.generation,
        created_at=farm.created_at,
    )
