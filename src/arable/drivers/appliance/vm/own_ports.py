"""The ports of a router's own machine: what its host plugged in, found by MAC."""

from collections.abc import Mapping

from pyroute2 import IPRoute

from arable.domain.errors import Unavailable
from arable.domain.ids import NetworkId, NicId
from arable.drivers.appliance.namespace import mac_of, nic
from arable.drivers.network.links import failing
from arable.drivers.network.protocol import Port, Reach

_ENDS = {"e0": "eth0", "e2": "eth2", "e3": "eth3"}


class OwnPorts:
    """`Network` within a router's machine. VLANs, tunnels and limits are its host's affair."""

    name = "virtio"

    def __init__(self, network: NetworkId) -> None:
        self._macs = {nic(network, end): mac_of(network, eth) for end, eth in _ENDS.items()}
        self._ports: dict[NicId, Port] = {}

    def ports(self) -> Mapping[NicId, Port]:
        return self._ports.copy()

    def ensure(self, port: Port) -> None:
        """Its card, where it is still out here, has the name of the port's inner end."""
        mac = self._macs.get(port.nic)
        if mac is None:
            raise Unavailable(f"{port.nic} is not of this machine's network")
        with failing(f"find {port.nic}"), IPRoute() as ip:
            for link in ip.get_links():
                name = link.get_attr("IFLA_IFNAME")
                if link.get_attr("IFLA_ADDRESS") == mac and name != port.peer:
                    ip.link("set", index=link["index"], state="down")
                    ip.link("set", index=link["index"], ifname=port.peer)
        self._ports[port.nic] = port

    def remove(self, nic: NicId) -> None:
        """Its host pulls the card out; it goes from wherever it is."""
        self._ports.pop(nic, None)

    def vlans(self) -> frozenset[int]:
        return frozenset()

    def reaches(self) -> Mapping[int, Reach]:
        return {}

    def reach(self, reach: Reach) -> None:
        """Nothing to do with it."""

    def unreach(self, vni: int) -> None:
        """Nothing to do with it."""
