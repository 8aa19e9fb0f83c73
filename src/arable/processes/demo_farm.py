"""The second part of `make demo`: a farm of an edge and two web servers, under a load that rises and falls.

The farm is `examples/growing-farm.yaml`, applied as its owner would. Visitors on the lab's internet call it all the time;
a line a second says how many were answered, and how many web servers there are. Its policy does the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from arable.client.arable import Arable
from arable.domain.errors import Unavailable
from arable.lab.visitors import Visitors, visitors
from arable.processes.up import EXAMPLES, Cloud
from arable.runtime.clock import Clock
from arable.wire.farms import FarmQuery
from arable.wire.tiers import TierOut

FILE = EXAMPLES / "growing-farm.yaml"
FARM = "fair"  # as that file calls it
CALM, RUSH = 4.0, 13.0  # requests a second; with five for each server, for two and for three
_PATH = "/who"
_LINE = timedelta(seconds=1)
_BAR = 30
_WITHIN = 180.0
_LOOKED_AT = 4  # lines in which nothing happens, so that one sees that nothing does

Echo = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Servers:
    """Numbers of a tier's elements."""

    serving: tuple[int, ...] = ()
    coming: tuple[int, ...] = ()
    going: tuple[int, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether nobody comes or goes."""
        return not self.coming and not self.going

    @classmethod
    def of(cls, tier: TierOut) -> "Servers":
        """As the API tells it."""
        states = {each.number: each.state for each in tier.elements}

        def those(*wanted: str) -> tuple[int, ...]:
            return tuple(number for number, state in sorted(states.items()) if state in wanted)

        return cls(
            those("serving"),
            those("waiting", "making", "proving"),
            those("draining", "leaving", "dropping"),
        )


def line(at: float, answered: int, servers: Servers) -> str:
    """One of the chart."""
    bar = "#" * min(answered, _BAR)
    told = [f"web servers: {_named(servers.serving) or 'none'}"]
    told += [f"{_named(servers.coming)} on the way"] if servers.coming else []
    told += [f"{_named(servers.going)} leaving"] if servers.going else []
    return f"{at:6.0f} s  {answered:3} requests/s  {bar:{_BAR}}  {', '.join(told)}"


def _named(numbers: tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))


@dataclass
class Show:
    """Draws the chart while somebody calls; `look` tells of the tier."""

    look: Callable[[], Servers]
    callers: Visitors
    clock: Clock
    echo: Echo
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()

    def play(self) -> None:
        """Load rises, the farm grows; load falls, it shrinks. Raises `Unavailable` if it does not, or a call failed."""
        self._until(2)
        self.echo(f"         … and now {RUSH:.0f} requests a second, too much for two")
        self.callers.rate = RUSH
        self._until(3)
        self.echo(f"         … and {CALM:.0f} again")
        self.callers.rate = CALM
        self._until(2)
        failed, every = self.callers.failures(), len(self.callers.calls)
        self.echo(f"         {every} requests, {len(failed)} failed")
        if failed:
            raise Unavailable(f"{len(failed)} of {every} requests failed: {failed[0].failure}")

    def _until(self, count: int) -> None:
        """Lines until exactly so many serve, and some more."""
        end, left = self.clock.monotonic() + _WITHIN, _LOOKED_AT
        while left:
            since = self.clock.monotonic()
            self.clock.wait(_LINE)
            servers = self.look()
            good = [each for each in self.callers.since(since) if not each.failure]
            self.echo(line(self.clock.monotonic() - self.began, len(good), servers))
            left = left - 1 if servers.settled and len(servers.serving) == count else _LOOKED_AT
            if self.clock.monotonic() > end:
                raise Unavailable(f"there are not {count} web servers after {_WITHIN:.0f} s")


def show(cloud: Cloud, owner: Arable, clock: Clock, echo: Echo) -> None:
    """The chart of a farm that was applied."""
    assert cloud.site, "the demonstration is in a lab"
    (farm,) = owner.farms.all(FarmQuery(name=FARM))
    (tier,) = (each.id for each in farm.tiers)
    (balancer,) = (each for each in owner.balancers.all() if each.name.startswith(f"{FARM}-"))
    assert balancer.address, "a way in has one"
    assert balancer.port, "and a port"
    at = owner.addresses.get(balancer.address).address
    netns = cloud.site.place.namespace("internet")
    with visitors(netns, (at, balancer.port), _PATH, CALM, clock) as callers:
        Show(lambda: Servers.of(owner.tiers.get(tier)), callers, clock, echo).play()
