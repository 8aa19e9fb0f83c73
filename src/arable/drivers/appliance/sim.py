"""Routers that are values, plugged into the host's network driver as real ones are."""

from collections.abc import Mapping, Sequence

from arable.domain.errors import Unavailable
from arable.domain.ids import NetworkId, NicId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.drivers.faults import Faults
from arable.drivers.network.protocol import Network, Port, PortKind
from arable.drivers.simhost import SimAppliance, SimHost


class SimAppliances:
    """`Appliances` over a `SimHost` and its network driver."""

    name = "sim"

    def __init__(self, hardware: SimHost, network: Network, faults: Faults | None = None) -> None:
        self._hardware = hardware
        self._network = network
        self._faults = faults or Faults()

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        return {network: held.seen for network, held in self._hardware.appliances.items()}

    def ensure(self, wish: ApplianceWish, leases: Sequence[LeaseWish]) -> None:
        begun = ApplianceSeen(network=wish.network, generation=0, running=False, told="half made")
        # As with a real one, there is something to see, and to remove, from the first step on.
        self._hardware.appliances.setdefault(wish.network, SimAppliance(wish, {}, begun))
        self._network.ensure(_port(wish.network, "gw", wish.vlan))
        if wish.public:
            self._network.ensure(_port(wish.network, "pub", wish.public.vlan))
        else:
            self._network.remove(_nic(wish.network, "pub"))
        held = SimAppliance(
            wish,
            {lease.nic: lease for lease in leases},
            ApplianceSeen(network=wish.network, generation=wish.generation, running=True),
        )
        if self._hardware.appliances.get(wish.network) != held:
            if self._hardware.unroutable:
                raise Unavailable(self._hardware.unroutable)
            with self._faults.around(f"ensure {wish.network}"):
                self._hardware.appliances[wish.network] = held

    def remove(self, network: NetworkId) -> None:
        if network in self._hardware.appliances:
            with self._faults.around(f"remove {network}"):
                for end in ("gw", "pub"):
                    self._network.remove(_nic(network, end))
                del self._hardware.appliances[network]


def _nic(network: NetworkId, end: str) -> NicId:
    return NicId(f"{end}-{network.partition('-')[2]}")


def _port(network: NetworkId, end: str, vlan: int) -> Port:
    tail = network[-11:]
    return Port(
        nic=_nic(network, end),
        kind=PortKind.VETH,
        vlan=vlan,
        device=f"{end[0]}h{tail}",
        peer=f"{end[0]}p{tail}",
    )
