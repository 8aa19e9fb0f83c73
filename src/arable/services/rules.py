"""What one may ask of routing appliances' rules. Each change holds the network's row, so two that collide meet here."""

from ipaddress import IPv4Network, IPv6Network

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.ids import AccountId, AddressId, MachineId, NetworkId, NicId, OperationId, RuleId
from arable.domain.machine import LIVING
from arable.domain.manifest import Direction, Protocol
from arable.domain.network import Address, Network, NetworkState, Nic, Rule, RuleKind
from arable.services import belonging, tunnels
from arable.services.asks import check_expected, network_changed, own_network, tell
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.store import addresses, balancers, machines, networks, nics, routing, rules, vlans, vpns
from arable.store.rules import Ends
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.rules import (
    BetweenIn,
    FirewallIn,
    ForwardIn,
    RuleMadeOut,
    RuleOut,
    RuleQuery,
    StaticNatIn,
)

MOST = 1000
"""Rules of one network: each is in every wish of its appliance."""

_LAST_PORT = 65_535


def forward(call: Call, ask: ForwardIn) -> RuleMadeOut:
    """Ports of a public address lead to a machine."""
    address, network = network_of(call, AddressId(ask.address))
    first, last = _ports(ask.first_port, ask.last_port)
    to_port = ask.to_port or first
    if to_port + last - first > _LAST_PORT:
        raise BadInput(f"the ports would go up to {to_port + last - first}", field="to_port")
    made = Rule(
        id=RuleId(call.around.ids.new("rule")),
        account=network.account,
        network=network.id,
        address=address.id,
        kind=RuleKind.FORWARD,
        protocol=Protocol(ask.protocol),
        cidr=cidr_of(ask.cidr) if ask.open else "",
        first_port=first,
        last_port=last,
        nic=nic_of(call, network, MachineId(ask.machine)).id,
        to_port=to_port,
        created_at=call.around.clock.now(),
    )
    return _kept(call, network, made, f"{address.address}:{first} forwarded")


def firewall(call: Call, ask: FirewallIn) -> RuleMadeOut:
    """Traffic may pass."""
    call.caller.needs(Permission.NETWORK_WRITE)
    first, last = _some_ports(ask.protocol, ask.first_port, ask.last_port)
    address: Address | None = None
    six = ":" in ask.cidr
    if ask.direction == "in" and not six:
        if ask.address is None or ask.network is not None:
            raise BadInput(
                "inbound rules are about a public address; of IPv6 (cidr ::/0), about a network",
                field="address",
            )
        address, network = network_of(call, AddressId(ask.address))
    else:
        if ask.network is None or ask.address is not None:
            which = "inbound rules of IPv6" if ask.direction == "in" else "outbound rules"
            raise BadInput(f"{which} are about a network", field="network")
        network = own_network(call, NetworkId(ask.network))
        if six and network.ipv6_cidr is None:
            raise Conflict(f"{network.name} has no IPv6", field="cidr")
    made = Rule(
        id=RuleId(call.around.ids.new("rule")),
        account=network.account,
        network=network.id,
        address=address.id if address else None,
        kind=RuleKind.FIREWALL,
        direction=Direction(ask.direction),
        protocol=Protocol(ask.protocol),
        cidr=cidr6_of(ask.cidr) if six else cidr_of(ask.cidr),
        first_port=first,
        last_port=last,
        created_at=call.around.clock.now(),
    )
    return _kept(call, network, made, f"{made.protocol} {made.direction} of {made.cidr} allowed")


