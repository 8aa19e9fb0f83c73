"""Offerings and disk offerings: operators make them, everybody may choose among the enabled ones."""

from typing import Any

import msgspec

from arable.domain.access import Permission
from arable.domain.errors import BadInput, NotFound
from arable.domain.ids import DiskOfferingId, OfferingId
from arable.domain.offering import DiskOffering, Offering, StorageKind
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import offerings
from arable.store.offerings import OfferingFilter
from arable.wire.common import Page
from arable.wire.offerings import (
    DiskOfferingChange,
    DiskOfferingIn,
    DiskOfferingOut,
    OfferingChange,
    OfferingIn,
    OfferingOut,
    OfferingQuery,
)


def create(call: Call, ask: OfferingIn) -> OfferingOut:
    """A new size of machines."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    if ask.highly_available and ask.storage != "shared":
        raise BadInput(
            "a machine with local disks can't leave its host: highly available takes `storage: shared`",
            field="highly_available",
        )
    _check_replicated(ask)
    said = msgspec.structs.asdict(ask) | _own_types(ask)
    offering = Offering(
        id=OfferingId(call.around.ids.new("offering")),
        created_at=call.around.clock.now(),
        **said,
    )
    offerings.add(call.tx, offering)
    return _out(offering)


def page(call: Call, query: OfferingQuery) -> Page[OfferingOut]:
    """Offerings by age."""
    call.caller.needs(Permission.CATALOGUE_READ)
    found = offerings.page(call.tx, _where(call, query), after=query.after, limit=query.limit + 1)
    return paged(found, query, _out)


def get(call: Call, offering: OfferingId) -> OfferingOut:
    """One offering."""
    call.caller.needs(Permission.CATALOGUE_READ)
    found = offerings.get(call.tx, offering)
    _check_shown(call, found.enabled, offerings.WHAT)
    return _out(found)


def update(call: Call, offering: OfferingId, ask: OfferingChange) -> OfferingOut:
    """What is said is changed; sizes never are."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    before = offerings.get(call.tx, offering, lock=True)
    check_expected(call, before.generation, "offering")
    after = before.changed(**msgspec.to_builtins(ask))
    if after.name != before.name:
        offerings.check_name(call.tx, after.name)
    offerings.save(call.tx, after)
    return _out(after)


def delete(call: Call, offering: OfferingId) -> None:
    """Only when no machine was made of it."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    found = offerings.get(call.tx, offering, lock=True)
    check_expected(call, found.generation, "offering")
    offerings.remove(call.tx, found)


def create_disk(call: Call, ask: DiskOfferingIn) -> DiskOfferingOut:
    """A new kind of further disks."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    _check_replicated(ask)
    said = msgspec.structs.asdict(ask) | _own_types(ask)
    offering = DiskOffering(
        id=DiskOfferingId(call.around.ids.new("diskoffering")),
        created_at=call.around.clock.now(),
        **said,
    )
    offerings.add_disk(call.tx, offering)
    return _disk_out(offering)


def page_disks(call: Call, query: OfferingQuery) -> Page[DiskOfferingOut]:
    """Disk offerings by age."""
    call.caller.needs(Permission.CATALOGUE_READ)
    found = offerings.page_disks(
        call.tx, _where(call, query), after=query.after, limit=query.limit + 1
    )
    return paged(found, query, _disk_out)


def get_disk(call: Call, offering: DiskOfferingId) -> DiskOfferingOut:
    """One disk offering."""
    call.caller.needs(Permission.CATALOGUE_READ)
    found = offerings.get_disk(call.tx, offering)
    _check_shown(call, found.enabled, offerings.DISK)
    return _disk_out(found)


def update_disk(call: Call, offering: DiskOfferingId, ask: DiskOfferingChange) -> DiskOfferingOut:
    """What is said is changed; sizes never are."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    before = offerings.get_disk(call.tx, offering, lock=True)
    check_expected(call, before.generation, "disk offering")
    after = before.changed(**msgspec.to_builtins(ask))
    if after.name != before.name:
        offerings.check_disk_name(call.tx, after.name)
    offerings.save_disk(call.tx, after)
    return _disk_out(after)


def delete_disk(call: Call, offering: DiskOfferingId) -> None:
    """Volumes that were made of it took over what they need."""
    call.caller.needs(Permission.CATALOGUE_WRITE)
    found = offerings.get_disk(call.tx, offering, lock=True)
    check_expected(call, found.generation, "disk offering")
    offerings.remove_disk(call.tx, found)


def _check_replicated(ask: OfferingIn | DiskOfferingIn) -> None:
    if ask.replicated and ask.storage != "shared":
        raise BadInput(
            "a local disk is on its machine's host alone: replicated takes `storage: shared`",
            field="replicated",
        )


def _own_types(ask: OfferingIn | DiskOfferingIn) -> dict[str, Any]:
    return {"tags": tuple(sorted(set(ask.tags))), "storage": StorageKind(ask.storage)}


def _where(call: Call, query: OfferingQuery) -> OfferingFilter:
    """Only those who could enable a disabled one get to see it."""
    writes = Permission.CATALOGUE_WRITE in call.caller.permissions
    return OfferingFilter(name=query.name, enabled=query.enabled, disabled=writes)


def _check_shown(call: Call, enabled: bool, what: str) -> None:
    if not enabled and Permission.CATALOGUE_WRITE not in call.caller.permissions:
        raise NotFound(f"there is no such {what}")


def _out(offering: Offering) -> OfferingOut:
    return OfferingOut(
        id=offering.id,
        name=offering.name,
        cpus=offering.cpus,
        cpu_mhz=offering.cpu_mhz,
        memory_mib=offering.memory_mib,
        root_mib=offering.root_mib,
        network_kbps=offering.network_kbps,
        disk_iops=offering.disk_iops,
        disk_bytes_per_second=offering.disk_bytes_per_second,
        tags=offering.tags,
        storage=offering.storage.value,
        highly_available=offering.highly_available,
        replicated=offering.replicated,
        price_class=offering.price_class,
        enabled=offering.enabled,
        generation=offering.generation,
        created_at=offering.created_at,
    )


def _disk_out(offering: DiskOffering) -> DiskOfferingOut:
    return DiskOfferingOut(
        id=offering.id,
        name=offering.name,
        mib=offering.mib,
        iops=offering.iops,
        bytes_per_second=offering.bytes_per_second,
        tags=offering.tags,
        storage=offering.storage.value,
        replicated=offering.replicated,
        enabled=offering.enabled,
        generation=offering.generation,
        created_at=offering.created_at,
    )
