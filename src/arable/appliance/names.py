"""Names that a router answers for beside those of its own machines, as typed values, checked once (`router.py`).

They are in the network's own domain and lead into the network, to a neighbour, or to a site behind a tunnel: whoever makes up a wish can't turn
anybody else's name, nor lead anywhere that is not of the farm.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from arable.appliance.between import Link
from arable.appliance.tunnels import Tunnel
from arable.appliance.values import host_in, to_address
from arable.domain.balancer import NameWish
from arable.domain.errors import BadInput

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MOST_LABELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """`name`, to which the network's domain is added, is `address`."""

    name: str
    address: IPv4Address


def named(
    wishes: Iterable[NameWish], cidr: IPv4Network, to: Link | None, led: Sequence[Tunnel] = ()
) -> tuple[Named, ...]:
    """The names as typed values, in order. Raises `BadInput` naming the field that can't be."""
    made: list[Named] = []
    for index, asked in enumerate(wishes):
        field = f"names.{index}"
        name = asked.name.lower()
        labels = name.split(".")
        if len(labels) > MOST_LABELS or not all(LABEL.fullmatch(label) for label in labels):
            raise BadInput(f"{asked.name!r} is no name within a domain", field=f"{field}.name")
        address = to_address(asked.address, f"{field}.address")
        elsewhere = (to is not None and to.leads_to(address)) or any(
            tunnel.clients is None and tunnel.is_behind(address) for tunnel in led
        )
        if not elsewhere:
            address = host_in(cidr, asked.address, f"{field}.address")
        made.append(Named(name=name, address=address))
    return tuple(sorted(made, key=lambda each: (each.name, each.address)))