def between(call: Call, ask: BetweenIn) -> RuleMadeOut:
    """Connections from one network to another of the same farm may begin."""
    call.caller.needs(Permission.NETWORK_WRITE)
    first, last = _some_ports(ask.protocol, ask.first_port, ask.last_port)
    if ask.source == ask.network:
        raise BadInput("machines of one network reach each other without a rule", field="source")
    network, source = _both(call, NetworkId(ask.network), NetworkId(ask.source))
    if source.farm != network.farm:
        raise Conflict(f"{source.name} and {network.name} are of different farms", field="source")
    if source.state is not NetworkState.READY:
        raise Conflict(f"{source.name} was deleted", field="source")
    cidr = _part_of(source, network, ask.cidr)
    made = Rule(
        id=RuleId(call.around.ids.new("rule")),
        account=network.account,
        network=network.id,
        address=None,
        kind=RuleKind.BETWEEN,
        protocol=Protocol(ask.protocol),
        cidr=cidr,
        first_port=first,
        last_port=last,
        source=source.id,
        created_at=call.around.clock.now(),
    )
    _check_room(call, source)
    for here, there in ((network, source), (source, network)):
        tunnels.check_beside_tunnels(call, here, there)
    vlans.link(call.tx, network.account, network.zone, network.farm)
    networks.save(call.tx, source.changed(attention=True))
    answer = _kept(call, network, made, f"{made.protocol} from {source.name} allowed")
    routing.wait_also(call.tx, OperationId(answer.operation), source.id)
    return answer


def _part_of(source: Network, network: Network, asked: str | None) -> str:
    """Who of the source may call; all of it is kept as its subnet of IPv4, and means both families."""
    if asked is None:
        return source.cidr
    if ":" not in asked:
        cidr = cidr_of(asked)
        if not IPv4Network(cidr).subnet_of(IPv4Network(source.cidr)):
            raise BadInput(f"not a part of {source.cidr}, which is {source.name}", field="cidr")
        return cidr
    for each in (source, network):
        if each.ipv6_cidr is None:
            raise Conflict(f"{each.name} has no IPv6", field="cidr")
    cidr = cidr6_of(asked)
    if not IPv6Network(cidr).subnet_of(IPv6Network(source.ipv6_cidr or cidr)):
        raise BadInput(f"not a part of {source.ipv6_cidr}, which is {source.name}", field="cidr")
    return cidr


def static_nat(call: Call, ask: StaticNatIn) -> RuleMadeOut:
    """A public address is one machine's: all that comes to it, and all that the machine sends out."""
    address, network = network_of(call, AddressId(ask.address))
    if address.source_nat:
        raise Conflict(
            f"{network.name}'s machines go out by {address.address}; take another address",
            field="address",
        )
    made = Rule(
        id=RuleId(call.around.ids.new("rule")),
        account=network.account,
        network=network.id,
        address=address.id,
        kind=RuleKind.STATIC_NAT,
        protocol=Protocol.ALL,
        nic=nic_of(call, network, MachineId(ask.machine)).id,
        created_at=call.around.clock.now(),
    )
    return _kept(call, network, made, f"{address.address} is one machine's")


def delete(call: Call, rule: RuleId) -> OperationOut:
    """No longer. With a forward goes what it opened."""
    call.caller.needs(Permission.NETWORK_WRITE)
    found = rules.get(call.tx, call.caller.scope, rule)
    source: Network | None = None
    if found.source is None:
        network = own_network(call, found.network)
    else:
        network, source = _both(call, found.network, found.source)
    found = rules.get(call.tx, call.caller.scope, rule)  # again, now that nobody else can delete it
    belonging.check_free(call, rule)
    check_expected(call, found.generation, "rule")
    rules.remove(call.tx, rule)
    if source:
        networks.save(call.tx, source.changed(attention=True))
    tell(call, network.account, "rule.deleted", rule, f"{network.name}: a rule was deleted")
    operation = network_changed(call, network, "rule.delete", result={"rule": rule})
    if source:
        routing.wait_also(call.tx, operation.id, source.id)
    return shown(operation)


def page(call: Call, query: RuleQuery) -> Page[RuleOut]:
    """Rules in sight, by age."""
    call.caller.needs(Permission.NETWORK_READ)
    where = rules.RuleFilter(
        account=AccountId(query.account) if query.account else None,
        network=NetworkId(query.network) if query.network else None,
        address=AddressId(query.address) if query.address else None,
        nic=NicId(query.nic) if query.nic else None,
        source=NetworkId(query.source) if query.source else None,
        kind=RuleKind(query.kind) if query.kind else None,
    )
    found = rules.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    ends = rules.ends(call.tx, [each.id for each in found])
    return paged(found, query, lambda rule: _shape(rule, ends[rule.id]))


