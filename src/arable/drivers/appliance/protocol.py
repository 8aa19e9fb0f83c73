"""What every appliance runtime promises. The specification is rendered by `arable.appliance`, the same for all runtimes."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from arable.domain.ids import NetworkId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish


class Appliances(Protocol):
    """Three verbs. The runtime uses the host's network driver for eth0 and eth2, and makes eth1 itself."""

    @property
    def name(self) -> str:
        """What was chosen, for people: "namespace"."""

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        """Every appliance here. `running` means that all its parts (DHCP, DNS, routing) do."""

    def ensure(self, wish: ApplianceWish, leases: Sequence[LeaseWish]) -> None:
        """Running as given. A running one is reprogrammed without dropping connections that stay allowed."""

    def remove(self, network: NetworkId) -> None:
        """Gone, and all that only it needed; already gone is fine."""
