"""Which /64 of IPv6 this host has anything in: told once a connection, for a control plane whose database is an older copy."""

from arable.agent.sight import Sight
from arable.domain.guest_ipv6 import prefix_of
from arable.domain.manifest import HostManifest


def prefixes(seen: Sight, wished: HostManifest) -> tuple[str, ...]:
    """Those of ports that are there, also of such as go, and of routers that are wished for."""
    ports = {prefix_of(port.ipv6) for port in (seen.ports or {}).values() if port.ipv6}
    routers = {each.ipv6.cidr for each in wished.appliances.values() if each.ipv6}
    return tuple(sorted(ports | routers))
