"""What every appliance runtime promises. The specification is rendered by `arable.appliance`, the same for all runtimes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, runtime_checkable

from arable.domain.balancer import BalancerSeen
from arable.domain.ids import NetworkId
from arable.domain.inside import GuestAnswer, GuestAsk
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.vpn import VpnSeen


class Appliances(Protocol):
    """Three verbs. The runtime uses the host's network driver for eth0, eth2 and eth3, and makes eth1 itself."""

    @property
    def name(self) -> str:
        """What was chosen, for people: "namespace", "vm"."""

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        """Every appliance here. `running` means that all its parts (DHCP, DNS, routing) do."""

    def ensure(self, wish: ApplianceWish, leases: Sequence[LeaseWish]) -> None:
        """Running as given. A running one is reprogrammed without dropping connections that stay allowed."""

    def remove(self, network: NetworkId) -> None:
        """Gone, and all that only it needed; already gone is fine."""


@runtime_checkable
class Settles(Protocol):
    """A runtime whose appliances take their time to start: `ensure` does not wait for that."""

    def settles_seconds(self, network: NetworkId) -> float:
        """How long one may take from being ensured to running, before that counts as a failure."""


@runtime_checkable
class Balances(Protocol):
    """A runtime whose appliances spread traffic."""

    def balancers(self, of: Collection[NetworkId] | None = None) -> Sequence[BalancerSeen]:
        """How all balancers here do, or those of some networks. What can't be asked now is left out."""


@runtime_checkable
class Tunnels(Protocol):
    """A runtime whose appliances have VPNs."""

    def vpns(self) -> Sequence[VpnSeen]:
        """How all VPNs here do. What can't be asked now is left out."""


@runtime_checkable
class Announces(Protocol):
    """A runtime whose appliances give way to later ones (`ApplianceWish.epoch`), wherever both are."""

    def announce(self) -> None:
        """Those of a higher epoch than 0 say that they are there. Repeated every few seconds."""


@runtime_checkable
class Relays(Protocol):
    """A runtime whose machines can ask the cloud at their metadata service (`domain/inside.py`)."""

    def relay(self, answer: Callable[[GuestAsk], GuestAnswer]) -> None:
        """Such calls are answered by this from now on; it may be called on any thread, and may block for seconds."""
