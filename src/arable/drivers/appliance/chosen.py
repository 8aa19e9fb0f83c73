"""Two runtimes on one host: each appliance is in the one that its wish names, and in no other.

One that is to be in the other runtime is ended where it is before it begins there: never do two speak for a network.
"""

from collections.abc import Collection, Mapping, Sequence

from arable.domain.balancer import BalancerSeen
from arable.domain.errors import Unavailable
from arable.domain.ids import NetworkId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.router_runtime import RouterRuntime
from arable.domain.vpn import VpnSeen
from arable.drivers.appliance.asking import Answer
from arable.drivers.appliance.protocol import (
    Announces,
    Appliances,
    Balances,
    Relays,
    Settles,
    Tunnels,
)

SETTLES_SECONDS = 5.0
"""How long an appliance may take from being ensured to running, where its runtime says nothing else."""


class ChosenAppliances:
    """All that the protocols of appliances promise, over the host's runtimes."""

    def __init__(self, runtimes: Mapping[RouterRuntime, Appliances]) -> None:
        self._runtimes = runtimes
        self._runs_in: dict[NetworkId, RouterRuntime] = {}

    @property
    def name(self) -> str:
        return ", ".join(each.name for each in self._runtimes.values())

    def settles_seconds(self, network: NetworkId) -> float:
        """Of the runtime that it was ensured in last."""
        runtime = self._runtimes.get(self._runs_in.get(network, RouterRuntime.NAMESPACE))
        return runtime.settles_seconds(network) if isinstance(runtime, Settles) else SETTLES_SECONDS

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        """Where both have something of one network, as in the middle of a change, the one that was ensured last counts."""
        found: dict[NetworkId, ApplianceSeen] = {}
        for kind, runtime in self._runtimes.items():
            for network, seen in runtime.appliances().items():
                if network not in found or self._runs_in.get(network) is kind:
                    found[network] = seen
        return found

    def ensure(self, wish: ApplianceWish, leases: Sequence[LeaseWish]) -> None:
        chosen = self._runtimes.get(wish.runtime)
        if chosen is None:
            raise Unavailable(f"this host runs no routers as {_KINDS[wish.runtime]}")
        for kind, other in self._runtimes.items():
            if kind is not wish.runtime and wish.network in other.appliances():
                other.remove(wish.network)
        self._runs_in[wish.network] = wish.runtime
        chosen.ensure(wish, leases)

    def remove(self, network: NetworkId) -> None:
        for runtime in self._runtimes.values():
            runtime.remove(network)
        self._runs_in.pop(network, None)

    def balancers(self, of: Collection[NetworkId] | None = None) -> Sequence[BalancerSeen]:
        found: list[BalancerSeen] = []
        for runtime in self._runtimes.values():
            if isinstance(runtime, Balances):
                here = None if of is None else [each for each in of if each in runtime.appliances()]
                found += runtime.balancers(here)
        return found

    def vpns(self) -> Sequence[VpnSeen]:
        tunnels = [each for each in self._runtimes.values() if isinstance(each, Tunnels)]
        return [seen for runtime in tunnels for seen in runtime.vpns()]

    def announce(self) -> None:
        for runtime in self._runtimes.values():
            if isinstance(runtime, Announces):
                runtime.announce()

    def relay(self, answer: Answer) -> None:
        for runtime in self._runtimes.values():
            if isinstance(runtime, Relays):
                runtime.relay(answer)


_KINDS = {
    RouterRuntime.NAMESPACE: "network namespaces",
    RouterRuntime.VM: "virtual machines",
}
