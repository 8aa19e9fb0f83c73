"""What one may ask of routing appliances' rules. Each change holds the network's row, so two that collide meet here."""

from ipaddress import IPv4Network

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import AccountId, AddressId, MachineId, NetworkId, NicId, RuleId
from arable.domain.machine import LIVING
from arable.domain.manifest import Direction, Protocol
from arable.domain.network import Address, Network, NetworkState, Nic, Rule, RuleKind
from arable.services.asks import check_expected, network_changed, own_network, tell
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.store import addresses, machines, nics, rules
from arable.store.rules import Ends
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.rules import FirewallIn, ForwardIn, RuleMadeOut, RuleOut, RuleQuery

MOST = 1000
"""Rules of one network: each is in every wish of its appliance."""

_LAST_PORT = 65_535


def forward(call: Call, ask: ForwardIn) -> RuleMadeOut:
    """Ports of a public address lead to a machine."""
    address, network = _network_of(call, AddressId(ask.address))
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
        cidr=_cidr(ask.cidr) if ask.open else "",
        first_port=first,
        last_port=last,
        nic=_nic(call, network, MachineId(ask.machine)).id,
        to_port=to_port,
        created_at=call.around.clock.now(),
    )
    return _kept(call, network, made, f"{address.address}:{first} forwarded")


def firewall(call: Call, ask: FirewallIn) -> RuleMadeOut:
    """Traffic may pass."""
    call.caller.needs(Permission.NETWORK_WRITE)
    address: Address | None = None
    if ask.direction == "in":
        if ask.address is None or ask.network is not None:
            raise BadInput("inbound rules are about a public address", field="address")
        address, network = _network_of(call, AddressId(ask.address))
    else:
        if ask.network is None or ask.address is not None:
            raise BadInput("outbound rules are about a network", field="network")
        network = own_network(call, NetworkId(ask.network))
    first, last = 0, 0
    if ask.first_port is not None:
        if ask.protocol not in ("tcp", "udp"):
            raise BadInput(f"{ask.protocol} has no ports", field="first_port")
        first, last = _ports(ask.first_port, ask.last_port)
    elif ask.last_port is not None:
        raise BadInput("from which port on?", field="first_port")
    made = Rule(
        id=RuleId(call.around.ids.new("rule")),
        account=network.account,
        network=network.id,
        address=address.id if address else None,
        kind=RuleKind.FIREWALL,
        direction=Direction(ask.direction),
        protocol=Protocol(ask.protocol),
        cidr=_cidr(ask.cidr),
        first_port=first,
        last_port=last,
        created_at=call.around.clock.now(),
    )
    return _kept(call, network, made, f"{made.protocol} {made.direction} of {made.cidr} allowed")


def delete(call: Call, rule: RuleId) -> OperationOut:
    """No longer. With a forward goes what it opened."""
    call.caller.needs(Permission.NETWORK_WRITE)
    found = rules.get(call.tx, call.caller.scope, rule)
    network = own_network(call, found.network)
    found = rules.get(call.tx, call.caller.scope, rule)  # again, now that nobody else can delete it
    check_expected(call, found.generation, "rule")
    rules.remove(call.tx, rule)
    tell(call, network.account, "rule.deleted", rule, f"{network.name}: a rule was deleted")
    return shown(network_changed(call, network, "rule.delete", result={"rule": rule}))


def page(call: Call, query: RuleQuery) -> Page[RuleOut]:
    """Rules in sight, by age."""
    call.caller.needs(Permission.NETWORK_READ)
    where = rules.RuleFilter(
        account=AccountId(query.account) if query.account else None,
        network=NetworkId(query.network) if query.network else None,
        address=AddressId(query.address) if query.address else None,
        nic=NicId(query.nic) if query.nic else None,
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
    there = rules.page(call.tx, call.caller.scope, rules.RuleFilter(network=network.id))
    if len(there) >= MOST:
        raise Conflict(f"{network.name} has {MOST} rules, and no network has more")
    for other in there:
        _check_beside(made, other)
    rules.add(call.tx, made)
    tell(call, network.account, "rule.created", made.id, f"{network.name}: {told}")
    operation = network_changed(call, network, "rule.create", result={"rule": made.id})
    return RuleMadeOut(operation=operation.id, rule=_shown(call, made))


def _check_beside(made: Rule, other: Rule) -> None:
    """Two forwards can't have the same port of the same address, and nothing is said twice."""
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
    said = ("direction", "protocol", "cidr", "first_port", "last_port")
    if all(getattr(made, name) == getattr(other, name) for name in said):
        raise Conflict(f"{other.id} says the same", why={"rule": other.id})


def _span(rule: Rule) -> str:
    one = rule.first_port == rule.last_port
    return f"port {rule.first_port}" if one else f"ports {rule.first_port} to {rule.last_port}"


def _network_of(call: Call, id_: AddressId) -> tuple[Address, Network]:
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


def _nic(call: Call, network: Network, id_: MachineId) -> Nic:
    """The machine's port on the network."""
    machine = machines.get(call.tx, call.caller.scope, id_)
    if machine.wish not in LIVING:
        raise Conflict(f"{machine.name} is on its way out", field="machine")
    for nic in nics.of_machines(call.tx, [id_]).get(id_, []):
        if nic.network == network.id:
            return nic
    raise BadInput(
        f"{machine.name} has no port on {network.name}, which has this address", field="machine"
    )


def _ports(first: int, last: int | None) -> tuple[int, int]:
    if last is not None and last < first:
        raise BadInput("comes before the first port", field="last_port")
    return first, last or first


def _cidr(text: str) -> str:
    try:
        return str(IPv4Network(text))
    except ValueError:
        raise BadInput(
            "not an IPv4 subnet: it looks like 198.51.100.0/24, with no bits set after the prefix",
            field="cidr",
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
        created_at=rule.created_at,
    )
