"""What one may ask of guest networks. Each is a VLAN of its zone, a subnet and a routing appliance of its own."""

from ipaddress import IPv4Network
from typing import Any, NamedTuple

from msgspec import UNSET

from arable.domain import farm as farm_
from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, LimitExceeded
from arable.domain.farm import Farm
from arable.domain.guest_cidr import check_beside, checked, gateway_of
from arable.domain.guest_ipv6 import gateway_of as gateway6_of
from arable.domain.ids import AccountId, FarmId, HostId, NetworkId, ZoneId
from arable.domain.network import Address, ApplianceState, Network, NetworkState, RuleKind
from arable.domain.router_runtime import RouterRuntime
from arable.domain.subnet import resolvers as resolver_addresses
from arable.domain.zone import Zone
from arable.services import belonging
from arable.services.asks import (
    MACHINES,
    NETWORKS,
    check_expected,
    network_changed,
    own_network,
    tell,
)
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.references import References
from arable.store import (
    addresses,
    balancers,
    farms,
    ipv6_ranges,
    networks,
    nics,
    public_ranges,
    quotas,
    router_memory,
    routing,
    rules,
    vlans,
    vpns,
    zones,
)
from arable.store.nudges import nudge
from arable.wire.common import Page
from arable.wire.networks import NetworkChange, NetworkIn, NetworkOut, NetworkQuery
from arable.wire.operations import OperationOut

NO_WAY_OUT = (
    "has no public address, so its machines have no way out: acquire one and associate it, "
    "or ask the operator for more"
)


class Told(NamedTuple):
    """What a network's machines are told, where its zone does not say it."""

    isolated: bool
    dns_domain: str
    resolvers: tuple[str, ...] | None
    redundant: bool = False
    ipv6: bool = False


def create(call: Call, ask: NetworkIn) -> NetworkOut:
    """A network, with a public address as its way out if there is one to be had."""
    call.caller.needs(Permission.NETWORK_WRITE)
    account = call.caller.account
    found = References(call.tx)
    zone = found.zone(ask.zone)
    cidr = checked(ask.cidr or zone.guest_cidr)
    farm = None if ask.farm is None else found.farm(account, zone, ask.farm)
    if farm is not None:
        found.check_stays(farm.id)
    told = Told(
        ask.isolated,
        ask.dns_domain or zone.dns_domain,
        _resolvers(ask.resolvers, ask.isolated),
        ask.redundant,
        ask.ipv6,
    )
    made = make(call, account, zone, ask.name, cidr, farm, told)
    return _shape(call, made, addresses.of_networks(call.tx, [made.id]).get(made.id, []))


def make(
    call: Call,
    account: AccountId,
    zone: Zone,
    name: str,
    cidr: IPv4Network,
    farm: Farm | None = None,
    told: Told | None = None,
) -> Network:
    """Keep a new network. Raises before anything is kept, or leaves it to the caller's savepoint.

    Taking from the limit holds the account's row, so nobody else makes a network of this account meanwhile.
    """
    quotas.take(call.tx, account, networks=1)
    if networks.named(call.tx, account, zone.id, name) is not None:
        raise Conflict(f"you have a network named {name} in {zone.name} already", field="name")
    check_beside(cidr, networks.of_account(call.tx, account, zone.id))
    for public in public_ranges.of_zone(call.tx, zone.id):
        if cidr.overlaps(IPv4Network(public.cidr)):
            raise Conflict(
                f"overlaps with {public.cidr}, public addresses of the zone", field="cidr"
            )
    ipv6 = told is not None and told.ipv6
    redundant = told is not None and told.redundant
    taken = ipv6_ranges.take(call.tx, zone.id) if ipv6 else None
    id_ = NetworkId(call.around.ids.new("network"))
    vlan = vlans.take(call.tx, zone.id, id_)
    of = (farm or default_farm(call, account, zone.id)).id
    made = Network(
        id=id_,
        account=account,
        farm=of,
        zone=zone.id,
        name=name,
        cidr=str(cidr),
        gateway=gateway_of(cidr),
        dns_domain=told.dns_domain if told else zone.dns_domain,
        vlan=vlan,
        number=networks.free_number(call.tx, of),
        isolated=told is not None and told.isolated,
        resolvers=told.resolvers if told else None,
        redundant=redundant,
        ipv6_range=taken.range if taken else None,
        ipv6_number=taken.number if taken else None,
        ipv6_cidr=taken.cidr if taken else None,
        created_at=call.around.clock.now(),
    )
    networks.add(call.tx, made)
    way_out = None if made.isolated else _take_way_out(call, made)
    also = f" and {made.ipv6_cidr}" if made.ipv6_cidr else ""
    missing = "" if way_out or made.isolated else f"; {NO_WAY_OUT}"
    tell(call, account, "network.created", id_, f"{name}: created, {cidr}{also}{missing}")
    return made


