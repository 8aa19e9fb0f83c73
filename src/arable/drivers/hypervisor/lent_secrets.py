"""Secrets of disks, for as long as libvirt needs them.

It hands one on to QEMU when a guest starts or gets a disk, sealed, and has no use for it later. So it knows it only
meanwhile, in memory, and gives it back to nobody.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt

from arable.drivers.hypervisor.protocol import GuestDisk, IscsiSource


@contextmanager
def lent(conn: libvirt.virConnect, disks: Iterable[GuestDisk]) -> Iterator[None]:
    """Libvirt knows the secrets of these."""
    known: list[libvirt.virSecret] = []
    try:
        known.extend(_lend(conn, disk.iscsi) for disk in disks if disk.iscsi)
        yield
    finally:
        for one in known:
            with suppress(libvirt.libvirtError):  # gone already, as after libvirtd was started anew
                one.undefine()


def _lend(conn: libvirt.virConnect, source: IscsiSource) -> libvirt.virSecret:
    with suppress(libvirt.libvirtError):  # of one who was stopped in between
        conn.secretLookupByUsage(libvirt.VIR_SECRET_USAGE_TYPE_ISCSI, source.target).undefine()
    wanted = Element("secret", ephemeral="yes", private="yes")
    usage = SubElement(wanted, "usage", type="iscsi")
    SubElement(usage, "target").text = source.target
    made = conn.secretDefineXML(tostring(wanted, encoding="unicode"))
    made.setValue(source.secret.reveal().encode())
    return made
