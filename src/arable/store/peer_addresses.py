"""Where hosts answer each other: as their agents told it, but only within their pod's management network, so that nobody can
have others knock at doors elsewhere.
"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from arable.domain.ids import HostId
from arable.store import hosts, pods
from arable.store.database import Tx


def of(tx: Tx, host: HostId) -> str:
    """HOST:PORT; empty while it is not known, or is none of its pod's."""
    found = hosts.get(tx, host)
    network = ip_network(pods.get(tx, found.pod).cidr, strict=False)
    return found.peer_address if within(found.peer_address, network) else ""


def within(address: str, network: IPv4Network | IPv6Network) -> bool:
    """Whether that HOST:PORT is in a network."""
    try:
        return ip_address(address.rpartition(":")[0].strip("[]")) in network
    except ValueError:
        return False
