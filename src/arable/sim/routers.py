"""What must hold of routers that are virtual machines: each is where, and what, it can be."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from arable.domain.ids import HostId
from arable.domain.router_runtime import RouterRuntime
from arable.drivers.network.protocol import PortKind
from arable.drivers.simhost import SimHost

Rows = Callable[[str], list[Any]]


def always(rows: Rows, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """None is a machine on a host that can't have any."""
    able = {host for host, facts in rows("select id, facts from host") if "vm_routers" in facts}
    for host, sim in hosts.items():
        for network, held in sim.appliances.items():
            if held.wish.runtime is RouterRuntime.VM and host not in able:
                yield f"the router of {network} is a machine on {host}, which can't have any"


def at_rest(rows: Rows, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Each is what its network's row says, and so are its ends."""
    wanted = dict(rows("select id, appliance_runtime from network"))
    for host, sim in hosts.items():
        for network, held in sim.appliances.items():
            if network in wanted and held.wish.runtime != wanted[network]:
                yield f"the router of {network} on {host} is {held.wish.runtime}"
            kind = PortKind.ROUTER if held.wish.runtime is RouterRuntime.VM else PortKind.VETH
            ends = [port for nic, port in sim.ports.items() if nic.endswith(network[8:])]
            if any(port.kind is not kind for port in ends):
                yield f"an end of the router of {network} on {host} is no {kind}"
