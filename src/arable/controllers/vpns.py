"""What routing appliances are told of VPNs, and what becomes of what they say."""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.event import Event
from arable.domain.ids import NetworkId
from arable.domain.manifest import HostReport
from arable.domain.vpn import VpnPeer, VpnPeerWish, VpnWish
from arable.store import events, vpns
from arable.store.database import Tx


def wished(tx: Tx, networks: Sequence[NetworkId]) -> dict[NetworkId, tuple[VpnWish, ...]]:
    """The VPNs of these networks, with their keys sealed as they are kept."""
    found = vpns.of_networks(tx, networks)
    peers = vpns.peers(tx, [each.id for each, _ in found]) if found else {}
    made: dict[NetworkId, tuple[VpnWish, ...]] = {}
    for each, public in found:
        wish = VpnWish(
            id=each.id,
            public=public,
            port=each.port,
            cidr=each.cidr,
            peers=tuple(_peer(peer) for peer in peers.get(each.id, ()) if peer.public_key),
            openings=each.openings,
            sealed=each.sealed,
        )
        made[each.network] = (*made.get(each.network, ()), wish)
    return made


def _peer(peer: VpnPeer) -> VpnPeerWish:
    return VpnPeerWish(
        id=peer.id,
        public_key=peer.public_key,
        next_key=peer.next_key,
        cidrs=peer.cidrs,
        endpoint=peer.endpoint,
        sealed=peer.sealed,
    )


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """Keep what hosts said; a site that came up, or went, is an event."""
    turns = vpns.keep_seen(tx, ((r.host, one) for r in reports for one in r.vpns), at)
    happened = [
        Event(
            at=at,
            account=turn.account,
            kind="vpn.up" if turn.up else "vpn.down",
            subject=turn.vpn,
            text=f"{turn.name}: its peer {'answers' if turn.up else 'is not heard of any more'}",
        )
        for turn in turns
    ]
    if happened:
        events.add_many(tx, happened)
