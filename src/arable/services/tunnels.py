"""What VPNs of both kinds have in common: what may be behind a tunnel, by which port, and what may come in."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import VpnId
from arable.domain.manifest import Protocol
from arable.domain.network import Address, Network, NetworkState, RuleKind
from arable.domain.vpn import Vpn, VpnKind, VpnOpening
from arable.runtime import vpn_keys
from arable.runtime.sealed import seal
from arable.services.call import Call
from arable.store import public_ranges, routing, rules, vpns
from arable.store.vpns import Seen
from arable.wire.vpns import AllowIn, AllowOut, PeerStatusOut

MOST = 8
"""VPNs of one network: each is a process beside its router."""


def check_new(call: Call, network: Network, address: Address, port: int) -> None:
    """Raises `Conflict` when the network can have no further VPN, or not by this port."""
    check_ready(network)
    there = [each for each, _ in vpns.of_networks(call.tx, [network.id])]
    if len(there) >= MOST:
        raise Conflict(f"{network.name} has {MOST} VPNs, and no network has more")
    for each in there:
        if each.port == port:
            raise Conflict(f"{each.name} has port {port} of {network.name}", field="port", why={"vpn": each.id})  # fmt: skip
    for rule in rules.page(call.tx, call.caller.scope, rules.RuleFilter(network=network.id)):
        forwarded = (
            rule.kind is RuleKind.FORWARD
            and rule.protocol is Protocol.UDP
            and rule.first_port <= port <= rule.last_port
        )
        if rule.address == address.id and (forwarded or rule.kind is RuleKind.STATIC_NAT):
            raise Conflict(
                f"UDP port {port} of {address.address} has another use, by {rule.id}",
                field="port",
                why={"rule": rule.id},
            )


def check_ready(network: Network) -> None:
    """Raises `Conflict` for one that was deleted."""
    if network.state is not NetworkState.READY:
        raise Conflict(f"{network.name} was deleted")


def check_name(call: Call, network: Network, kind: VpnKind, name: str) -> None:
    """Raises `Conflict` when the account has one of that kind and name."""
    where = vpns.VpnFilter(kind=kind, account=network.account, name=name)
    if vpns.page(call.tx, call.caller.scope, where, limit=1):
        what = "a VPN" if kind is VpnKind.SITE else "a remote access"
        raise Conflict(f"there is {what} named {name} already", field="name")


def check_apart(
    call: Call, network: Network, asked: Sequence[IPv4Network], field: str, but: VpnId | None
) -> None:
    """Raises `Conflict` when one of these subnets is not behind a tunnel, but somewhere that the network knows."""
    near = {row.near_cidr for row in routing.linked(call.tx, [network.id])}
    taken = [(IPv4Network(network.cidr), network.name)]
    taken += [(IPv4Network(cidr), "a network that rules lead to") for cidr in sorted(near)]
    taken += [
        (IPv4Network(each.cidr), "public addresses of the zone")
        for each in public_ranges.of_zone(call.tx, network.zone)
    ]
    taken += [(cidr, vpn.name) for vpn, cidr in _behind(call, network) if vpn.id != but]
    for at, one in enumerate(asked):
        for cidr, whose in (*taken, *((other, "another one of these") for other in asked[:at])):
            if one.overlaps(cidr):
                raise Conflict(f"{one} overlaps with {cidr}, which is {whose}", field=field)


def check_no_ring(
    call: Call, network: Network, vpn: VpnId, endpoint: str, cidrs: Sequence[str]
) -> None:
    """Raises `Conflict` when one tunnel of a network would lead to another's end: what they carry would go in circles."""
    at = _ends_at(endpoint)
    for other, cidr in _behind(call, network):
        if at and other.id != vpn and at in cidr:
            raise Conflict(f"{at} is behind {other.name}", field="peer_endpoint")
    others = [each.id for each, _ in vpns.of_networks(call.tx, [network.id]) if each.id != vpn]
    for peers in vpns.peers(call.tx, others).values():
        for peer in peers:
            end = _ends_at(peer.endpoint)
            if end and any(end in IPv4Network(cidr) for cidr in cidrs):
                raise Conflict(f"{end} is where another VPN's peer is", field="peer_cidrs")


