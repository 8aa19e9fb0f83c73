"""What one may ask of clients of remote access. Who is revoked is cut off as soon as the router has heard of it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId, VpnId, VpnPeerId
from arable.domain.network import Network
from arable.domain.vpn import Vpn, VpnPeer
from arable.runtime import vpn_keys
from arable.runtime.secret import Secret
from arable.services import remote_accesses
from arable.services.asks import network_changed, tell
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.tunnels import check_key, status
from arable.store import balancers, vpns
from arable.wire.common import Page
from arable.wire.operations import OperationOut
from arable.wire.remote_accesses import (
    VpnClientIn,
    VpnClientMadeOut,
    VpnClientOut,
    VpnClientQuery,
)

MOST = 250
"""Clients of one remote access: each is in every wish of its router."""

_FIRST = 2  # 0 names the range, 1 is the router's


def create(call: Call, ask: VpnClientIn) -> VpnClientMadeOut:
    """A computer gets access. What its WireGuard has to know is in this answer, and nowhere else."""
    found, network = remote_accesses.own(call, VpnId(ask.access))
    there = vpns.peers(call.tx, [found.id]).get(found.id, [])
    if any(each.name == ask.name for each in there):
        raise Conflict(f"{found.name} has a client named {ask.name} already", field="name")
    if ask.public_key in (found.public_key, *(each.public_key for each in there)):
        raise Conflict("this key is another one's", field="public_key")
    check_key(ask.public_key, "public_key")
    private: Secret | None = None
    public_key = ask.public_key
    if public_key is None:
        private, public_key = vpn_keys.new_pair(call.around.entropy)
    made = VpnPeer(
        id=VpnPeerId(call.around.ids.new("vpnclient")),
        vpn=found.id,
        account=found.account,
        name=ask.name,
        public_key=public_key,
        cidrs=(f"{_free(found, there)}/32",),
        created_at=call.around.clock.now(),
    )
    vpns.put_peer(call.tx, made)
    tell(call, made.account, "vpnclient.created", made.id, f"{found.name}: {made.name} has access")
    operation = network_changed(call, network, "vpnclient.create", result={"client": made.id})
    public = balancers.publics(call.tx, [found.address])[found.address]
    return VpnClientMadeOut(
        operation=operation.id,
        client=_shapes(call, [made])[0],
        configuration=_configuration(network, found, made, f"{public}:{found.port}", private),
    )


def delete(call: Call, client: VpnPeerId) -> OperationOut:
    """It has access no longer: what it has open ends."""
    call.caller.needs(Permission.NETWORK_WRITE)
    before = vpns.get_client(call.tx, call.caller.scope, client)
    access, network = remote_accesses.own(call, before.vpn)
    vpns.get_client(call.tx, call.caller.scope, client)  # now nobody else can remove it
    vpns.drop_peers(call.tx, [client])
    tell(call, before.account, "vpnclient.deleted", client, f"{access.name}: {before.name} has access no longer")  # fmt: skip
    return shown(network_changed(call, network, "vpnclient.delete", result={"client": client}))


def page(call: Call, query: VpnClientQuery) -> Page[VpnClientOut]:
    """Clients in sight, by age."""
    call.caller.needs(Permission.NETWORK_READ)
    where = vpns.ClientFilter(
        account=AccountId(query.account) if query.account else None,
        access=VpnId(query.access) if query.access else None,
        name=query.name or "",
    )
    found = vpns.clients(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    shapes = {shape.id: shape for shape in _shapes(call, found)}
    return paged(found, query, lambda each: shapes[each.id])


def get(call: Call, client: VpnPeerId) -> VpnClientOut:
    """One."""
    call.caller.needs(Permission.NETWORK_READ)
    return _shapes(call, [vpns.get_client(call.tx, call.caller.scope, client)])[0]


def _free(access: Vpn, there: Sequence[VpnPeer]) -> IPv4Address:
    """The first address that no client has."""
    if len(there) >= MOST:
        raise Conflict(f"{access.name} has {MOST} clients, and no remote access has more")
    cidr = IPv4Network(access.cidr)
    taken = {peer.cidrs[0] for peer in there}
    for offset in range(_FIRST, cidr.num_addresses - 1):
        if f"{cidr[offset]}/32" not in taken:
            return cidr[offset]
    raise Conflict(f"all addresses of {access.cidr} are taken by clients of {access.name}")


def _configuration(
    network: Network, access: Vpn, client: VpnPeer, endpoint: str, private: Secret | None
) -> str:
    """The file that WireGuard's own programs take (wg-quick(8)). Only what is for the network goes there."""
    key = f"PrivateKey = {private.reveal()}" if private else "# PrivateKey = the one that you have"
    lines = [
        f"# {client.name}: remote access {access.name} to the network {network.name}",
        "[Interface]",
        key,
        f"Address = {client.cidrs[0]}",
        f"DNS = {network.gateway}, {network.dns_domain}",
        "",
        "[Peer]",
        f"PublicKey = {access.public_key}",
        f"AllowedIPs = {network.cidr}",
        f"Endpoint = {endpoint}",
        "PersistentKeepalive = 25",
    ]
    return "\n".join([*lines, ""])


def _shapes(call: Call, found: Sequence[VpnPeer]) -> list[VpnClientOut]:
    names = vpns.names(call.tx, {each.vpn for each in found})
    seen = vpns.seen(call.tx, [each.id for each in found])
    return [
        VpnClientOut(
            id=each.id,
            account=each.account,
            access=each.vpn,
            access_name=names[each.vpn],
            name=each.name,
            address=each.cidrs[0].partition("/")[0],
            public_key=each.public_key,
            status=status(seen.get(each.id)),
            created_at=each.created_at,
        )
        for each in found
    ]
