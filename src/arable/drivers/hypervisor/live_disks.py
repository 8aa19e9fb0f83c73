"""Disks that come and go while a guest runs, and grow: what it has is made like what it should have, disk by disk.

To come and go, only further disks are looked at, those on the guest's SCSI bus (`domain_xml.further_disk`); the others are there from
its start to its end. A disk is known by its serial. One whose source is another one than wanted (its storage host serves
it anew, under another name) goes and comes again. Whatever fails is left for the next time somebody says `ensure`.
"""

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, fromstring, tostring

import libvirt

from arable.domain.errors import NotFound, Unavailable
from arable.drivers.hypervisor import domain_xml, lent_secrets, qemu
from arable.drivers.hypervisor.protocol import GuestDisk
from arable.runtime.clock import Clock

_GONE = frozenset([libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_INVALID_ARG])
_LIMITS = {
    libvirt.VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC: "total_bytes_sec",
    libvirt.VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC: "total_iops_sec",
}


def adjust(domain: libvirt.virDomain, disks: Sequence[GuestDisk]) -> None:
    """It has these further disks, and no other. Raises `Unavailable` while it has not let go of one."""
    wanted = {disk.serial: disk for disk in disks if disk.position}
    there = _there(domain)
    for serial, element in there.items():
        disk = wanted.get(serial)
        if disk is None or _source(element) != _source(domain_xml.further_disk(disk)):
            _unplug(domain, element)
    left = _there(domain)
    for serial, disk in wanted.items():
        if serial not in left:
            _plug(domain, disk)
    if clung := left.keys() - wanted.keys():
        raise Unavailable(f"the guest does not let go of its disk {min(clung)}")


def fit(domain: libvirt.virDomain, disks: Sequence[GuestDisk], clock: Clock) -> None:
    """Each of these disks is as fast in the guest as is said, and at least as large. Raises `Unavailable` while one is not.

    A file grows by this. One that is served to us has grown where it is, which QEMU learns by connecting anew.
    """
    there = _disks(domain)
    found = [
        (disk, there[disk.serial]) for disk in disks if disk.serial in there and not disk.read_only
    ]
    for disk, element in found:
        _limit(domain, element, disk)
    for disk, element in found:
        name = _name(element)
        if domain.blockInfo(name)[0] >= disk.bytes:
            continue
        if disk.is_far:
            qemu.reconnect(domain, clock)
        try:
            domain.blockResize(name, disk.bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        except libvirt.libvirtError as error:
            why = "its storage host has not grown it yet" if disk.is_far else "QEMU refused"
            told = f"disk {disk.serial} can't grow: {why}"
            raise Unavailable(told, detail=str(error)) from error


def snapshot(domain: libvirt.virDomain, serial: str, name: str, *, drop: bool) -> None:
    """The disk, a file, keeps what is on it now under that name, or no more. Raises `NotFound`, `Unavailable`."""
    element = _disks(domain).get(serial)
    path = _source(element)[0] if element is not None else None
    if not path:
        raise NotFound(f"{domain.name()} has no file as its disk {serial}")
    qemu.snapshot(domain, path, name, drop=drop)


def _there(domain: libvirt.virDomain) -> Mapping[str, Element]:
    """The further disks of a running guest, by serial."""
    return {serial: disk for serial, disk in _disks(domain).items() if _is_further(disk)}


def _is_further(disk: Element) -> bool:
    target = disk.find("target")
    return target is not None and target.get("bus") == "scsi"


def _disks(domain: libvirt.virDomain) -> Mapping[str, Element]:
    """All disks of a running guest, by serial."""
    found = fromstring(domain.XMLDesc(0))  # noqa: S314 - from libvirt
    return {disk.findtext("serial", ""): disk for disk in found.iterfind("devices/disk")}


def _source(disk: Element) -> tuple[str | None, ...]:
    source = disk.find("source")
    assert source is not None, "every disk is somewhere"
    host = source.find("host")
    at = (None, None) if host is None else (host.get("name"), host.get("port"))
    return (source.get("file"), source.get("name"), *at)


def _plug(domain: libvirt.virDomain, disk: GuestDisk) -> None:
    made = tostring(domain_xml.further_disk(disk), encoding="unicode")
    with lent_secrets.lent(domain.connect(), [disk]):
        domain.attachDeviceFlags(made, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _unplug(domain: libvirt.virDomain, disk: Element) -> None:
    try:
        domain.detachDeviceFlags(tostring(disk, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise


def _limit(domain: libvirt.virDomain, there: Element, disk: GuestDisk) -> None:
    """As many operations and bytes a second as the disk may have now."""
    wanted = {"total_bytes_sec": disk.bytes_per_second, "total_iops_sec": disk.iops}
    now = {name: int(there.findtext(f"iotune/{name}", "0")) for name in wanted}
    if now == wanted:
        return
    limits = {parameter: wanted[name] for parameter, name in _LIMITS.items()}
    domain.setBlockIoTune(_name(there), limits, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _name(disk: Element) -> str:
    target = disk.find("target")
    assert target is not None, "every disk is called something"
    return target.get("dev", "")
