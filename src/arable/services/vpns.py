"""What one may ask of VPNs to sites. Each change holds the network's row, so two that collide meet here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from msgspec import UNSET

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import AccountId, AddressId, NetworkId, VpnId, VpnPeerId
from arable.domain.network import Network
from arable.domain.vpn import FarName, Vpn, VpnKind, VpnPeer, distant
from arable.runtime.sealed import seal
from arable.runtime.secret import Secret
from arable.services.asks import check_expected, network_changed, own_network, tell
from arable.services.belonging import check_free
from arable.services.call import Call
from arable.services.opened import shared_with
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.rules import network_of
from arable.services.tunnels import (
    allowed,
    check_apart,
    check_key,
    check_name,
    check_new,
    check_no_ring,
    check_ready,
    new_key,
    openings,
    status,
)
from arable.store import balancers, vpns
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.vpns import VpnChange, VpnIn, VpnMadeOut, VpnOut, VpnQuery

_SITE = VpnKind.SITE
_LAST_PORT = 65_535


def create(call: Call, ask: VpnIn) -> VpnMadeOut:
    """A network is joined to one elsewhere."""
    return make(call, ask)


def make(call: Call, ask: VpnIn, names: tuple[FarName, ...] = (), keys: int = 0) -> VpnMadeOut:
    """The same; `names` are tiers of the network's own farm that are called there, `keys` as which its first key counts."""
    address, network = network_of(call, AddressId(ask.address))
    check_new(call, network, address, ask.port)
    check_name(call, network, _SITE, ask.name)
    id_ = VpnId(call.around.ids.new("vpn"))
    public_key, sealed = new_key(call, id_)
    made = Vpn(
        id=id_,
        account=network.account,
        network=network.id,
        address=address.id,
        kind=_SITE,
        port=ask.port,
        name=ask.name,
        public_key=public_key,
        sealed=sealed,
        keys=keys,
        openings=openings(ask.allow),
        created_at=call.around.clock.now(),
    )
    peer = VpnPeer(
        id=VpnPeerId(id_),
        vpn=id_,
        account=network.account,
        name="",
        public_key=ask.peer_key or "",
        sealed=_sealed(call, id_, ask.preshared_key),
        endpoint=_endpoint(ask.peer_endpoint),
        cidrs=_cidrs(call, network, ask.peer_cidrs, None),
        names=names,
        created_at=made.created_at,
    )
    _check_sense(made, peer)
    check_no_ring(call, network, id_, peer.endpoint, peer.cidrs)
    vpns.add(call.tx, made)
    vpns.put_peer(call.tx, peer)
    return _told(call, network, made, "create", f"{made.name} leads to {', '.join(peer.cidrs)}")


def update(call: Call, vpn: VpnId, change: VpnChange) -> VpnMadeOut:
    """What is said is changed."""
    return alter(call, vpn, change)


def alter(
    call: Call,
    vpn: VpnId,
    change: VpnChange,
    names: tuple[FarName, ...] | None = None,
    own: Mapping[str, Any] = MappingProxyType({}),
    next_key: str | None = None,
) -> VpnMadeOut:
    """The same; `names` as for `make`, `own` are its keys, `next_key` is its peer's."""
    found, peer, network = _own(call, vpn)
    but: dict[str, Any] = dict(own)
    if change.name is not UNSET and change.name != found.name:
        check_name(call, network, _SITE, change.name)
        but["name"] = change.name
    if change.allow is not UNSET:
        but["openings"] = openings(change.allow)
    of_peer: dict[str, Any] = {} if names is None else {"names": names}
    if next_key is not None:
        of_peer["next_key"] = next_key
    if change.peer_key is not UNSET:
        of_peer["public_key"] = change.peer_key or ""
    if change.peer_endpoint is not UNSET:
        of_peer["endpoint"] = _endpoint(change.peer_endpoint)
    if change.preshared_key is not UNSET:
        of_peer["sealed"] = _sealed(call, vpn, change.preshared_key)
    if change.peer_cidrs is not UNSET:
        of_peer["cidrs"] = _cidrs(call, network, change.peer_cidrs, vpn)
    changed, other = found.changed(**but), replace(peer, **of_peer)
    _check_sense(changed, other)
    check_no_ring(call, network, vpn, other.endpoint, other.cidrs)
    vpns.save(call.tx, changed)
    if of_peer:
        vpns.put_peer(call.tx, other)
    return _told(call, network, changed, "update", f"{changed.name} was changed")


def rotate(call: Call, vpn: VpnId) -> VpnMadeOut:
    """Another key of its own. Its peer hears nothing of this end until it is told the new public key."""
    found, _, network = _own(call, vpn)
    public_key, sealed = new_key(call, vpn)
    changed = found.changed(public_key=public_key, sealed=sealed)
    vpns.save(call.tx, changed)
    return _told(call, network, changed, "rotate", f"{changed.name} has another key")


