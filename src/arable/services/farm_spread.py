"""A farm's document taken apart by regions: what it is at home, what elsewhere, and what joins the two. Pure.

A tier says in which region it is, and so are the networks that it names. A passage between tiers of two regions makes a
link between their first networks: a VPN from router to router, by which what the passages say may begin, and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Literal

from msgspec import structs

from arable.domain.errors import BadInput, NoRoom
from arable.domain.guest_cidr import checked
from arable.services.farm_tiers import check_fits
from arable.wire.farms import (
    CalledIn,
    FarmPartSpec,
    FarmSpec,
    FarNameIn,
    LinkIn,
    PassageIn,
)
from arable.wire.vpns import AllowIn

HOME = ""
"""The farm's own region, until it is known what that is called."""


@dataclass(frozen=True, slots=True, order=True)
class Side:
    """A network of a farm, in a region."""

    region: str
    network: str


@dataclass(frozen=True, slots=True)
class End:
    """What is known of one side of a link."""

    key: str | None = None
    endpoint: str | None = None
    next_key: str | None = None
    known: str | None = None


Ends = Mapping[tuple[str, str], End]
"""By the region that the end is in, and the link's name there."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A document by regions. `parts` has home under `HOME`, and each other region that the document names."""

    own: str  # what home is called in the grid
    spec: FarmSpec
    at: Mapping[str, str]  # the region of each tier
    networks: Mapping[str, str]  # and of each network
    crossings: tuple[
        tuple[int, PassageIn], ...
    ]  # passages from region to region, and where the document has them
    parts: Mapping[str, FarmPartSpec] = field(default_factory=dict)

    def called(self, region: str) -> str:
        """As the region is called by others."""
        return region or self.own


def spread(spec: FarmSpec, own: str) -> Spread:
    """The document by regions, its links without subnets and ends. `own`: what home is called; empty: it is in no grid.

    Raises `BadInput` for what can't be. The document's names are known to be right (`farm_tiers.check`).
    """
    at = {tier.name: _region(tier.region, own) for tier in spec.tiers}
    networks: dict[str, str] = {}
    for number, tier in enumerate(spec.tiers):
        for place, name in enumerate(tier.networks):
            there = networks.setdefault(name, at[tier.name])
            if there != at[tier.name]:
                raise BadInput(
                    f"{name} has elements in {there or 'the own region'} already: a network is in one region",
                    field=f"tiers.{number}.networks.{place}",
                )
    for network in spec.networks:
        networks.setdefault(network.name, HOME)
    crossings = tuple(
        (number, each)
        for number, each in enumerate(spec.passages)
        if at[each.source] != at[each.to]
    )
    made = Spread(own, spec, at, networks, crossings)
    _check_ways(made)
    _check_zones(made)
    regions = {HOME, *at.values()}
    return replace(made, parts={region: _part(made, region) for region in sorted(regions)})


def _region(said: str | None, own: str) -> str:
    return HOME if said is None or said == own else said


def _check_ways(made: Spread) -> None:
    isolated = {each.name for each in made.spec.networks if each.isolated}
    home = {tier.name: tier.networks[0] for tier in made.spec.tiers}
    for number, each in made.crossings:
        for end, tier in (("source", each.source), ("to", each.to)):
            if home[tier] in isolated:
                raise BadInput(
                    f"{home[tier]} is isolated: it has no way to another region",
                    field=f"passages.{number}.{end}",
                )


def _check_zones(made: Spread) -> None:
    """In each other region the farm is in one zone, as it is at home."""
    said: dict[str, str] = {}
    for number, tier in enumerate(made.spec.tiers):
        if tier.zone is None:
            continue
        region, field = made.at[tier.name], f"tiers.{number}.zone"
        if region == HOME:
            raise BadInput(
                "a tier in the farm's own region is in the farm's zone; say a zone beside another region",
                field=field,
            )
        if (other := said.setdefault(region, tier.zone)) != tier.zone:
            raise BadInput(
                f"the farm is in {other} of {region} already: it has one zone in a region",
                field=field,
            )


def _part(made: Spread, region: str) -> FarmPartSpec:
    """What the farm is there, without what its tiers are made of (`farm_blueprints`)."""
    spec = made.spec
    zones = [each.zone for each in spec.tiers if made.at[each.name] == region and each.zone]
    local = [p for p in spec.passages if made.at[p.source] == made.at[p.to] == region]
    called = {
        (each.to, each.port, each.protocol)
        for _, each in made.crossings
        if made.at[each.to] == region
    }
    return FarmPartSpec(
        networks=tuple(each for each in spec.networks if made.networks[each.name] == region),
        tiers=tuple(
            structs.replace(each, region=None, zone=None)
            for each in spec.tiers
            if made.at[each.name] == region
        ),
        passages=tuple(local),
        ways_in=tuple(each for each in spec.ways_in if made.at[each.tier] == region),
        time_zone=spec.time_zone,
        secrets=spec.secrets if region == HOME else (),
        ssh_keys=spec.ssh_keys,
        called=tuple(CalledIn(tier=t, port=p, protocol=_kind(k)) for t, p, k in sorted(called)),
        links=tuple(_links(made, region)),
        zone=zones[0] if zones else None,
    )


