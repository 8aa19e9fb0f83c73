"""Routing appliances: ensured when they, their wish or their leases are not as they were when last ensured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from arable.agent.patience import Waiting
from arable.agent.sight import APPLIANCES, Ground, Sight, ask
from arable.agent.wishes import Leases
from arable.domain.errors import CloudError
from arable.domain.ids import NetworkId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, HostManifest
from arable.drivers.appliance.chosen import SETTLES_SECONDS
from arable.drivers.appliance.protocol import Announces, Settles

PAIRS_SECONDS = 2.0  # between looks at who leads of two


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
        self._failures: dict[NetworkId, int] = {}  # in a row, until it is seen running
        self._found: dict[NetworkId, ApplianceSeen] = {}
        self._looked_at: HostManifest | None = None
        self._paired = False

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
                if self._in_vain(action, seen):
                    self._failed(wish.network)
                try:
                    with self._ground.patience.attempt(wish.network):
                        self._driver.ensure(wish, tuple(leases.values()))
                except Waiting:
                    raise
                except CloudError:
                    self._failed(wish.network)
                    raise
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
            if here is not None and here.running:
                self._failures.pop(network, None)
            if here is None or told:
                found[network] = here = ApplianceSeen(
                    network=wish.network,
                    generation=here.generation if here else 0,
                    running=here.running if here else False,
                    told=told or (here.told if here else "it is about to start"),
                )
            if network in self._failures:
                found[network] = replace(here, tries=self._failures[network])
        for network in self._failures.keys() - self._ground.wishes.manifest.appliances.keys():
            del self._failures[network]
        return found

    def paired(self) -> bool:
        """Whether one of them is to be one of two: who leads is looked at often."""
        manifest = self._ground.wishes.manifest
        if manifest is not self._looked_at:
            self._looked_at = manifest
            self._paired = any(wish.pair for wish in manifest.appliances.values())
        return self._paired

    def announce(self) -> None:
        """Have earlier ones on lost hosts give way."""
        if isinstance(self._driver, Announces):
            ask(self._driver.announce, APPLIANCES, self._ground.patience)

    def restless(self, seen: Sight) -> bool:
        """Whether an appliance is on its way to running, so that it is worth looking again soon."""
        return any(
            (held := self._programmed.get(network)) is not None
            and not (here.running and here.generation == held[0].wish.generation)
            for network, here in (seen.appliances or {}).items()
        )

    def _trouble(self, key: str) -> str:
        trouble = self._ground.patience.of(key)
        return trouble.told if trouble else ""

    def _failed(self, network: NetworkId) -> None:
        self._failures[network] = self._failures.get(network, 0) + 1

    def _in_vain(self, action: Program, seen: Sight) -> bool:
        """Whether the very same was done before, and nothing runs for it: that attempt failed without saying so."""
        held = self._programmed.get(action.wish.network)
        found = (seen.appliances or {}).get(action.wish.network)
        return held is not None and held[0] == action and not (found and found.running)

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
        if found.running and found.generation == wish.generation:
            return False
        return seen.now >= at + self._settles(wish.network)

    def _settles(self, network: NetworkId) -> float:
        """How long what was ensured may take."""
        driver = self._driver
        return driver.settles_seconds(network) if isinstance(driver, Settles) else SETTLES_SECONDS
