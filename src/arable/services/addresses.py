"""What one may ask of public addresses: take one, have a network's appliance answer for it, give it back."""

from msgspec import UNSET

from arable.domain.access import Permission, Scope
from arable.domain.errors import Conflict, NoRoom
from arable.domain.ids import AccountId, AddressId, NetworkId, ZoneId
from arable.domain.network import Address, Network, NetworkState
from arable.services import belonging
from arable.services.asks import begin, check_expected, network_changed, tell
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.references import References
from arable.store import addresses, balancers, networks, quotas, rules, vpns, zones
from arable.wire.addresses import AddressChange, AddressIn, AddressOut, AddressQuery, AssociateIn
from arable.wire.common import Page
from arable.wire.operations import OperationOut


def acquire(call: Call, ask: AddressIn) -> AddressOut:
    """A free address of the zone: this one, or any."""
    call.caller.needs(Permission.NETWORK_WRITE)
    account = call.caller.account
    zone = References(call.tx).zone(ask.zone)
    quotas.take(call.tx, account, addresses=1)
    if ask.name is not None:
        _check_name(call, account, zone.id, ask.name)
    if ask.address is None:
        free = addresses.take_free(call.tx, zone.id)
        if free is None:
            raise NoRoom(f"{zone.name} has no public address left; ask the operator for more")
    else:
        free = addresses.by_text(call.tx, zone.id, ask.address)
        if free is None or free.account is not None or free.network is not None:
            raise Conflict(
                f"{ask.address} is no free public address of {zone.name}", field="address"
            )
    taken = free.changed(account=account, name=ask.name, taken_at=call.around.clock.now())
    addresses.take(call.tx, taken, call.around.clock.now())
    tell(call, account, "address.acquired", taken.id, f"{taken.address}: acquired")
    return _shape(taken)


def update(call: Call, address: AddressId, change: AddressChange) -> AddressOut:
    """Name it, or take its name away."""
    call.caller.needs(Permission.NETWORK_WRITE)
    found = addresses.get(call.tx, call.caller.scope, address, lock=True)
    check_expected(call, found.generation, "public address")
    if change.name is not UNSET and change.name != found.name:
        owner = _owner(found)
        if change.name is not None:
            _check_name(call, owner, found.zone, change.name)
        found = found.changed(name=change.name)
        addresses.save(call.tx, found)
        told = f"now {change.name}" if change.name else "has no name any more"
        tell(call, owner, "address.named", address, f"{found.address}: {told}")
    return _shape(found)


def associate(call: Call, address: AddressId, ask: AssociateIn) -> OperationOut:
    """The network's appliance answers for the address. A network's first one is its way out, too."""
    call.caller.needs(Permission.NETWORK_WRITE)
    found = addresses.get(call.tx, call.caller.scope, address)
    check_expected(call, found.generation, "public address")
    owner = _owner(found)
    zone = zones.get(call.tx, found.zone)
    named = References(call.tx).network(owner, zone, ask.network)
    network = networks.get(call.tx, Scope(account=owner), named.id, lock=True)
    found = addresses.get(call.tx, call.caller.scope, address, lock=True)
    if found.network == network.id:
        return shown(begin(call, "address.associate", address, owner, done=True))
    if found.network is not None:
        raise Conflict(f"{found.address} belongs to another network of yours; release it first")
    if network.state is not NetworkState.READY:
        raise Conflict(f"{network.name} was deleted", field="network")
    if network.isolated:
        raise Conflict(
            f"{network.name} is isolated: it has no way out, and none in", field="network"
        )
    held = addresses.of_networks(call.tx, [network.id]).get(network.id, [])
    first = not any(other.source_nat for other in held)
    now = call.around.clock.now()
    addresses.take(call.tx, found.changed(network=network.id, source_nat=first), now)
    operation = network_changed(
        call, network, "address.associate", result={"address": found.address}
    )
    tell(call, owner, "address.associated", address, f"{found.address}: now of {network.name}")
    return shown(operation)


def release(call: Call, address: AddressId) -> OperationOut:
    """Give it back. Nobody else can have it before its network's appliance answers for it no more (rule 3)."""
    call.caller.needs(Permission.NETWORK_WRITE)
    found = addresses.get(call.tx, call.caller.scope, address)
    belonging.check_free(call, address)
    check_expected(call, found.generation, "public address")
    owner = _owner(found)
    quotas.give(call.tx, owner, addresses=1)  # limits are held before networks, as deploying does
    network: Network | None = None
    if found.network is not None:
        network = networks.get(call.tx, call.caller.scope, found.network, lock=True)
    found = addresses.get(call.tx, call.caller.scope, address, lock=True)
    if rules.any_of_address(call.tx, address):
        raise Conflict(f"rules use {found.address}; delete them first")
    if balancers.on_port(call.tx, address, 1, 65_535) is not None:
        raise Conflict(f"balancers use {found.address}; delete them first")
    if vpns.on_port(call.tx, address, 1, 65_535) is not None:
        raise Conflict(f"VPNs use {found.address}; delete them first")
    if found.network != (network and network.id):
        raise Conflict(f"{found.address} was associated meanwhile; ask again")
    addresses.release(call.tx, found, call.around.clock.now())
    tell(call, owner, "address.released", address, f"{found.address}: released")
    if network is None:
        return shown(begin(call, "address.release", address, owner, done=True))
    if found.source_nat:
        _go_out_by_another(call, network)
    return shown(network_changed(call, network, "address.release"))


def _go_out_by_another(call: Call, network: Network) -> None:
    """Its machines go out by the lowest address that is left, if any is and none is but one machine's."""
    left = addresses.of_networks(call.tx, [network.id]).get(network.id, [])
    taken = rules.whole(call.tx, network.id)
    free = [other for other in left if other.id not in taken]
    if left and not free:
        raise Conflict(
            f"{network.name}'s machines go out by this address, and each other one is a single machine's"
        )
    for other in free[:1]:
        addresses.save(call.tx, other.changed(source_nat=True))


def page(call: Call, query: AddressQuery) -> Page[AddressOut]:
    """Addresses that somebody in sight has, by age of the range."""
    call.caller.needs(Permission.NETWORK_READ)
    where = addresses.AddressFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        network=NetworkId(query.network) if query.network else None,
        address=query.address or "",
        name=query.name or "",
    )
    found = addresses.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    return paged(found, query, _shape)


def get(call: Call, address: AddressId) -> AddressOut:
    """One."""
    call.caller.needs(Permission.NETWORK_READ)
    return _shape(addresses.get(call.tx, call.caller.scope, address))


def _check_name(call: Call, account: AccountId, zone: ZoneId, name: str) -> None:
    there = addresses.named(call.tx, account, zone, name)
    if there is not None:
        raise Conflict(f"{there.address} is named {name} already", field="name")


def _owner(address: Address) -> AccountId:
    assert address.account is not None, "only taken addresses are found"
    return address.account


def _shape(address: Address) -> AddressOut:
    return AddressOut(
        id=address.id,
        account=_owner(address),
        zone=address.zone,
        address=address.address,
        name=address.name,
        network=address.network,
        source_nat=address.source_nat,
        taken_at=address.taken_at,
        generation=address.generation,
    )
