"""By which balancers the tiers of a document are reached: ways in, tiers that call them, or none but their checks (0023)."""

from dataclasses import dataclass

from arable.domain.balancer import BalancerKind, Check, Traffic
from arable.domain.blueprint import BlueprintVersion
from arable.domain.errors import Conflict
from arable.wire.balancers import BalancerIn, CheckIn
from arable.wire.farms import FarmPartSpec, FarmSpec, WayInIn

_WHAT = {BalancerKind.INNER.value: "balancer", BalancerKind.PROBE.value: "probe"}


@dataclass(frozen=True, slots=True)
class Way:
    """A balancer of a tier, by its `name` among the farm's parts. `field` is where the document says it."""

    tier: str
    kind: BalancerKind
    port: int
    field: str
    said: WayInIn | None = None
    first: bool = False  # of those by which other tiers call it, so it is called as the tier is

    @property
    def name(self) -> str:
        """Begins with the tier's."""
        match self.kind:
            case BalancerKind.PUBLIC:
                return f"{self.tier}:{self.port}"
            case BalancerKind.INNER:
                return f"{self.tier}:{self.port}:inner"
            case BalancerKind.PROBE:
                return f"{self.tier}:probe"

    def members_port(self, version: BlueprintVersion) -> int:
        """At which elements are reached: as is said, else the same if they have it, else the first that they have."""
        own = [each.port for each in version.body.ports]
        if self.said is not None and self.said.to_port is not None:
            return self.said.to_port
        return self.port if self.port in own or not own else own[0]

    def traffic(self, version: BlueprintVersion) -> Traffic:
        """What is spread."""
        if self.said is not None:
            return Traffic(self.said.protocol)
        port = self.members_port(version)
        return next((each.traffic for each in version.body.ports if each.port == port), Traffic.TCP)

    def check_same(self, before: BlueprintVersion, now: BlueprintVersion) -> None:
        """Raises `Conflict` when elements of both versions could not be members of it side by side."""
        for what, get in (("answers at", self.members_port), ("speaks", self.traffic)):
            if get(before) != get(now):
                raise Conflict(
                    f"version {now.number} {what} {get(now)}, version {before.number} {get(before)}: both can't be "
                    f"called by one balancer while elements are renewed; a tier of it needs another name"
                )

    def told(self, version: BlueprintVersion, where: str) -> str:
        """For a plan."""
        if self.kind is BalancerKind.PROBE:
            return f"checks port {self.members_port(version)}"
        return f"{self.traffic(version)} {where}:{self.port}"

    def asked(self, farm: str, version: BlueprintVersion) -> BalancerIn:
        """All but where it is."""
        return BalancerIn(
            name=self.balancer_name(farm),
            port=None if self.kind is BalancerKind.PROBE else self.port,
            probe=self.kind is BalancerKind.PROBE,
            protocol=self.traffic(version).value,
            stickiness=self.said.stickiness if self.said else "none",
            cidr=self.said.cidr if self.said else "0.0.0.0/0",
            cidr6=self.said.cidr6 if self.said else None,
            check=asked_check(version.body.check),
        )

    def balancer_name(self, farm: str) -> str:
        """As it is called in the account; `app.shop.internal` is the inner one that is called shop-app (0023)."""
        match self.kind:
            case BalancerKind.PUBLIC:
                return f"{farm}-{self.tier}-{self.port}"
            case BalancerKind.INNER:
                return f"{farm}-{self.tier}" + ("" if self.first else f"-{self.port}-inner")
            case BalancerKind.PROBE:
                return f"{farm}-{self.tier}-probe"


def asked_check(check: Check) -> CheckIn:
    """As one asks for it."""
    return CheckIn(
        kind=check.kind.value,
        path=check.path,
        lowest_status=check.lowest_status,
        highest_status=check.highest_status,
        interval=check.interval,
        timeout=check.timeout,
        rise=check.rise,
        fall=check.fall,
    )


def what(name: str) -> str:
    """What the balancer of that name is, in words."""
    return _WHAT.get(name.rpartition(":")[2], "way in")


def of(spec: FarmSpec) -> list[Way]:
    """All of them; a tier that nobody calls through one has a probe, if it has ports. Those come last that take the tiers' names."""
    found = [
        Way(way.tier, BalancerKind.PUBLIC, way.port, f"ways_in.{at}", way)
        for at, way in enumerate(spec.ways_in)
    ]
    called: dict[tuple[str, int], str] = {}
    for at, passage in enumerate(spec.passages):
        if passage.protocol == "tcp":
            called.setdefault((passage.to, passage.port), f"passages.{at}")
    for at, each in enumerate(spec.called if isinstance(spec, FarmPartSpec) else ()):
        if each.protocol == "tcp":
            called.setdefault((each.tier, each.port), f"called.{at}")
    reached = {way.tier for way in found} | {tier for tier, _ in called}
    found += [
        Way(tier.name, BalancerKind.PROBE, 0, f"tiers.{at}")
        for at, tier in enumerate(spec.tiers)
        if tier.name not in reached
    ]
    lowest = dict(sorted(called, reverse=True))
    inner = [
        Way(tier, BalancerKind.INNER, port, field, first=lowest[tier] == port)
        for (tier, port), field in called.items()
    ]
    return found + sorted(inner, key=lambda way: way.first)
