"""IPv6 of a guest network, as its router has it: typed values, checked once."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from arable.appliance.values import to_network
from arable.domain.errors import BadInput
from arable.domain.manifest import Ipv6Net

_LEAST_MTU = 1280  # of RFC 8200


@dataclass(frozen=True, slots=True, kw_only=True)
class Six:
    """The /64 of the guests, the router's address in it, and who leads on to the world, if it leads there."""

    cidr: IPv6Network
    gateway: IPv6Address
    upstream: IPv6Address | None


def six(asked: Ipv6Net, *, has_way_out: bool, mtu: int) -> Six:
    """The wish as typed values. Raises `BadInput` naming the field that can't be."""
    try:
        cidr = IPv6Network(asked.cidr)
    except ValueError:
        raise BadInput(f"{asked.cidr!r} is no IPv6 network", field="ipv6.cidr") from None
    if cidr.prefixlen != 64:
        raise BadInput("a guest network has a /64", field="ipv6.cidr")
    gateway = to_address6(asked.gateway, "ipv6.gateway")
    if gateway != cidr.network_address + 1:
        raise BadInput(f"{gateway} is not the first address of {cidr}", field="ipv6.gateway")
    if mtu < _LEAST_MTU:
        raise BadInput(f"IPv6 needs an MTU of {_LEAST_MTU} at least", field="mtu")
    upstream = to_address6(asked.upstream, "ipv6.upstream") if asked.upstream else None
    if upstream is not None and (upstream in cidr or upstream.is_multicast):
        raise BadInput(f"{upstream} can't be outside", field="ipv6.upstream")
    return Six(cidr=cidr, gateway=gateway, upstream=upstream if has_way_out else None)


def to_address6(text: str, field: str) -> IPv6Address:
    """An address without a zone; raises `BadInput`."""
    try:
        found = IPv6Address(text)
    except ValueError:
        raise BadInput(f"{text!r} is no IPv6 address", field=field) from None
    if found.scope_id is not None or found.is_unspecified:
        raise BadInput(f"{text!r} is no IPv6 address", field=field)
    return found


def machine_in(of: Six | None, text: str, field: str) -> IPv6Address | None:
    """An address that a machine of the network may have; None when it has none. Raises `BadInput`."""
    if not text or of is None:
        return None  # it may be told of its network's IPv6 a moment before the router is
    found = to_address6(text, field)
    if found not in of.cidr or found in (of.gateway, of.cidr.network_address):
        raise BadInput(f"{found} is no address for a machine in {of.cidr}", field=field)
    return found


def either_network(text: str, field: str) -> IPv4Network | IPv6Network:
    """A network of either family; raises `BadInput`."""
    if ":" not in text:
        return to_network(text, field)
    try:
        return IPv6Network(text)
    except ValueError:
        raise BadInput(f"{text!r} is no IPv6 network", field=field) from None
