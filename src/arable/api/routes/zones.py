"""Zones over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import zones
from arable.wire.zones import VlanRange, VniRange, ZoneChange, ZoneIn, ZoneQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/zones",
        does=zones.page,
        permission=Permission.CATALOGUE_READ,
        writes=False,
        query=ZoneQuery,
        summary="List zones",
    ),
    Op(
        method="POST",
        path="/v1/zones",
        does=zones.create,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=ZoneIn,
        status=201,
        summary="Create a zone",
        example={"name": "east", "vlans": {"first": 100, "last": 999}},
    ),
    Op(
        method="GET",
        path="/v1/zones/{zone}",
        does=zones.get,
        permission=Permission.CATALOGUE_READ,
        writes=False,
        summary="Show a zone",
    ),
    Op(
        method="PATCH",
        path="/v1/zones/{zone}",
        does=zones.update,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=ZoneChange,
        summary="Change a zone",
        example={"enabled": False},
    ),
    Op(
        method="DELETE",
        path="/v1/zones/{zone}",
        does=zones.delete,
        permission=Permission.INFRA_WRITE,
        writes=True,
        status=204,
        summary="Delete an empty zone",
    ),
    Op(
        method="POST",
        path="/v1/zones/{zone}/vlans",
        does=zones.add_vlans,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=VlanRange,
        summary="Add guest VLANs to a zone",
        example={"first": 2000, "last": 2999},
    ),
    Op(
        method="POST",
        path="/v1/zones/{zone}/vnis",
        does=zones.add_vnis,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=VniRange,
        summary="Add VNIs to a zone whose guest networks are in VXLAN",
        example={"first": 20000, "last": 29999},
    ),
    Op(
        method="GET",
        path="/v1/zones/{zone}/capacity",
        does=zones.capacity_of,
        permission=Permission.INFRA_READ,
        writes=False,
        name="zones.capacity",
        summary="Sum up a zone's capacity",
        about="What the zone has, what is reserved, what is free, and what of that belongs to no farm (idle).",
    ),
)