def _ends_at(endpoint: str) -> IPv4Address | None:
    return IPv4Address(endpoint.partition(":")[0]) if endpoint else None


def check_beside_tunnels(call: Call, here: Network, there: Network) -> None:
    """Raises `Conflict` when a network that rules shall lead to is behind a tunnel already."""
    for vpn, cidr in _behind(call, here):
        if cidr.overlaps(IPv4Network(there.cidr)):
            raise Conflict(
                f"{there.name} overlaps with {cidr}, to which {vpn.name} leads from {here.name}",
                why={"vpn": vpn.id},
            )


def _behind(call: Call, network: Network) -> list[tuple[Vpn, IPv4Network]]:
    """What is behind each VPN of a network."""
    found = [each for each, _ in vpns.of_networks(call.tx, [network.id])]
    peers = vpns.peers(call.tx, [each.id for each in found if not each.cidr])
    made = [(each, IPv4Network(each.cidr)) for each in found if each.cidr]
    for each in found:
        for peer in peers.get(each.id, ()):
            made += ((each, IPv4Network(cidr)) for cidr in peer.cidrs)
    return made


def new_key(call: Call, id_: VpnId) -> tuple[str, str]:
    """A public key, and its private one sealed."""
    private, public = vpn_keys.new_pair(call.around.entropy)
    return public, seal(call.around.authority, call.around.entropy, private, id_)


def check_key(key: str | None, field: str) -> None:
    """Raises `BadInput` for the key of zeros, by which WireGuard means that there is none."""
    if key == _NO_KEY:
        raise BadInput("a key of zeros is none", field=field)


_NO_KEY = "A" * 43 + "="


def openings(allow: Iterable[AllowIn]) -> tuple[VpnOpening, ...]:
    """What may come in, as it is kept."""
    return tuple(_opening(each, f"allow.{at}") for at, each in enumerate(allow))


def _opening(ask: AllowIn, field: str) -> VpnOpening:
    first, last = ask.first_port or 0, ask.last_port or ask.first_port or 0
    if last and not first:
        raise BadInput("from which port on?", field=f"{field}.first_port")
    if first and ask.protocol == "icmp":
        raise BadInput("ICMP has no ports", field=f"{field}.first_port")
    if last < first:
        raise BadInput("comes before the first port", field=f"{field}.last_port")
    try:
        cidr = str(IPv4Network(ask.cidr))
    except ValueError:
        raise BadInput("not an IPv4 subnet without host bits", field=f"{field}.cidr") from None
    protocol = Protocol(ask.protocol)
    return VpnOpening(protocol=protocol, cidr=cidr, first_port=first, last_port=last)


def allowed(openings_: Iterable[VpnOpening]) -> list[AllowOut]:
    """As it looks outside, and as it may be asked for."""
    return [
        AllowOut(
            protocol=each.protocol.value,
            cidr=each.cidr,
            first_port=each.first_port or None,
            last_port=each.last_port if each.last_port > each.first_port else None,
        )
        for each in openings_
    ]


def status(seen: Seen | None) -> PeerStatusOut | None:
    """What was seen of a peer."""
    if seen is None:
        return None
    heard_at = seen.peer.heard_at
    return PeerStatusOut(
        up=seen.peer.up,
        since=seen.since,
        heard_at=datetime.fromtimestamp(heard_at, UTC) if heard_at else None,
        endpoint=seen.peer.endpoint or None,
        received_bytes=seen.peer.received_bytes,
        sent_bytes=seen.peer.sent_bytes,
        at=seen.at,
    )