def _kind(protocol: str) -> Literal["tcp", "udp"]:
    return "udp" if protocol == "udp" else "tcp"


def _links(made: Spread, region: str) -> Iterable[LinkIn]:
    """Without what is not known before networks have subnets: `joined` adds it."""
    home = {tier.name: tier.networks[0] for tier in made.spec.tiers}
    found: dict[tuple[str, str, str], list[PassageIn]] = {}
    for _, each in made.crossings:
        sides = (
            Side(made.at[each.source], home[each.source]),
            Side(made.at[each.to], home[each.to]),
        )
        for near, far in (sides, sides[::-1]):
            if near.region == region:
                key = (near.network, made.called(far.region), far.network)
                found.setdefault(key, []).append(each)
    for (here, far_region, there), passages in sorted(found.items()):
        inward = [each for each in passages if made.at[each.to] == region]
        outward = [each for each in passages if made.at[each.to] != region]
        yield LinkIn(
            near=here,
            region=far_region,
            far=there,
            cidr=_NOWHERE,
            allow=tuple(
                AllowIn(protocol=_kind(protocol), first_port=port)
                for protocol, port in sorted({(each.protocol, each.port) for each in inward})
            ),
            names=tuple(
                FarNameIn(tier=to, address="", port=port)
                for to, port in sorted({(each.to, each.port) for each in outward})
            ),
        )


_NOWHERE = "0.0.0.0/32"


def joined(
    farm: str, made: Spread, region: str, cidrs: Mapping[str, str], ends: Ends, keys: int
) -> FarmPartSpec:
    """The part of that region with its networks' subnets, and all that is known of the other ends of its links.

    `keys`: so often, or at that time, its links were to have other keys.
    """
    part = made.parts[region]
    return structs.replace(
        part,
        networks=tuple(structs.replace(each, cidr=cidrs.get(each.name)) for each in part.networks),
        links=tuple(_joined(farm, made, region, each, cidrs, ends) for each in part.links),
        keys=keys if part.links else 0,
    )


def _joined(
    farm: str, made: Spread, region: str, link: LinkIn, cidrs: Mapping[str, str], ends: Ends
) -> LinkIn:
    check_fits(f"{farm}-{link.near}-{link.region}-{link.far}", "networks")
    there = _region(link.region, made.own)
    back = f"{link.far}:{made.called(region)}:{link.near}"
    end = ends.get((there, back), End())
    cidr = cidrs.get(link.far, _NOWHERE)
    gateway = str(IPv4Network(cidr).network_address + 1)
    return structs.replace(
        link,
        cidr=cidr,
        key=end.key,
        next_key=end.next_key,
        known=end.known,
        endpoint=end.endpoint,
        allow=tuple(structs.replace(each, cidr=cidr) for each in link.allow),
        names=tuple(structs.replace(each, address=gateway) for each in link.names),
    )


def allotted(
    made: Spread,
    known: Mapping[str, str],
    taken: Iterable[IPv4Network],
    pool: Iterable[IPv4Network],
) -> dict[str, str]:
    """A subnet for each network that is elsewhere: as the document says, as it has it, or the lowest that meets no other.

    `known` are those that networks have by now, `taken` what others have at home. Raises `BadInput` for two that overlap,
    since what joins them could not tell them apart: before anything is made.
    """
    said = {each.name: each.cidr for each in made.spec.networks}
    found = {name: cidr for name in said if (cidr := said[name] or known.get(name))}
    _check_apart(made, found)
    others = list(taken)
    free = iter(pool)
    for name in said:
        if name in found or made.networks[name] == HOME:
            continue
        have = [IPv4Network(cidr) for cidr in found.values()]
        lowest = next((c for c in free if not any(c.overlaps(o) for o in (*others, *have))), None)
        if lowest is None:
            raise NoRoom("no subnet is left; say one", field="networks")
        found[name] = str(lowest)
    return found


def _check_apart(made: Spread, found: Mapping[str, str]) -> None:
    if len(made.parts) < 2:  # rules look at what they join in one region
        return
    seen: list[tuple[IPv4Network, str]] = []
    for number, network in enumerate(made.spec.networks):
        if network.name not in found:
            continue
        cidr = checked(found[network.name])
        for other, name in seen:
            if cidr.overlaps(other):
                raise BadInput(
                    f"{cidr} overlaps with {other} of {name}: a farm in several regions has every address once",
                    field=f"networks.{number}.cidr",
                )
        seen.append((cidr, network.name))