def default_farm(call: Call, account: AccountId, zone: ZoneId) -> Farm:
    """The account's default farm in the zone, made on first use by whoever holds the account's limit."""
    found = farms.named(call.tx, account, zone, farm_.DEFAULT)
    if found is None:
        found = Farm(
            id=FarmId(call.around.ids.new("farm")),
            account=account,
            zone=zone,
            name=farm_.DEFAULT,
            created_at=call.around.clock.now(),
        )
        farms.add(call.tx, found)
    return found


def _take_way_out(call: Call, network: Network) -> Address | None:
    """A public address for source NAT; none when the zone has none left, or the account's limit none to spare."""
    free = addresses.take_free(call.tx, network.zone)
    if free is None:
        return None
    try:
        quotas.take(call.tx, network.account, addresses=1)
    except LimitExceeded:
        return None
    taken = free.changed(
        account=network.account,
        network=network.id,
        source_nat=True,
        taken_at=call.around.clock.now(),
    )
    addresses.take(call.tx, taken, call.around.clock.now())
    return taken


def page(call: Call, query: NetworkQuery) -> Page[NetworkOut]:
    """Networks in sight, by age."""
    call.caller.needs(Permission.NETWORK_READ)
    where = networks.NetworkFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        farm=FarmId(query.farm) if query.farm else None,
        state=NetworkState(query.state) if query.state else None,
        name=query.name or "",
        prefix=query.prefix or "",
    )
    found = networks.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    public = addresses.of_networks(call.tx, [network.id for network in found])
    return paged(found, query, lambda each: _shape(call, each, public.get(each.id, [])))


def get(call: Call, network: NetworkId) -> NetworkOut:
    """One."""
    call.caller.needs(Permission.NETWORK_READ)
    found = networks.get(call.tx, call.caller.scope, network)
    return _shape(call, found, addresses.of_networks(call.tx, [network]).get(network, []))


def update(call: Call, network: NetworkId, change: NetworkChange) -> NetworkOut:
    """Another name, DNS domain or resolvers. Its subnet stays: machines, and rules elsewhere, have addresses of it."""
    if change.ipv6 is True:
        ipv6_ranges.hold_machines(call.tx, network)
        networks.by_ids(call.tx, [network, *rules.joined(call.tx, network)], lock=True)
    found = own_network(call, network)
    belonging.check_free(call, network)
    check_expected(call, found.generation, "network")
    _check_ready(found)
    but: dict[str, Any] = {}
    if change.name is not UNSET and change.name != found.name:
        if networks.named(call.tx, found.account, found.zone, change.name) is not None:
            raise Conflict(f"there is a network named {change.name} already", field="name")
        tell(call, found.account, "network.renamed", network, f"{found.name}: now {change.name}")
        but["name"] = change.name
    if change.dns_domain is not UNSET and change.dns_domain != found.dns_domain:
        told = f"{found.name}: its domain is {change.dns_domain}"
        tell(call, found.account, "network.changed", network, told)
        but["dns_domain"] = change.dns_domain
    if change.resolvers is not UNSET:
        resolvers = _resolvers(change.resolvers, found.isolated)
        if resolvers != found.resolvers:
            but["resolvers"] = resolvers
            tell(call, found.account, "network.changed", network, f"{found.name}: other resolvers")
    if change.redundant is not UNSET and change.redundant != found.redundant:
        but["redundant"] = change.redundant
        how = "is to have two routing appliances" if change.redundant else "has one again"
        tell(call, found.account, "network.changed", network, f"{found.name}: {how}")
    if change.ipv6 is not UNSET and change.ipv6 != (found.ipv6_cidr is not None):
        but |= with_ipv6(call, found, wanted=change.ipv6)
    if but:
        # Every generation is told to the appliance, or what waits for the last one would wait for ever.
        found = found.changed(attention=True, **but)
        networks.save(call.tx, found)
        nudge(call.tx, NETWORKS)
    return _shape(call, found, addresses.of_networks(call.tx, [network]).get(network, []))


def with_ipv6(call: Call, found: Network, *, wanted: bool) -> dict[str, Any]:
    """What changes of its row when it gets a /64, and its machines addresses in it; their rows are held already.

    Raises `Conflict` when it has one and should lose it, or the zone has no IPv6, `NoRoom` when all are taken.
    """
    if not wanted:
        raise Conflict(
            f"{found.name} keeps {found.ipv6_cidr} until it is deleted: its machines have addresses of it",
            field="ipv6",
        )
    taken = ipv6_ranges.take(call.tx, found.zone)
    if ipv6_ranges.wake_machines(call.tx, found.id):
        nudge(call.tx, MACHINES)
    for each in sorted(rules.joined(call.tx, found.id)):
        routing.note_changed(call.tx, each)  # its router leads there by IPv6, too
    tell(call, found.account, "network.changed", found.id, f"{found.name}: has {taken.cidr}, too")
    return {"ipv6_range": taken.range, "ipv6_number": taken.number, "ipv6_cidr": taken.cidr}


