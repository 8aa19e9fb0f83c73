"""IPv6 of a guest network, as its router has it: typed values, checked once."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from arable.appliance.between import Link, Near, Passing, neighbours, passing
from arable.appliance.values import to_network6
from arable.domain.errors import BadInput
from arable.domain.guest_ipv6 import twin_of
from arable.domain.manifest import Ipv6Net

_LEAST_MTU = 1280  # of RFC 8200


@dataclass(frozen=True, slots=True, kw_only=True)
class Six:
    """The /64 of the guests, the router's address in it, and who leads on to the world, if it leads there.

    `near` are those of neighbours, to which it leads on the link.
    """

    cidr: IPv6Network
    gateway: IPv6Address
    upstream: IPv6Address | None
    near: tuple[Near, ...] = ()
    passings: tuple[Passing, ...] = ()

    @property
    def leads_on(self) -> bool:
        """Whether it leads anywhere, so that it is advertised as the way."""
        return self.upstream is not None or bool(self.near)

    def is_near(self, address: IPv6Address) -> bool:
        """Whether a neighbour has it."""
        return any(address in each.cidr for each in self.near)

    def twin(self, public: IPv4Address) -> IPv6Address:
        """Where what is at a public address of IPv4 may be called by IPv6."""
        return IPv6Address(twin_of(str(self.cidr), str(public)))


def six(asked: Ipv6Net, *, has_way_out: bool, mtu: int, joined: Link | None = None) -> Six:
    """The wish as typed values. Raises `BadInput` naming the field that can't be."""
    cidr = to_network6(asked.cidr, "ipv6.cidr")
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
    near = _near(asked, cidr, joined)
    return Six(
        cidr=cidr,
        gateway=gateway,
        upstream=upstream if has_way_out else None,
        near=near,
        passings=passing(asked.passages, cidr, near, "ipv6.passages"),
    )


def _near(asked: Ipv6Net, cidr: IPv6Network, joined: Link | None) -> tuple[Near, ...]:
    """Neighbours that are on the link by IPv4, too: there they are known by what they have there."""
    if not asked.near:
        return ()
    if joined is None:
        raise BadInput("without a link there are no neighbours", field="ipv6.near")
    found = neighbours(asked.near, [cidr], joined.address, "ipv6.near")
    known = {each.via for each in joined.near}
    for index, each in enumerate(found):
        if each.cidr.prefixlen != cidr.prefixlen:
            raise BadInput("a guest network has a /64", field=f"ipv6.near.{index}.cidr")
        if each.via not in known:
            raise BadInput(f"{each.via} is no neighbour's", field=f"ipv6.near.{index}.via")
    return found


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
