"""What one may ask of remote access to networks. Each change holds the network's row, so two that collide meet here."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from arable.domain.access import Permission
from arable.domain.guest_cidr import checked
from arable.domain.ids import AccountId, AddressId, NetworkId, VpnId
from arable.domain.network import Network
from arable.domain.vpn import Vpn, VpnKind
from arable.services.asks import check_expected, network_changed, own_network, tell
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.rules import network_of
from arable.services.tunnels import (
    allowed,
    check_apart,
    check_name,
    check_new,
    check_ready,
    new_key,
    openings,
)
from arable.store import balancers, vpns
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.remote_accesses import (
    RemoteAccessChange,
    RemoteAccessIn,
    RemoteAccessMadeOut,
    RemoteAccessOut,
    RemoteAccessQuery,
)

_ACCESS = VpnKind.ACCESS


def create(call: Call, ask: RemoteAccessIn) -> RemoteAccessMadeOut:
    """A way into a network, for clients that are named later."""
    address, network = network_of(call, AddressId(ask.address))
    check_new(call, network, address, ask.port)
    check_name(call, network, _ACCESS, ask.name)
    cidr = checked(ask.cidr)
    check_apart(call, network, [cidr], "cidr", None)
    id_ = VpnId(call.around.ids.new("access"))
    public_key, sealed = new_key(call, id_)
    made = Vpn(
        id=id_,
        account=network.account,
        network=network.id,
        address=address.id,
        kind=_ACCESS,
        port=ask.port,
        cidr=str(cidr),
        name=ask.name,
        public_key=public_key,
        sealed=sealed,
        openings=openings(ask.allow),
        created_at=call.around.clock.now(),
    )
    vpns.add(call.tx, made)
    return _told(call, network, made, "create", f"{made.name}: clients of {cidr} have access")


def update(call: Call, access: VpnId, change: RemoteAccessChange) -> RemoteAccessMadeOut:
    """What is said is changed."""
    found, network = own(call, access)
    check_expected(call, found.generation, "remote access")
    but: dict[str, Any] = {}
    if change.name is not UNSET and change.name != found.name:
        check_name(call, network, _ACCESS, change.name)
        but["name"] = change.name
    if change.allow is not UNSET:
        but["openings"] = openings(change.allow)
    changed = found.changed(**but)
    vpns.save(call.tx, changed)
    return _told(call, network, changed, "update", f"{changed.name} was changed")


def delete(call: Call, access: VpnId) -> OperationOut:
    """No longer, for any of its clients."""
    found, network = own(call, access)
    check_expected(call, found.generation, "remote access")
    vpns.remove(call.tx, [access])
    tell(call, found.account, "access.deleted", access, f"{network.name}: {found.name} was deleted")
    return shown(network_changed(call, network, "access.delete", result={"access": access}))


def page(call: Call, query: RemoteAccessQuery) -> Page[RemoteAccessOut]:
    """Those in sight, by age."""
    call.caller.needs(Permission.NETWORK_READ)
    where = vpns.VpnFilter(
        kind=_ACCESS,
        account=AccountId(query.account) if query.account else None,
        network=NetworkId(query.network) if query.network else None,
        name=query.name or "",
    )
    found = vpns.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    shapes = {shape.id: shape for shape in _shapes(call, found)}
    return paged(found, query, lambda each: shapes[each.id])


def get(call: Call, access: VpnId) -> RemoteAccessOut:
    """One."""
    call.caller.needs(Permission.NETWORK_READ)
    return _shapes(call, [vpns.get(call.tx, call.caller.scope, _ACCESS, access)])[0]


def own(call: Call, id_: VpnId) -> tuple[Vpn, Network]:
    """Remote access that the caller may change, and its network, which is held until the end of the transaction."""
    call.caller.needs(Permission.NETWORK_WRITE)
    before = vpns.get(call.tx, call.caller.scope, _ACCESS, id_)
    network = own_network(call, before.network)
    found = vpns.get(call.tx, call.caller.scope, _ACCESS, id_)  # now nobody else can change it
    check_ready(network)
    return found, network


def _told(call: Call, network: Network, made: Vpn, verb: str, text: str) -> RemoteAccessMadeOut:
    kind = "access.created" if verb == "create" else "access.changed"
    tell(call, made.account, kind, made.id, f"{network.name}: {text}")
    operation = network_changed(call, network, f"access.{verb}", result={"access": made.id})
    return RemoteAccessMadeOut(operation=operation.id, access=_shapes(call, [made])[0])


def _shapes(call: Call, found: Sequence[Vpn]) -> list[RemoteAccessOut]:
    peers = vpns.peers(call.tx, [each.id for each in found])
    publics = balancers.publics(call.tx, {each.address for each in found})
    seen = vpns.seen(call.tx, [peer.id for few in peers.values() for peer in few])
    return [
        RemoteAccessOut(
            id=each.id,
            account=each.account,
            network=each.network,
            name=each.name,
            address=each.address,
            public=publics[each.address],
            port=each.port,
            cidr=each.cidr,
            public_key=each.public_key,
            allow=allowed(each.openings),
            clients=len(peers.get(each.id, ())),
            up=sum(p.id in seen and seen[p.id].peer.up for p in peers.get(each.id, ())),
            generation=each.generation,
            created_at=each.created_at,
        )
        for each in found
    ]
