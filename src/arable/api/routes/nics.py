"""Machines' ports over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import nics
from arable.wire.nics import AttachIn, DetachNicQuery, NicChange, NicQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/nics",
        does=nics.page,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="List machines' ports",
        query=NicQuery,
    ),
    Op(
        method="POST",
        path="/v1/nics",
        does=nics.attach,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        summary="Attach a machine to a network",
        takes=AttachIn,
        status=202,
        name="nics.attach",
        about="Also while it runs: the guest sees a new network card, and asks DHCP for the address if it is set up to. How many a machine may have says the setting `machine_nics`.",
        example={"machine": "machine-0mh5z1x2k3q8w7e6r5t4", "network": "back"},
    ),
    Op(
        method="GET",
        path="/v1/nics/{nic}",
        does=nics.get,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="Show a machine's port",
    ),
    Op(
        method="PATCH",
        path="/v1/nics/{nic}",
        does=nics.update,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        summary="Change a machine's port",
        takes=NicChange,
        status=202,
        conditions=False,
        about="Another address, or the machine's way out. What DHCP tells a guest that runs it learns when it asks again: by itself after hours, at once when it is rebooted.",
        example={"address": "10.1.1.20"},
    ),
    Op(
        method="DELETE",
        path="/v1/nics/{nic}",
        does=nics.detach,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        summary="Detach a machine from a network",
        status=202,
        conditions=False,
        name="nics.detach",
        query=DetachNicQuery,
        about="Also while it runs, if its guest lets go of it. Not the port by which it finds its way out, nor one to which rules lead; the port that it booted with only while it is stopped. Address and MAC are free when the operation is done; it tells if the guest does not let go. `force` restarts the machine without the port.",
    ),
)
