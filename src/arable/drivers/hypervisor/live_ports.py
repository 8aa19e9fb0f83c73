"""Ports of a guest that runs: plugged in and pulled out without a restart.

A port is known by its MAC. Pulling one out takes the guest's consent: it is asked, and lets go when its kernel has;
libvirt waits some seconds for that. One that boots just then misses the question, so whoever wants it asks again.
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element, fromstring, tostring

import libvirt

from arable.domain.errors import Unavailable
from arable.drivers.hypervisor.domain_xml import interface
from arable.drivers.hypervisor.protocol import Guest

_ASKED_ALREADY = frozenset(
    [
        libvirt.VIR_ERR_OPERATION_FAILED,
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_INTERNAL_ERROR,
    ]
)


def adjust(domain: libvirt.virDomain, guest: Guest) -> None:
    """It has the ports that are given, and no other. Raises `Unavailable` while it does not let go of one."""
    wanted = {port.mac.lower(): port for port in guest.ports}
    there = _ports(domain)
    for mac in sorted(there.keys() - wanted.keys()):
        _pull(domain, mac, there[mac])
    for mac in wanted.keys() - there.keys():
        made = tostring(interface(wanted[mac]), encoding="unicode")
        domain.attachDeviceFlags(made, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _pull(domain: libvirt.virDomain, mac: str, found: Element) -> None:
    refusal = ""
    try:
        described = tostring(found, encoding="unicode")
        domain.detachDeviceFlags(described, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING:
            return
        if error.get_error_code() not in _ASKED_ALREADY:
            raise
        refusal = str(error)
    if mac in _ports(domain):
        raise Unavailable(f"the guest does not let go of its network card {mac}", detail=refusal)


def _ports(domain: libvirt.virDomain) -> Mapping[str, Element]:
    """Those of the running guest, by MAC."""
    described = fromstring(domain.XMLDesc(0))  # noqa: S314 - from libvirt
    found = {}
    for each in described.iterfind("./devices/interface"):
        mac = each.find("mac")
        if mac is not None:
            found[mac.attrib["address"].lower()] = each
    return found
