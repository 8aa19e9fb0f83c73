"""A farm is laid out as its document says: what is missing is made, what the document no longer says is let go.

The plan of a change is its dry run: this very code, rolled back. Order: who calls whom is there before elements that
call; what a tier that leaves is reached by stays until it has left, and is cleared away by `clear` then.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any

from msgspec import structs

from arable.domain.access import Permission, Rank
from arable.domain.balancer import Balancer, BalancerKind
from arable.domain.blueprint import BlueprintVersion
from arable.domain.errors import CloudError, Conflict, NoRoom
from arable.domain.farm import Farm, Part, PartKind
from arable.domain.guest_cidr import checked
from arable.domain.ids import BalancerId, NetworkId, RuleId, VpnId
from arable.domain.network import Network, NetworkState
from arable.domain.tier import Door, Tier
from arable.domain.zone import Zone
from arable.services import balancers as balancers_
from arable.services import farm_doors, farm_links, farm_secrets, farm_tiers
from arable.services import networks as networks_
from arable.services import rollouts as rollouts_
from arable.services import rules as rules_
from arable.services import vpns as vpns_
from arable.services.asks import NETWORKS
from arable.services.belonging import FARM
from arable.services.call import Call
from arable.services.farm_doors import Way, what
from arable.services.networks import NO_WAY_OUT, Told
from arable.store import (
    addresses,
    balancers,
    blueprints,
    farm_documents,
    images,
    ipv6_ranges,
    machines,
    networks,
    nics,
    public_ranges,
    quotas,
    rollouts,
    tiers,
)
from arable.store.nudges import nudge
from arable.wire.balancers import BalancerChange
from arable.wire.farms import FarmNetworkIn, FarmPartSpec, FarmStepOut
from arable.wire.rules import BetweenIn

POOL = IPv4Network("10.64.0.0/10")
"""Where networks lie of which the document says no subnet."""
PREFIX = 24
"""How large those are."""
_MAKES = {
    Permission.NETWORK_READ,
    Permission.NETWORK_WRITE,
    Permission.MACHINE_READ,
    Permission.MACHINE_WRITE,
    Permission.VOLUME_READ,
    Permission.VOLUME_WRITE,
}
"""Whoever may write farms may make what they consist of, in this way."""


def acting(call: Call, farm: Farm) -> Call:
    """The same call by the farm itself: for its account alone, and for what belongs to it."""
    caller = replace(
        call.caller,
        account=farm.account,
        rank=min(call.caller.rank, Rank.CUSTOMER),
        permissions=call.caller.permissions | _MAKES,
        via=FARM,
    )
    return replace(call, caller=caller, expects=None)


@dataclass
class Layout:
    """One change of one farm, in one transaction that holds its account's limits."""

    call: Call  # by the farm
    farm: Farm
    zone: Zone
    spec: FarmPartSpec
    avoid: Sequence[IPv4Network] = ()  # subnets of the farm's networks in other regions
    is_new: bool = (
        False  # made in this transaction, which holds the limits: there is nothing of it yet
    )
    steps: list[FarmStepOut] = field(default_factory=list)
    _parts: dict[tuple[PartKind, str], str] = field(default_factory=dict)
    _tiers: dict[str, Tier] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.is_new:
            return
        tx = self.call.tx
        quotas.hold(tx, self.farm.account)  # limits are held before networks, as deploying does
        self._parts = farm_documents.parts(tx, self.farm.id)
        there = [NetworkId(id_) for (kind, _), id_ in self._parts.items() if kind is PartKind.NETWORK]  # fmt: skip
        six = {each.name for each in self.spec.networks if each.ipv6}
        for (kind, name), id_ in sorted(self._parts.items()):
            if kind is PartKind.NETWORK and name in six:
                ipv6_ranges.hold_machines(tx, NetworkId(id_))
        networks.by_ids(tx, there, lock=True)
        self._tiers = {
            tier.name: tier for tier in tiers.of_farms(tx, [self.farm.id], lock=True).get(self.farm.id, [])
        }  # fmt: skip

    def run(self) -> None:
        """All that the document says. Raises what it refuses, naming the field."""
        farm_tiers.check(self.farm.name, self.spec)
        self._let_tiers_go()
        if self.spec.secrets or not self.is_new:
            self.steps += farm_secrets.lay_out(self.call, self.farm, self.spec.secrets)
        made_of = self._blueprints()
        self._check_strangers()
        self._drop(PartKind.BALANCER, PartKind.PASSAGE, PartKind.VPN)
        self._make_networks()
        self._make_passages()
        self.join()
        doors = self._make_doors(made_of)
        self._make_tiers(made_of, doors)
        self._drop(PartKind.NETWORK)

    def clear(self) -> bool:
        """Let go what the document no longer says and nothing needs any more. Whether nothing of that kind is left."""
        self._let_tiers_go()
        kinds = (PartKind.BALANCER, PartKind.PASSAGE, PartKind.VPN, PartKind.NETWORK)
        self._drop(*kinds)
        left = {each for each in self._parts if each[0] in kinds} - self._wanted()
        return not left and not any(tier.leaving for tier in self._tiers.values())

    # --- what the document says ------------------------------------------------------------------------------

    def _wanted(self) -> set[tuple[PartKind, str]]:
        return {
            *((PartKind.NETWORK, each.name) for each in self.spec.networks),
            *((PartKind.PASSAGE, name) for name in self._passages()),
            *((PartKind.BALANCER, each.name) for each in farm_doors.of(self.spec)),
            *((PartKind.VPN, each.name) for each in self.spec.links),
        }

    def join(self) -> None:
        """The VPNs to its networks in other regions, as far as their other ends are known by now."""
        self.steps += farm_links.lay_out(
            self.call, self.farm, self.spec.links, self.spec.keys, self._parts
        )

    def _passages(self) -> dict[str, tuple[str, str, int, str, int]]:
        """By name: source and called network, port, protocol, and where the document says it first."""
        home = {tier.name: tier.networks[0] for tier in self.spec.tiers}
        found: dict[str, tuple[str, str, int, str, int]] = {}
        for at, each in enumerate(self.spec.passages):
            source, to = home[each.source], home[each.to]
            if source != to:  # machines of one network reach each other
                name = f"{source}>{to}:{each.protocol}:{each.port}"
                found.setdefault(name, (source, to, each.port, each.protocol, at))
        return found

    # --- what goes -------------------------------------------------------------------------------------------

    def _let_tiers_go(self) -> None:
        said = {each.name for each in self.spec.tiers}
        gone = [tier for name, tier in self._tiers.items() if name not in said or tier.leaving]
        elements = tiers.elements(self.call.tx, [tier.id for tier in gone])
        for tier in gone:
            rollouts_.drop(self.call, tier)
            count = len(elements.get(tier.id, []))
            if not count:
                tiers.remove(self.call.tx, tier.id)
                del self._tiers[tier.name]
                self._say("-", "tier", tier.name, "has no elements", tier.id)
            elif not tier.leaving:
                leaving = tier.changed(
                    leaving=True, least=0, count=0, attention=True, again_at=None, tries=0
                )
                tiers.save(self.call.tx, leaving)
                self._tiers[tier.name] = leaving
                self._say(
                    "-", "tier", tier.name, f"{_elements(count)}: drained, then gone", tier.id
                )

    def _check_strangers(self) -> None:
        """A network that should go has nothing on it that the farm did not make."""
        wanted = self._wanted()
        for (kind, name), id_ in self._parts.items():
            if kind is not PartKind.NETWORK or (kind, name) in wanted:
                continue
            if names := farm_documents.strangers(self.call.tx, self.farm.id, id_):
                raise Conflict(
                    f"{self.farm.name}-{name} can't go: there are machines on it that were deployed by hand, "
                    + ", ".join(names[:5]),
                    field="networks",
                    why={"machines": names},
                )

    def _drop(self, *kinds: PartKind) -> None:
        wanted = self._wanted()
        leaving = [tier for tier in self._tiers.values() if tier.leaving]
        names = {tier.name for tier in leaving}
        by_id = {id_: name for (kind, name), id_ in self._parts.items() if kind is PartKind.NETWORK}
        used = {by_id[each] for tier in leaving for each in tier.body.networks if each in by_id}
        old = [each for each in self._parts if each[0] in kinds and each not in wanted]
        for kind, name in sorted(old, key=lambda each: (kinds.index(each[0]), each[1])):
            id_ = self._parts[kind, name]
            needed = {
                PartKind.BALANCER: name.partition(":")[0] in names,
                PartKind.PASSAGE: bool(used & set(name.partition(":")[0].split(">"))),
                PartKind.VPN: name.partition(":")[0] in used,
                PartKind.NETWORK: name in used,
            }
            if needed[kind] or (kind is PartKind.NETWORK and self._is_being_left(id_)):
                self._say(
                    "-", _what(kind, name), name, "when the tiers that need it have left", id_
                )
                continue
            self._remove(kind, name)

    def _is_being_left(self, network: str) -> bool:
        """Whether the only machines on it are such as go: a replaced element's, say, on a host that is silent."""
        there = nics.of_network(self.call.tx, NetworkId(network))
        return bool(there) and not farm_documents.strangers(self.call.tx, self.farm.id, network)

    def _remove(self, kind: PartKind, name: str) -> None:
        id_ = self._parts[kind, name]
        match kind:
            case PartKind.BALANCER:
                balancers_.delete(self.call, BalancerId(id_))
            case PartKind.PASSAGE:
                rules_.delete(self.call, RuleId(id_))
            case PartKind.VPN:
                vpns_.delete(self.call, VpnId(id_))
            case _:
                networks_.delete(self.call, NetworkId(id_))
        farm_documents.drop_part(self.call.tx, self.farm.id, kind, name)
        del self._parts[kind, name]
        self._say("-", _what(kind, name), name, "", id_)

    # --- what is made ----------------------------------------------------------------------------------------

    def _make_networks(self) -> None:
        tx = self.call.tx
        for at, each in enumerate(self.spec.networks):
            with _within(f"networks.{at}"):
                there = self._parts.get((PartKind.NETWORK, each.name))
                if there is not None:
                    found = networks.by_ids(tx, [NetworkId(there)], lock=True)[NetworkId(there)]
                    if each.cidr not in (None, found.cidr):
                        raise Conflict(f"it is {found.cidr}, and stays so", field="cidr")
                    if each.isolated != found.isolated:
                        raise Conflict("a network stays isolated, or not", field="isolated")
                    self._change_network(each, found)
                    continue
                cidr = checked(each.cidr) if each.cidr else self._free_cidr()
                told = Told(each.isolated, self.zone.dns_domain, None, each.redundant, each.ipv6)
                name = f"{self.farm.name}-{each.name}"
                made = networks_.make(
                    self.call, self.farm.account, self.zone, name, cidr, self.farm, told
                )
                self._keep(PartKind.NETWORK, each.name, made.id)
                public = addresses.of_networks(tx, [made.id]).get(made.id, [])
                about = f"{_subnets(made)}, " + (
                    "isolated"
                    if each.isolated
                    else f"way out by {public[0].address}" if public else "no way out"
                )  # fmt: skip
                self._say("+", "network", each.name, about, made.id)

    def _change_network(self, said: FarmNetworkIn, found: Network) -> None:
        """Two routers or one, and IPv6 beside IPv4. What the document does not ask for of IPv6 is not taken away."""
        but: dict[str, Any] = {}
        about = []
        if said.redundant != found.redundant:
            but["redundant"] = said.redundant
            about.append("two routers" if said.redundant else "one router")
        if said.ipv6 and found.ipv6_cidr is None:
            but |= networks_.with_ipv6(self.call, found, wanted=True)
            about.append(f"{but['ipv6_cidr']}, too")
        if not but:
            self._say("=", "network", said.name, _subnets(found), found.id)
            return
        networks.save(self.call.tx, found.changed(attention=True, **but))
        nudge(self.call.tx, NETWORKS)
        self._say("~", "network", said.name, ", ".join(about), found.id)

    def _free_cidr(self) -> IPv4Network:
        """The lowest that meets no other network of the account in the zone, and no public addresses of it."""
        tx = self.call.tx
        taken = [
            IPv4Network(each.cidr)
            for each in networks.of_account(tx, self.farm.account, self.zone.id)
            if each.state is NetworkState.READY
        ]
        taken += [IPv4Network(each.cidr) for each in public_ranges.of_zone(tx, self.zone.id)]
        taken += self.avoid
        for cidr in POOL.subnets(new_prefix=PREFIX):
            if not any(cidr.overlaps(other) for other in taken):
                return cidr
        raise NoRoom(f"no /{PREFIX} of {POOL} is left; say a subnet", field="cidr")

    def _make_passages(self) -> None:
        for name, (source, to, port, protocol, at) in self._passages().items():
            there = self._parts.get((PartKind.PASSAGE, name))
            about = f"{source} may call {to} at {protocol} {port}"
            if there is not None:
                self._say("=", "passage", name, about, there)
                continue
            with _within(f"passages.{at}"):
                ask = BetweenIn(
                    source=self._parts[PartKind.NETWORK, source],
                    network=self._parts[PartKind.NETWORK, to],
                    protocol="udp" if protocol == "udp" else "tcp",
                    first_port=port,
                )
                made = rules_.between(self.call, ask).rule.id
            self._keep(PartKind.PASSAGE, name, made)
            self._say("+", "passage", name, about, made)

    def _make_doors(self, made_of: dict[str, BlueprintVersion]) -> dict[str, tuple[Door, ...]]:
        """The doors of each tier that has any."""
        home = {tier.name: tier.networks[0] for tier in self.spec.tiers}
        doors: dict[str, tuple[Door, ...]] = {}
        for way in farm_doors.of(self.spec):
            version = made_of[way.tier]
            if way.kind is BalancerKind.PROBE and not version.body.ports:
                if (PartKind.BALANCER, way.name) in self._parts:
                    self._remove(PartKind.BALANCER, way.name)
                continue
            with _within(way.field):
                network = NetworkId(self._parts[PartKind.NETWORK, home[way.tier]])
                balancer = self._door(way, version, network)
            door = Door(balancer=balancer, port=way.members_port(version))
            doors[way.tier] = (*doors.get(way.tier, ()), door)
        return doors

    def _door(self, way: Way, version: BlueprintVersion, network: NetworkId) -> BalancerId:
        tx = self.call.tx
        there = self._parts.get((PartKind.BALANCER, way.name))
        if there is not None:
            renews = self._renews(way, version)
            found = balancers.get(tx, self.call.caller.scope, BalancerId(there))
            if found.traffic is not way.traffic(version):  # that can't be changed
                self._remove(PartKind.BALANCER, way.name)
            else:
                self._change_door(found, way, version, renews=renews)
                return found.id
        ask = way.asked(self.farm.name, version)
        where = ""
        if way.kind is BalancerKind.PUBLIC:
            held = addresses.of_networks(tx, [network]).get(network, [])
            if not held:
                raise NoRoom(f"its network {NO_WAY_OUT}")
            first = next((each for each in held if each.source_nat), held[0])
            ask, where = structs.replace(ask, address=first.id), first.address
        else:
            ask = structs.replace(ask, network=network)
            where = balancers.gateways(tx, [network])[network]
        id_ = balancers_.make(self.call, ask)
        self._keep(PartKind.BALANCER, way.name, id_)
        self._say("+", what(way.name), way.name, way.told(version, where), id_)
        return id_

    def _change_door(
        self, found: Balancer, way: Way, version: BlueprintVersion, *, renews: bool
    ) -> None:
        tx = self.call.tx
        if found.address is not None:
            where = balancers.publics(tx, [found.address])[found.address]
        else:
            where = balancers.gateways(tx, [found.network])[found.network]
        about = way.told(version, where)
        ask = way.asked(self.farm.name, version)
        check = version.body.check
        if renews:
            # That of the version before holds for both until all elements are renewed.
            check = found.check
            ask = structs.replace(ask, check=farm_doors.asked_check(check))
        six = rules_.cidr6_of(ask.cidr6, "cidr6") if ask.cidr6 else ""
        now = (found.name, found.cidr, found.cidr6, found.stickiness.value, found.check)
        if now == (ask.name, ask.cidr, six, ask.stickiness, check):
            self._say("=", what(way.name), way.name, about, found.id)
            return
        change = BalancerChange(
            name=ask.name,
            cidr=ask.cidr,
            cidr6=ask.cidr6,
            stickiness=ask.stickiness,
            check=ask.check,
        )
        balancers_.update(self.call, found.id, change)
        self._say("~", what(way.name), way.name, about, found.id)

    def _renews(self, way: Way, version: BlueprintVersion) -> bool:
        """Whether its tier has elements of another version that are to be renewed, which then both have to bear."""
        tx, before = self.call.tx, self._tiers.get(way.tier)
        if before is None:
            return False
        made = tiers.elements(tx, [before.id]).get(before.id, [])
        others = {each.blueprint_number for each in made if each.machine} - {version.number}
        for number in others:
            way.check_same(blueprints.version(tx, before.blueprint, number), version)
        return bool(others) or before.id in rollouts.under_way(tx, [before.id])

    def _blueprints(self) -> dict[str, BlueprintVersion]:
        return {
            tier.name: farm_tiers.blueprint_of(
                self.call, self.farm, tier, self._tiers.get(tier.name), f"tiers.{at}"
            )[1]
            for at, tier in enumerate(self.spec.tiers)
        }

    def _make_tiers(
        self, made_of: dict[str, BlueprintVersion], doors: dict[str, tuple[Door, ...]]
    ) -> None:
        tx = self.call.tx
        ids = {name: NetworkId(id_) for (kind, name), id_ in self._parts.items() if kind is PartKind.NETWORK}  # fmt: skip
        for at, said in enumerate(self.spec.tiers):
            before = self._tiers.get(said.name)
            now = farm_tiers.wanted(
                self.call,
                self.farm,
                self.spec,
                said,
                made_of[said.name],
                ids,
                doors.get(said.name, ()),
                before,
                f"tiers.{at}",
            )
            renews = ""
            if before is not None and now is not before:
                now, renews = rollouts_.lead(self.call, before, now)
            image = images.get(tx, self.call.caller.scope, now.image)
            release = f"{said.blueprint}/{now.blueprint_number} on {image.name}/{now.image_version}"
            if before is None:
                self._check_names(now, made_of[said.name], f"tiers.{at}.name")
                tiers.add(tx, now)
                self._say("+", "tier", now.name, f"{_elements(now.count)} of {release}", now.id)
            elif now is before:
                self._say("=", "tier", now.name, f"{_elements(now.count)} of {release}", now.id)
            else:
                tiers.save(tx, now)
                about = ", ".join(filter(None, (_changes(before, now), renews)))
                self._say("~", "tier", now.name, about, now.id)
            self._tiers[now.name] = now

    def _check_names(self, tier: Tier, version: BlueprintVersion, field: str) -> None:
        """What its elements would be called is nobody's; with their volumes it is no longer than a name can be."""
        first = f"{self.farm.name}-{tier.name}"
        for disk in version.body.disks:
            farm_tiers.check_fits(f"{first}-{tier.most}-{disk.name}", field)
        names = [f"{first}-{number}" for number in range(1, tier.most + 1)]
        taken = machines.names_taken(self.call.tx, tier.account, tier.zone, names)
        if taken:
            raise Conflict(
                f"you have a machine named {min(taken)} already, as an element would be called",
                field=field,
            )

    def _keep(self, kind: PartKind, name: str, id_: str) -> None:
        part = Part(farm=self.farm.id, kind=kind, name=name, id=id_)
        farm_documents.put_part(self.call.tx, part)
        self._parts[kind, name] = id_

    def _say(self, sign: str, what: str, name: str, about: str, id_: str) -> None:
        step = FarmStepOut(sign=sign, what=what, name=name, about=about, id=id_)  # type: ignore[arg-type]
        self.steps.append(step)


