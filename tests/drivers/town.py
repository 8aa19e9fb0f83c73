"""A customer's network as its guests and the world see it: a router on one emulated host, guests on another."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from arable.domain.manifest import Direction, FirewallRule, PortForward, Protocol
from arable.drivers.appliance.namespace import NamespaceAppliances
from drivers import make_drivers as make
from drivers.emulated_hosts import Host, route, station

PUBLIC = "203.0.113.10"


class Town:
    """A network with a router on the second host, and guests on the first."""

    def __init__(self, host: Host, routers: NamespaceAppliances, folder: Path, stack: ExitStack):
        self.host, self.routers, self.folder, self.stack = host, routers, folder, stack
        self.other = host
        self.wish = make.appliance(vlan=101)
        self.leases = []
        self.netns = routers.namespace(self.wish.network)

    def program(self, **but) -> None:
        """The next generation of the router."""
        self.wish = replace(self.wish, generation=self.wish.generation + 1, **but)
        self.routers.ensure(self.wish, self.leases)

    def guest(self, number: int, *, addressed: bool = True, **but) -> str:
        """A machine with a lease, and its namespace."""
        usual = {
            "address": f"10.1.1.{number}",
            "mac": f"02:00:0a:01:01:{number:02x}",
            "vlan": self.wish.vlan,
            "rate_kbps": 0,
        }
        port = make.tap(**usual | but)
        name = self.stack.enter_context(station(self.host, port, addressed=addressed))
        if addressed:
            route(name, "10.1.1.1")
        self.leases.append(
            make.lease(
                self.wish.network,
                nic=port.nic,
                mac=port.mac,
                address=port.address,
                ipv6=port.ipv6,
                name=f"web-{number}",
            )
        )
        return name

    def opened(self, public: str = PUBLIC, outside: str = "0.0.0.0/0", **ports) -> None:
        """A forward and its opening in the firewall, from 8080 to port 80 of the first guest unless said otherwise."""
        usual = {"first_port": 8080, "last_port": 8080, "to": "10.1.1.10", "to_port": 80} | ports
        there = PortForward(protocol=Protocol.TCP, public=public, **usual)
        opening = FirewallRule(
            direction=Direction.IN,
            protocol=Protocol.TCP,
            cidr=outside,
            public=public,
            first_port=there.first_port,
            last_port=there.last_port,
        )
        self.program(forwards=(*self.wish.forwards, there), firewall=(*self.wish.firewall, opening))
