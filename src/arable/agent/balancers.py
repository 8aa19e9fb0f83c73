"""What is told of balancers: with the heartbeat all that is new, and at once what somebody waits for.

Figures of balancers are told every ten seconds, which is often enough to be looked at and too seldom to act upon. Those
of which somebody waits for news have a calm band in their wish (`BalancerWish.calm`). Their networks alone are asked each
second, which costs a word to one process, and what is said stays nothing as long as they are calm.
"""

from collections.abc import Collection, Mapping

from arable.agent.patience import Patience
from arable.agent.sight import APPLIANCES, Drivers, ask
from arable.domain.balancer import BalancerSeen, Calm, stirs
from arable.domain.ids import BalancerId, NetworkId
from arable.domain.manifest import HostManifest
from arable.drivers.appliance.protocol import Balances

GLANCE_SECONDS = 1.0
"""Between looks at balancers that are watched."""


class Watched:
    """Which balancers of a manifest are watched, sorted out once for each."""

    def __init__(self) -> None:
        self._of: HostManifest | None = None
        self._calms: dict[BalancerId, Calm] = {}
        self._networks: frozenset[NetworkId] = frozenset()

    def of(self, manifest: HostManifest) -> tuple[frozenset[NetworkId], dict[BalancerId, Calm]]:
        """The networks that have some, and what calm is for each."""
        if self._of is not manifest:
            found = [
                (network, each.id, each.calm)
                for network, wish in manifest.appliances.items()
                for each in (*wish.balancers, *wish.inners)
                if each.calm is not None
            ]
            self._calms = {id_: calm for _, id_, calm in found}
            self._networks = frozenset(network for network, _, _ in found)
            self._of = manifest
        return self._networks, self._calms


class BalancerNews:
    """What of balancers was not said yet on this connection."""

    def __init__(self, drivers: Drivers, patience: Patience) -> None:
        self._drivers = drivers
        self._patience = patience
        self._said: dict[BalancerId, BalancerSeen] = {}

    def reset(self) -> None:
        """Nothing was said yet."""
        self._said = {}

    def all(self, calms: Mapping[BalancerId, Calm]) -> tuple[BalancerSeen, ...]:
        """Of those of which something is new: idle ones cost nothing. And of those by whose figures somebody acts.

        To them it says something that all is as it was: what was told long ago is not believed.
        """
        found = self._look(None)
        new = tuple(
            each
            for each in found.values()
            if self._said.get(each.id) != each or calms.get(each.id, Calm()) != Calm()
        )
        self._said = found
        return new

    def stirred(
        self, networks: Collection[NetworkId], calms: dict[BalancerId, Calm]
    ) -> tuple[BalancerSeen, ...]:
        """Of those that are watched, and not calm."""
        told = tuple(
            each
            for each in self._look(networks).values()
            if (calm := calms.get(each.id)) and stirs(calm, self._said.get(each.id), each)
        )
        self._said |= {each.id: each for each in told}
        return told

    def _look(self, networks: Collection[NetworkId] | None) -> dict[BalancerId, BalancerSeen]:
        appliances = self._drivers.appliances
        if not isinstance(appliances, Balances):
            return {}
        seen = ask(lambda: appliances.balancers(networks), APPLIANCES, self._patience)
        return {each.id: each for each in seen or ()}
