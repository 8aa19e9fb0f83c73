"""Each host that may have ports of a network with a VNI is told where else that is, and nobody is told of others.

From this its driver knows to whom it sends what everybody of the network should get, and whom it believes. It is told
in a round of its own, since a machine that comes to one host concerns all the others that have its network: to hold them
all while one is placed would make a zone wait in line. Until then the newcomer's questions go unheard for a moment; they
are asked again, as ARP and DHCP do.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from arable.domain.manifest import ItemKind
from arable.domain.tunnel import TunnelWish
from arable.domain.zone import guest_mtu
from arable.store import tunnels, wishes
from arable.store.database import Tx
from arable.store.tunnels import Present

MOST = 20  # notes in one round, which holds all hosts of their networks until its end
SECONDS = 15

_encode = msgspec.json.Encoder().encode


def attend(tx: Tx, at: datetime) -> int:  # noqa: ARG001 - a controller takes the time
    """One round; how many notes are done with."""
    networks, notes = tunnels.wanting(tx, MOST)
    if not networks:
        return 0
    there: dict[str, list[Present]] = {}
    for each in tunnels.present(tx, networks):
        there.setdefault(each.network, []).append(each)
    wanted = {(item.host, item.id): item for rows in there.values() for item in told(rows)}
    held = tunnels.told(tx, networks)
    items = [item for key, item in sorted(wanted.items()) if held.get(key) != item.body]
    items += [
        wishes.Item(host, ItemKind.TUNNEL, network, None)
        for host, network in sorted(held.keys() - wanted.keys())
    ]
    wishes.put(tx, items)
    return notes


def told(rows: Sequence[Present]) -> list[wishes.Item]:
    """What the hosts of one network are told of each other; a pure function of rows."""
    items = []
    for each in rows:
        others = {other.address for other in rows if other.host != each.host}
        wish = TunnelWish(
            network=each.network,
            vni=each.vni,
            mtu=guest_mtu(each.underlay_mtu, each.vni),
            hosts=tuple(sorted(others - {"", each.address})),
        )
        body = _encode(wish).decode()
        items.append(wishes.Item(each.host, ItemKind.TUNNEL, each.network, body))
    return items
