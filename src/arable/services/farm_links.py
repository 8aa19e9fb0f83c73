"""VPNs by which a farm's networks are joined to those that it has in other regions: made, kept and let go by the farm.

Both ends are made in the same way, each by its own region: with a key pair that is drawn there, and of which the other
region is told the public half. What may begin from there is what passages say.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from arable.domain.errors import BadInput, CloudError, NoRoom
from arable.domain.farm import Farm, Part, PartKind
from arable.domain.ids import FarmId, NetworkId, VpnId
from arable.domain.vpn import FarName, Vpn, VpnKind, VpnPeer, distant
from arable.services import vpns as vpns_
from arable.services.call import Call
from arable.services.networks import NO_WAY_OUT
from arable.services.tunnels import new_key, openings
from arable.store import addresses, balancers, farm_documents, vpns
from arable.store.database import Tx
from arable.wire.farms import FarmStepOut, FarNameIn, LinkIn
from arable.wire.grid import FarmPartLinkOut
from arable.wire.vpns import VpnChange, VpnIn

_PORT = 51_820
"""The first that is tried; the next ones where it is taken."""

Parts = dict[tuple[PartKind, str], str]


def lay_out(
    call: Call, farm: Farm, links: Sequence[LinkIn], keys: int, parts: Parts
) -> list[FarmStepOut]:
    """Make or change those that are said, and say how. `call` is the farm's own, which holds its networks."""
    steps = []
    for link in links:
        try:
            steps.append(_laid_out(call, farm, link, keys, parts))
        except CloudError as error:
            error.field = "passages"  # it is for these that there is a link
            raise
    return steps


def _laid_out(call: Call, farm: Farm, link: LinkIn, keys: int, parts: Parts) -> FarmStepOut:
    names = tuple(_behind(link, each) for each in link.names)
    about = f"{link.near} and {link.far} of {link.region}, {link.cidr}"
    there = parts.get((PartKind.VPN, link.name))
    if there is None:
        network = NetworkId(parts[PartKind.NETWORK, link.near])
        ask = VpnIn(
            name=f"{farm.name}-{link.near}-{link.region}-{link.far}",
            address=_address(call, network),
            port=_port(call, network),
            peer_cidrs=(link.cidr,),
            peer_key=link.key,
            peer_endpoint=link.endpoint,
            allow=link.allow,
        )
        id_ = vpns_.make(call, ask, names, keys).vpn.id
        part = Part(farm=farm.id, kind=PartKind.VPN, name=link.name, id=id_)
        farm_documents.put_part(call.tx, part)
        parts[PartKind.VPN, link.name] = id_
        return FarmStepOut(sign="+", what="VPN", name=link.name, about=about, id=id_)
    found = vpns.get(call.tx, call.caller.scope, VpnKind.SITE, VpnId(there))
    peer = vpns.peers(call.tx, [found.id])[found.id][0]
    turns = _turned(call, found, link, keys)
    if turns is found and _is_so(found, peer, link, names):
        return FarmStepOut(sign="=", what="VPN", name=link.name, about=about, id=there)
    change = VpnChange(
        peer_cidrs=(link.cidr,),
        peer_key=link.key,
        peer_endpoint=link.endpoint,
        allow=link.allow,
    )
    own = {each: getattr(turns, each) for each in _KEYS}
    vpns_.alter(call, found.id, change, names, own, link.next_key or "")
    return FarmStepOut(sign="~", what="VPN", name=link.name, about=about, id=there)


_KEYS = ("public_key", "sealed", "next_key", "next_sealed", "keys")


def _turned(call: Call, found: Vpn, link: LinkIn, keys: int) -> Vpn:
    """The VPN with the keys that it is to have now: the next one is drawn when it is asked for, and used when the other end
    goes by both.
    """
    if found.next_key and link.known == found.next_key:
        return replace(
            found, public_key=found.next_key, sealed=found.next_sealed, next_key="", next_sealed=""
        )
    if keys > found.keys and not found.next_key:
        public_key, sealed = new_key(call, found.id)
        return replace(found, next_key=public_key, next_sealed=sealed, keys=keys)
    return found


def _behind(link: LinkIn, name: FarNameIn) -> FarName:
    """Nobody's name leads anywhere else: a router would refuse all that it is told."""
    try:
        address = IPv4Address(name.address)
    except ValueError:
        raise BadInput(f"{name.address} is no address") from None
    if address not in distant(link.cidr, "cidr"):
        raise BadInput(f"{name.tier} is not at {address} of {link.cidr}")
    return FarName(tier=name.tier, address=str(address), port=name.port)


def _is_so(found: Vpn, peer: VpnPeer, link: LinkIn, names: tuple[FarName, ...]) -> bool:
    return (
        found.openings == openings(link.allow)
        and peer.cidrs == (link.cidr,)
        and (peer.public_key, peer.next_key) == (link.key or "", link.next_key or "")
        and peer.endpoint == (link.endpoint or "")
        and peer.names == names
    )


def _address(call: Call, network: NetworkId) -> str:
    held = addresses.of_networks(call.tx, [network]).get(network, [])
    if not held:
        raise NoRoom(f"its network {NO_WAY_OUT}")
    return next((each for each in held if each.source_nat), held[0]).id


def _port(call: Call, network: NetworkId) -> int:
    taken = {each.port for each, _ in vpns.of_networks(call.tx, [network])}
    return next(port for port in range(_PORT, _PORT + len(taken) + 1) if port not in taken)


def ends(tx: Tx, farm: FarmId) -> list[FarmPartLinkOut]:
    """What other regions have to know of this farm's ends."""
    made = {
        name: VpnId(id_)
        for (kind, name), id_ in farm_documents.parts(tx, farm).items()
        if kind is PartKind.VPN
    }
    found = {each.id: each for each in vpns.by_ids(tx, made.values())}
    publics = balancers.publics(tx, {each.address for each in found.values()})
    peer_of = {v: few[0] for v, few in vpns.peers(tx, found).items()}
    peers = {v: peer.id for v, peer in peer_of.items()}
    seen = vpns.seen(tx, peers.values())
    waits = vpns.waiting(tx, {each.network for each in found.values()})
    return [
        FarmPartLinkOut(
            name=name,
            key=found[id_].public_key,
            next_key=found[id_].next_key or None,
            known=None if found[id_].network in waits else peer_of[id_].next_key or None,
            endpoint=f"{publics[found[id_].address]}:{found[id_].port}",
            up=peers[id_] in seen and seen[peers[id_]].peer.up,
        )
        for name, id_ in sorted(made.items())
    ]
