"""By which number a layer 2 is told from others: a VLAN (802.1Q), or a VXLAN network identifier (RFC 7348).

One number says which: VNIs that are no VLANs' numbers are used alone. So whatever is kept, told or reported of a VLAN is
of a VNI as well, in the same place.
"""

FIRST_VLAN, LAST_VLAN = 1, 4094
FIRST_VNI, LAST_VNI = 4096, (1 << 24) - 1

OVERHEAD = 50
"""Bytes that VXLAN takes of the underlay's MTU: outer IPv4, UDP, VXLAN's header, and the inner Ethernet's."""


def is_vlan(number: int) -> bool:
    """Whether it is a VLAN's."""
    return FIRST_VLAN <= number <= LAST_VLAN


def is_vni(number: int) -> bool:
    """Whether it is a VXLAN's."""
    return FIRST_VNI <= number <= LAST_VNI
