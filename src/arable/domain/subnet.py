"""IPv4 subnets as text: strict, because a subnet with host bits is a typing error and not a wish."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, ip_address

from arable.domain.errors import BadInput

_NOWHERE = tuple(
    IPv4Network(cidr)
    for cidr in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)


def network(text: str, field: str) -> IPv4Network:
    """The subnet; raises `BadInput` naming the field, also for one in which no machine can have an address."""
    try:
        found = IPv4Network(text)
    except ValueError:
        raise BadInput(
            "not an IPv4 subnet: it looks like 10.1.0.0/24, with no bits set after the prefix",
            field=field,
        ) from None
    if "/" not in text or any(found.overlaps(nowhere) for nowhere in _NOWHERE):
        raise BadInput("not a subnet in which machines can have addresses", field=field)
    return found


def inside(subnet: IPv4Network, text: str, field: str) -> IPv4Address:
    """An address that something in the subnet can have; raises `BadInput`."""
    try:
        found = IPv4Address(text)
    except ValueError:
        raise BadInput("not an IPv4 address", field=field) from None
    if found not in subnet or found in (subnet.network_address, subnet.broadcast_address):
        raise BadInput(f"not an address of a machine in {subnet}", field=field)
    return found


def resolvers(said: Iterable[str], field: str = "resolvers") -> tuple[str, ...]:
    """Addresses of DNS servers; raises `BadInput` naming the one that is none."""
    return tuple(resolver(text, f"{field}.{at}") for at, text in enumerate(said))


def resolver(text: str, field: str) -> str:
    """The address of a DNS server in its usual form; raises `BadInput`."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise BadInput("not an address of a DNS server", field=field) from None