def get(call: Call, rule: RuleId) -> RuleOut:
    """One."""
    call.caller.needs(Permission.NETWORK_READ)
    return _shown(call, rules.get(call.tx, call.caller.scope, rule))


def _kept(call: Call, network: Network, made: Rule, told: str) -> RuleMadeOut:
    if network.state is not NetworkState.READY:
        raise Conflict(f"{network.name} was deleted")
    for other in _check_room(call, network):
        _check_beside(made, other)
    if made.kind is RuleKind.STATIC_NAT:
        _check_unbalanced(call, made.address, 1, _LAST_PORT, "address")
        _check_no_vpn(call, made.address, 1, _LAST_PORT, "address")
    elif made.kind is RuleKind.FORWARD and made.protocol is Protocol.TCP:
        _check_unbalanced(call, made.address, made.first_port, made.last_port, "first_port")
    elif made.kind is RuleKind.FORWARD:
        _check_no_vpn(call, made.address, made.first_port, made.last_port, "first_port")
    rules.add(call.tx, made)
    tell(call, network.account, "rule.created", made.id, f"{network.name}: {told}")
    operation = network_changed(call, network, "rule.create", result={"rule": made.id})
    return RuleMadeOut(operation=operation.id, rule=_shown(call, made))


def _check_room(call: Call, network: Network) -> list[Rule]:
    """The rules of a network to which one more may come; those by which its machines call others count, too."""
    there = rules.page(call.tx, call.caller.scope, rules.RuleFilter(network=network.id))
    if len(there) + len(rules.from_network(call.tx, network.id)) >= MOST:
        raise Conflict(f"{network.name} has {MOST} rules, and no network has more")
    return there


def _both(call: Call, id_: NetworkId, source: NetworkId) -> tuple[Network, Network]:
    """Two networks that the caller may change, held until the end of the transaction; in the order of their ids, as everywhere."""
    for each in (id_, source):
        networks.get(call.tx, call.caller.scope, each)
    held = networks.by_ids(call.tx, [id_, source], lock=True)
    if len(held) < 2:
        raise NotFound("there is no such network")
    return held[id_], held[source]


def _check_beside(made: Rule, other: Rule) -> None:
    """Two forwards can't have the same port of the same address, and nothing is said twice.

    An address that is wholly a machine's leads nowhere else, and a machine goes out by one address.
    """
    statics = RuleKind.STATIC_NAT in (made.kind, other.kind)
    if statics and RuleKind.FIREWALL not in (made.kind, other.kind):
        if made.address == other.address:
            raise Conflict(
                f"{other.id} uses this address already", field="address", why={"rule": other.id}
            )
        if made.kind is other.kind and made.nic == other.nic:
            raise Conflict(
                f"the machine has an address of its own already, by {other.id}",
                field="machine",
                why={"rule": other.id},
            )
        return
    if made.kind is not other.kind or made.address != other.address:
        return
    if made.kind is RuleKind.FORWARD:
        meets = made.first_port <= other.last_port and other.first_port <= made.last_port
        if meets and made.protocol is other.protocol:
            raise Conflict(
                f"{other.protocol} {_span(other)} of this address is forwarded already, by {other.id}",
                field="first_port",
                why={"rule": other.id},
            )
        return
    said = ("direction", "protocol", "cidr", "first_port", "last_port", "source")
    if all(getattr(made, name) == getattr(other, name) for name in said):
        raise Conflict(f"{other.id} says the same", why={"rule": other.id})


def _span(rule: Rule) -> str:
    one = rule.first_port == rule.last_port
    return f"port {rule.first_port}" if one else f"ports {rule.first_port} to {rule.last_port}"


def network_of(call: Call, id_: AddressId) -> tuple[Address, Network]:
    """The address and the network that has it, which is held until the end of the transaction."""
    call.caller.needs(Permission.NETWORK_WRITE)
    before = addresses.get(call.tx, call.caller.scope, id_)
    if before.network is None:
        raise Conflict(
            f"{before.address} belongs to no network yet; associate it first", field="address"
        )
    network = own_network(call, before.network)
    address = addresses.get(call.tx, call.caller.scope, id_, lock=True)
    if address.network != network.id:
        raise Conflict(f"{address.address} was released meanwhile", field="address")
    return address, network


