"""What one may ask of storage zones that farms share. A farm's own comes and goes with it."""

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId, StorageZoneId, ZoneId
from arable.domain.storage_zone import MOST, StorageZone
from arable.services.asks import tell
from arable.services.call import Call
from arable.services.pages import paged
from arable.services.references import References
from arable.store import quotas, storage_zones
from arable.store.storage_zones import Members
from arable.wire.common import Page
from arable.wire.storage_zones import StorageZoneIn, StorageZoneOut, StorageZoneQuery


def page(call: Call, query: StorageZoneQuery) -> Page[StorageZoneOut]:
    """Storage zones in sight, by age."""
    call.caller.needs(Permission.VOLUME_READ)
    where = storage_zones.StorageZoneFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        name=query.name or "",
    )
    found = storage_zones.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    members = storage_zones.members(call.tx, [each.id for each in found])
    return paged(found, query, lambda each: _shape(each, members[each.id]))


def get(call: Call, zone: StorageZoneId) -> StorageZoneOut:
    """One."""
    call.caller.needs(Permission.VOLUME_READ)
    found = storage_zones.get(call.tx, call.caller.scope, zone)
    return _shape(found, storage_zones.members(call.tx, [zone])[zone])


def create(call: Call, ask: StorageZoneIn) -> StorageZoneOut:
    """A new one, with nothing in it. Farms are made with it."""
    call.caller.needs(Permission.VOLUME_WRITE)
    account = call.caller.account
    zone = References(call.tx).zone(ask.zone)
    quotas.hold(call.tx, account)  # nobody else makes or deletes one of this account meanwhile
    if storage_zones.named(call.tx, account, zone.id, ask.name) is not None:
        raise Conflict(f"you have a storage zone named {ask.name} already", field="name")
    if storage_zones.count(call.tx, account, zone.id) >= MOST:
        raise Conflict(f"the account has {MOST} storage zones there already; delete one first")
    made = StorageZone(
        id=StorageZoneId(call.around.ids.new("storagezone")),
        account=account,
        zone=zone.id,
        name=ask.name,
        created_at=call.around.clock.now(),
    )
    storage_zones.add(call.tx, made)
    tell(call, account, "storagezone.created", made.id, f"{made.name}: created")
    return _shape(made, Members())


def delete(call: Call, zone: StorageZoneId) -> None:
    """One that no farm has, and in which nothing is."""
    call.caller.needs(Permission.VOLUME_WRITE)
    found = storage_zones.get(call.tx, call.caller.scope, zone)
    quotas.hold(call.tx, found.account)
    there = storage_zones.members(call.tx, [zone])[zone]
    if there.farms or there.volumes:
        raise Conflict(
            f"{there.farms} farms have {found.name}, and {there.volumes} volumes are in it;"
            " delete the farms, and take the volumes out (`arable volume update --storage-zone`), or delete them",
            why={"farms": there.farms, "volumes": there.volumes},
        )
    storage_zones.remove(call.tx, zone)
    tell(call, found.account, "storagezone.deleted", zone, f"{found.name}: deleted")


def _shape(zone: StorageZone, members: Members) -> StorageZoneOut:
    return StorageZoneOut(
        id=zone.id,
        account=zone.account,
        zone=zone.zone,
        name=zone.name,
        farms=members.farms,
        machines=members.machines,
        volumes=members.volumes,
        created_at=zone.created_at,
    )