def delete(call: Call, vpn: VpnId) -> OperationOut:
    """No longer. Connections by it end."""
    found, _, network = _own(call, vpn)
    vpns.remove(call.tx, [vpn])
    tell(call, found.account, "vpn.deleted", vpn, f"{network.name}: {found.name} was deleted")
    return shown(network_changed(call, network, "vpn.delete", result={"vpn": vpn}))


def page(call: Call, query: VpnQuery) -> Page[VpnOut]:
    """VPNs in sight, by age."""
    call.caller.needs(Permission.NETWORK_READ)
    where = vpns.VpnFilter(
        kind=_SITE,
        account=AccountId(query.account) if query.account else None,
        network=NetworkId(query.network) if query.network else None,
        name=query.name or "",
    )
    found = vpns.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    shapes = {shape.id: shape for shape in _shapes(call, found)}
    return paged(found, query, lambda each: shapes[each.id])


def get(call: Call, vpn: VpnId) -> VpnOut:
    """One."""
    call.caller.needs(Permission.NETWORK_READ)
    return _shapes(call, [vpns.get(call.tx, call.caller.scope, _SITE, vpn)])[0]


def _own(call: Call, id_: VpnId) -> tuple[Vpn, VpnPeer, Network]:
    """The VPN, its peer, and its network, which is held until the end of the transaction."""
    call.caller.needs(Permission.NETWORK_WRITE)
    before = vpns.get(call.tx, call.caller.scope, _SITE, id_)
    network = own_network(call, before.network)
    found = vpns.get(call.tx, call.caller.scope, _SITE, id_)  # now nobody else can change it
    check_expected(call, found.generation, "VPN")
    check_free(call, id_)
    check_ready(network)
    return found, vpns.peers(call.tx, [id_])[id_][0], network


def _cidrs(call: Call, network: Network, said: Sequence[str], but: VpnId | None) -> tuple[str, ...]:
    asked = [distant(text, f"peer_cidrs.{at}") for at, text in enumerate(said)]
    check_apart(call, network, asked, "peer_cidrs", but)
    return tuple(map(str, asked))


def _endpoint(said: str | None) -> str:
    if said is None:
        return ""
    address, _, port = said.partition(":")
    host = distant(f"{address}/32", "peer_endpoint").network_address
    if not 1 <= int(port) <= _LAST_PORT:
        raise BadInput(f"{port} is no port", field="peer_endpoint")
    return f"{host}:{int(port)}"


def _sealed(call: Call, id_: VpnId, key: str | None) -> str:
    if key is None:
        return ""
    check_key(key, "preshared_key")
    return seal(call.around.authority, call.around.entropy, Secret(key), shared_with(id_))


def _check_sense(made: Vpn, peer: VpnPeer) -> None:
    check_key(peer.public_key, "peer_key")
    if peer.public_key == made.public_key:
        raise Conflict("this is the VPN's own key, not its peer's", field="peer_key")
    if peer.endpoint:
        at = distant(f"{peer.endpoint.partition(':')[0]}/32", "peer_endpoint")
        if any(at.subnet_of(distant(cidr, "peer_cidrs")) for cidr in peer.cidrs):
            raise BadInput("a tunnel can't lead to its own end", field="peer_endpoint")


def _told(call: Call, network: Network, made: Vpn, verb: str, text: str) -> VpnMadeOut:
    kind = "vpn.created" if verb == "create" else "vpn.changed"
    tell(call, made.account, kind, made.id, f"{network.name}: {text}")
    operation = network_changed(call, network, f"vpn.{verb}", result={"vpn": made.id})
    return VpnMadeOut(operation=operation.id, vpn=_shapes(call, [made])[0])


def _shapes(call: Call, found: Sequence[Vpn]) -> list[VpnOut]:
    peers = {each.vpn: each for few in vpns.peers(call.tx, [v.id for v in found]).values() for each in few}  # fmt: skip
    publics = balancers.publics(call.tx, {each.address for each in found})
    seen = vpns.seen(call.tx, [peer.id for peer in peers.values()])
    return [
        VpnOut(
            id=each.id,
            account=each.account,
            network=each.network,
            name=each.name,
            address=each.address,
            public=publics[each.address],
            port=each.port,
            public_key=each.public_key,
            peer_key=peers[each.id].public_key or None,
            peer_endpoint=peers[each.id].endpoint or None,
            peer_cidrs=list(peers[each.id].cidrs),
            preshared=bool(peers[each.id].sealed),
            allow=allowed(each.openings),
            status=status(seen.get(peers[each.id].id)),
            generation=each.generation,
            created_at=each.created_at,
        )
        for each in found
    ]