def _elements(count: int) -> str:
    return "1 element" if count == 1 else f"{count} elements"


def _what(kind: PartKind, name: str) -> str:
    """In a plan's words."""
    return (
        what(name)
        if kind is PartKind.BALANCER
        else kind.value
        if kind is not PartKind.VPN
        else "VPN"
    )


def _subnets(network: Network) -> str:
    return f"{network.cidr} and {network.ipv6_cidr}" if network.ipv6_cidr else network.cidr


def _changes(before: Tier, now: Tier) -> str:
    words = [
        f"{what} {old} -> {new}"
        for what, old, new in (
            ("version", before.blueprint_number, now.blueprint_number),
            ("image version", before.image_version, now.image_version),
            ("least", before.least, now.least),
            ("most", before.most, now.most),
            ("count", before.count, now.count),
            ("standby", before.body.standby, now.body.standby),
        )
        if old != new
    ]
    body = ("policy", "windows", "doors", "offering", "keys", "follows", "newest", "time_zone")
    others = ("policy", "windows", "ways in", "offering", "SSH keys", "which images", "newest version", "time zone")  # fmt: skip
    words += [
        f"other {word}" if getattr(now.body, name) else f"no {word}"
        for name, word in zip(body, others, strict=True)
        if getattr(before.body, name) != getattr(now.body, name)
    ]
    if before.automatic != now.automatic:
        words.append("automatic" if now.automatic else "no longer automatic")
    return ", ".join(words)


@contextmanager
def _within(prefix: str) -> Iterator[None]:
    """What is refused is told where the document says it."""
    try:
        yield
    except CloudError as error:
        error.field = f"{prefix}.{error.field}" if error.field else prefix
        raise


def signs(steps: Sequence[FarmStepOut]) -> frozenset[str]:
    """What kinds of steps there are."""
    return frozenset(step.sign for step in steps)