def check_port_free(call: Call, network: Network, address: Address, port: int) -> None:
    """Raises `Conflict` when something else is at this TCP port of the address."""
    for other in rules.page(call.tx, call.caller.scope, rules.RuleFilter(network=network.id)):
        forwarded = (
            other.kind is RuleKind.FORWARD
            and other.protocol is Protocol.TCP
            and other.first_port <= port <= other.last_port
        )
        if other.address == address.id and (forwarded or other.kind is RuleKind.STATIC_NAT):
            raise Conflict(
                f"port {port} of {address.address} has another use, by {other.id}",
                field="port",
                why={"rule": other.id},
            )
    _check_unbalanced(call, address.id, port, port, "port")


def _check_unbalanced(
    call: Call, address: AddressId | None, first: int, last: int, field: str
) -> None:
    there = balancers.on_port(call.tx, address, first, last) if address else None
    if there is not None:
        raise Conflict(
            f"port {there.port} of this address is balanced already, by {there.name}",
            field=field,
            why={"balancer": there.id},
        )


def _check_no_vpn(call: Call, address: AddressId | None, first: int, last: int, field: str) -> None:
    there = vpns.on_port(call.tx, address, first, last) if address else None
    if there is not None:
        raise Conflict(
            f"port {there.port} of this address is that of the VPN {there.name}",
            field=field,
            why={"vpn": there.id},
        )


def nic_of(call: Call, network: Network, id_: MachineId, field: str = "machine") -> Nic:
    """The machine's port on the network."""
    machine = machines.get(call.tx, call.caller.scope, id_)
    if machine.wish not in LIVING:
        raise Conflict(f"{machine.name} is on its way out", field=field)
    for nic in nics.of_machines(call.tx, [id_]).get(id_, []):
        if nic.network == network.id:
            return nic
    raise BadInput(
        f"{machine.name} has no port on {network.name}, which has this address", field=field
    )


def _ports(first: int, last: int | None) -> tuple[int, int]:
    if last is not None and last < first:
        raise BadInput("comes before the first port", field="last_port")
    return first, last or first


def _some_ports(protocol: str, first: int | None, last: int | None) -> tuple[int, int]:
    """Of a rule that may be about all ports: 0 and 0 then."""
    if first is None:
        if last is not None:
            raise BadInput("from which port on?", field="first_port")
        return 0, 0
    if protocol not in ("tcp", "udp"):
        raise BadInput(f"{protocol} has no ports", field="first_port")
    return _ports(first, last)


def cidr_of(text: str) -> str:
    """As it is kept; raises `BadInput`."""
    try:
        return str(IPv4Network(text))
    except ValueError:
        raise BadInput(
            "not an IPv4 subnet: it looks like 198.51.100.0/24, with no bits set after the prefix",
            field="cidr",
        ) from None


def cidr6_of(text: str, field: str = "cidr") -> str:
    """The same of IPv6."""
    try:
        return str(IPv6Network(text))
    except ValueError:
        raise BadInput(
            "not an IPv6 subnet: it looks like 2001:db8::/32, with no bits set after the prefix",
            field=field,
        ) from None


def _shown(call: Call, rule: Rule) -> RuleOut:
    return _shape(rule, rules.ends(call.tx, [rule.id])[rule.id])


def _shape(rule: Rule, ends: Ends) -> RuleOut:
    ports = rule.first_port > 0
    is_forward = rule.kind is RuleKind.FORWARD
    return RuleOut(
        id=rule.id,
        account=rule.account,
        network=rule.network,
        network_name=ends.network_name,
        kind=rule.kind.value,
        direction=rule.direction.value,
        address=rule.address,
        public=ends.public,
        protocol=rule.protocol.value,
        cidr=rule.cidr or None,
        open=bool(rule.cidr),
        first_port=rule.first_port if ports else None,
        last_port=rule.last_port if ports else None,
        nic=rule.nic,
        machine=ends.machine,
        machine_name=ends.machine_name,
        to_port=rule.to_port if is_forward else None,
        source=rule.source,
        source_name=ends.source_name,
        created_at=rule.created_at,
    )
