"""Routing appliances: ensured when they, their wish or their leases are not as they were when last ensured."""

from collections.abc import Sequence
from dataclasses import dataclass

from arable.agent.sight import APPLIANCES, Ground, Sight
from arable.agent.wishes import Leases
from arable.domain.ids import NetworkId
from arable.domain.manifest import ApplianceSeen, ApplianceWish

SETTLES_SECONDS = 5.0  # how long an appliance may take from being ensured to running


@dataclass(frozen=True, slots=True)
class Program:
    """Have this appliance run, with these leases."""

    wish: ApplianceWish
    leases: Leases

    def __str__(self) -> str:
        return f"program the appliance of {self.wish.network}, {len(self.leases)} leases"


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Have no appliance for this network."""

    network: NetworkId

    def __str__(self) -> str:
        return f"withdraw the appliance of {self.network}"


class HostAppliances:
    """Appliances of this host. Leases can't be seen in a running one, so after a restart each is programmed once."""

    name = "appliances"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._driver = ground.drivers.appliances
        self._programmed: dict[NetworkId, tuple[Program, float]] = {}  # and when
        self._found: dict[NetworkId, ApplianceSeen] = {}

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Program | Withdraw]:
        if seen.appliances is None:
            return []
        wished = self._ground.wishes.manifest.appliances
        actions: list[Program | Withdraw] = [
            Withdraw(network)
            for network in sorted(seen.appliances.keys() - wished.keys())
            if self._ground.patience.may(network)
        ]
        for network, wish in wished.items():
            leases = self._ground.wishes.leases(network)
            if self._lacks(wish, leases, seen) and self._ground.patience.may(network):
                actions.append(Program(wish, leases))
        return actions

    def apply(self, action: Program | Withdraw, /) -> None:
        assert self._driver is not None, "plans nothing without a driver"
        seen = self._ground.seen
        seen.replugged = True
        match action:
            case Program(wish, leases):
                with self._ground.patience.attempt(wish.network):
                    self._driver.ensure(wish, tuple(leases.values()))
                self._programmed[wish.network] = (action, seen.now)
            case Withdraw(network):
                with self._ground.patience.attempt(network):
                    self._driver.remove(network)
                self._programmed.pop(network, None)

    def tell(self, seen: Sight) -> dict[NetworkId, ApplianceSeen]:
        """What to report: what is here, and why what should be here is not. Unasked, what was known last stands."""
        silent = self._driver is not None and seen.appliances is None
        if seen.appliances is not None:
            self._found = seen.appliances
        found = dict(self._found)
        for network, wish in self._ground.wishes.manifest.appliances.items():
            here = found.get(network)
            told = ""
            if self._driver is None:
                told = "this host has no runtime for appliances"
            elif silent:
                told = self._trouble(APPLIANCES)
            elif self._ground.patience:
                told = self._trouble(network)
            if here is None or told:
                found[network] = ApplianceSeen(
                    network=wish.network,
                    generation=here.generation if here else 0,
                    running=here.running if here else False,
                    told=told or (here.told if here else "it is about to start"),
                )
        return found

    def restless(self, seen: Sight) -> bool:
        """Whether an appliance is on its way to running, so that it is worth looking again soon."""
        return any(
            network in self._programmed and not here.running
            for network, here in (seen.appliances or {}).items()
        )

    def _trouble(self, key: str) -> str:
        trouble = self._ground.patience.of(key)
        return trouble.told if trouble else ""

    def _lacks(self, wish: ApplianceWish, leases: Leases, seen: Sight) -> bool:
        held = self._programmed.get(wish.network)
        found = (seen.appliances or {}).get(wish.network)
        if held is None or found is None:
            return True
        programmed, at = held
        if programmed.wish is not wish and programmed.wish != wish:
            return True
        if programmed.leases is not leases and programmed.leases != leases:
            return True
        settling = seen.now < at + SETTLES_SECONDS
        return found.generation != wish.generation or not (found.running or settling)