def restart(call: Call, network: NetworkId) -> OperationOut:
    """Its routing appliance is made anew, where it is. Who has which address stays; connections through it end."""
    found = own_network(call, network)
    check_expected(call, found.generation, "network")
    _check_ready(found)
    _run_as_its_zone_says(call, found)
    operation = network_changed(call, found, "network.restart", restarts=found.restarts + 1)
    tell(
        call, found.account, "network.restarted", network, f"{found.name}: its router is made anew"
    )
    return shown(operation)


def _run_as_its_zone_says(call: Call, found: Network) -> None:
    """A router that is made anew is what its zone says by now, where its host can run such a one, and has memory for it;
    of two, where both have.
    """
    wanted = zones.get(call.tx, found.zone).router_runtime
    if wanted is found.appliance_runtime:
        return
    mib: dict[HostId, int] = {}
    if wanted is RouterRuntime.VM:
        where = {host for host in (found.appliance_host, found.standby_host) if host}
        able = router_memory.of_hosts(call.tx, found.zone)
        if not where or not where <= able.keys():
            return
        mib = {host: able[host] for host in where}
    if router_memory.become(call.tx, found.id, mib):
        routing.run_as(call.tx, found.id, wanted)


def _resolvers(said: tuple[str, ...] | None, isolated: bool) -> tuple[str, ...] | None:
    if said and isolated:
        raise BadInput("an isolated network has no way to a resolver outside", field="resolvers")
    return None if said is None else resolver_addresses(said)


def delete(call: Call, network: NetworkId) -> OperationOut:
    """It leaves: done when no host has anything of it any more. Its name is free at once, its VLAN only then."""
    found = own_network(call, network)
    belonging.check_free(call, network)
    check_expected(call, found.generation, "network")
    _check_ready(found)
    if count := nics.of_network(call.tx, network):
        raise Conflict(
            f"{count} machines have ports on {found.name}, destroyed ones among them until they are expunged",
            why={"ports": count},
        )
    held = addresses.of_networks(call.tx, [network]).get(network, [])
    if others := [address.address for address in held if not address.source_nat]:
        raise Conflict(
            f"{found.name} has public addresses; release them first: {', '.join(others)}"
        )
    where = rules.RuleFilter(network=network, kind=RuleKind.BETWEEN)
    led = [each.id for each in rules.page(call.tx, call.caller.scope, where)]
    if between := sorted((*led, *rules.from_network(call.tx, network))):
        raise Conflict(
            f"there are rules between {found.name} and other networks; delete them first",
            why={"rules": between},
        )
    rules.remove_of_network(call.tx, network)
    balancers.remove_of_network(call.tx, network)
    vpns.remove_of_network(call.tx, network)
    for address in held:
        addresses.release(call.tx, address, call.around.clock.now())
        quotas.give(call.tx, found.account, addresses=1)
    operation = network_changed(
        call, found, "network.delete", state=NetworkState.LEAVING, name=str(found.id)
    )
    tell(call, found.account, "network.leaving", network, f"{found.name}: deleted")
    return shown(operation)


def _check_ready(network: Network) -> None:
    if network.state is not NetworkState.READY:
        raise Conflict("this network was deleted; it goes when no host has anything of it")


def _is_halved(network: Network) -> bool:
    runs = ApplianceState.RUNNING
    led = network.redundant and network.appliance_state is runs
    return led and network.standby_state is not runs


def _shape(call: Call, network: Network, public: list[Address]) -> NetworkOut:
    source = next((address.address for address in public if address.source_nat), None)
    notice = ""
    if network.state is NetworkState.READY and source is None and not network.isolated:
        notice = f"{network.name} {NO_WAY_OUT}"
    infra = Permission.INFRA_READ in call.caller.permissions
    if _is_halved(network):
        why = f" ({network.standby_told})" if infra and network.standby_told else ""
        alone = f"{network.name} has one routing appliance instead of two for now{why}"
        notice = f"{notice}; {alone}" if notice else alone
    return NetworkOut(
        id=network.id,
        name=network.name,
        account=network.account,
        zone=network.zone,
        farm=network.farm,
        cidr=network.cidr,
        gateway=network.gateway,
        dns_domain=network.dns_domain,
        resolvers=network.resolvers,
        isolated=network.isolated,
        ipv6_cidr=network.ipv6_cidr,
        ipv6_gateway=gateway6_of(network.ipv6_cidr) if network.ipv6_cidr else None,
        vlan=network.vlan if infra else None,
        state=network.state.value,
        appliance=network.appliance_state.value,
        redundant=network.redundant,
        standby=network.standby_state.value,
        appliance_host=network.appliance_host if infra else None,
        standby_host=network.standby_host if infra else None,
        appliance_runtime=network.appliance_runtime.value if infra else None,
        source_nat=source,
        notice=notice,
        generation=network.generation,
        created_at=network.created_at,
    )
