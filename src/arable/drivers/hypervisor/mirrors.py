"""Disks of guests under libvirt that go to other places while the guest runs: by QEMU's mirror, asked of libvirt.

A disk is copied while the guest writes, and what it writes goes to both places before it is told that it is written: so
when all is copied, both are the same at any moment. Nothing is kept but in libvirt, which knows of each disk where it is
and where it is being mirrored to; whoever comes back finds it there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from xml.etree.ElementTree import Element, fromstring, tostring

import libvirt

from arable.domain.errors import NotFound, Unavailable
from arable.drivers.hypervisor import domain_xml, lent_secrets
from arable.drivers.hypervisor.protocol import GuestDisk, Mirror, MirrorState, together

_FLAGS = (
    libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT  # there is a disk of that size
    | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB  # the guest's definition is written anew when it is over
    | libvirt.VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES
)
_NO_JOB = frozenset([libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_OPERATION_INVALID])


def mirror(domain: libvirt.virDomain, disks: Sequence[GuestDisk], bytes_per_second: int) -> None:
    """Begin with each that is not begun."""
    each = bytes_per_second // max(1, len(disks))
    for disk, there in _pairs(domain, disks):
        if _is_at(there.find("source"), disk) or there.find("mirror") is not None:
            continue
        limits = {libvirt.VIR_DOMAIN_BLOCK_COPY_BANDWIDTH: max(1, each)} if each else {}
        made = tostring(domain_xml.copy_of(disk), encoding="unicode")
        with lent_secrets.lent(domain.connect(), [disk]), _told(domain):
            domain.blockCopy(_name(there), made, limits, _FLAGS)


def mirrored(domain: libvirt.virDomain, disks: Sequence[GuestDisk], *, still: bool) -> Mirror:
    """What libvirt knows of each, taken together."""
    copied = left = 0
    states = set()
    for disk, there in _pairs(domain, disks):
        going = there.find("mirror")
        if _is_at(there.find("source"), disk):
            states.add(MirrorState.THERE)
            continue
        if going is None or not _is_at(going.find("source"), disk):
            states.add(MirrorState.NONE)
            continue
        seen = domain.blockJobInfo(_name(there), 0) or {}
        copied += seen.get("cur", 0)
        left += seen.get("end", 0) - seen.get("cur", 0)
        whole = going.get("ready") == "yes" and seen and seen["cur"] == seen["end"]
        states.add(MirrorState.READY if whole else MirrorState.COPYING)
    return Mirror(state=together(states), copied_bytes=copied, left_bytes=left, still=still)


def mirroring(domain: libvirt.virDomain) -> bool:
    """Whether any disk of it is being mirrored."""
    found = fromstring(domain.XMLDesc(0))  # noqa: S314 - from libvirt
    return found.find("devices/disk/mirror") is not None


def pivot(domain: libvirt.virDomain, disks: Sequence[GuestDisk]) -> None:
    """All that are not there yet."""
    for disk, there in _pairs(domain, disks):
        if not _is_at(there.find("source"), disk):
            with _told(domain):
                domain.blockJobAbort(_name(there), libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)


def unmirror(domain: libvirt.virDomain, disks: Sequence[GuestDisk]) -> None:
    """None of them is on its way any more."""
    for _disk, there in _pairs(domain, disks):
        if there.find("mirror") is None:
            continue
        try:
            domain.blockJobAbort(_name(there), 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _NO_JOB:
                raise


def _pairs(
    domain: libvirt.virDomain, disks: Sequence[GuestDisk]
) -> Iterator[tuple[GuestDisk, Element]]:
    found = fromstring(domain.XMLDesc(0))  # noqa: S314 - from libvirt
    there = {disk.findtext("serial", ""): disk for disk in found.iterfind("devices/disk")}
    for disk in disks:
        if disk.serial not in there:
            raise NotFound(f"{domain.name()} has no disk {disk.serial}")
        yield disk, there[disk.serial]


def _is_at(source: Element | None, disk: GuestDisk) -> bool:
    host = None if source is None else source.find("host")
    wanted = domain_xml.copy_of(disk).find("source")
    there = None if wanted is None else wanted.find("host")
    if source is None or host is None or wanted is None or there is None:
        return False
    same = all(source.get(name) == wanted.get(name) for name in ("protocol", "name"))
    return same and all(host.get(name) == there.get(name) for name in ("name", "port"))


def _name(disk: Element) -> str:
    target = disk.find("target")
    assert target is not None, "every disk is called something"
    return target.get("dev", "")


@contextmanager
def _told(domain: libvirt.virDomain) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        told = f"QEMU did not mirror a disk of {domain.name()}"
        raise Unavailable(told, detail=str(error)) from error
