"""Who asks for whom: hosts of a pod are told which of the others to ask now and then whether they are there.

They stand in a circle (`domain/host_health.py`), so each asks as many as ask for it. Addresses are as the hosts' agents
told them, but only those within their pod's management network: nobody can have others knock at doors elsewhere.
"""

import hashlib
from datetime import datetime
from ipaddress import ip_network

import msgspec

from arable.domain.host_health import circles
from arable.domain.ids import PodId
from arable.domain.manifest import ItemKind, PeerWish
from arable.store import peer_addresses, sightings, wishes
from arable.store.database import Tx
from arable.store.sightings import Peer

SECONDS = 30


def attend(tx: Tx, at: datetime) -> int:  # noqa: ARG001 - a controller takes the time
    """One round; how many wishes changed. Only pods whose hosts or their addresses changed are looked at closely."""
    members: dict[PodId, list[Peer]] = {}
    for host in sightings.peers(tx):
        members.setdefault(host.pod, []).append(host)
    changed: dict[PodId, str] = {}
    rows: list[Peer] = []
    for pod in sightings.pods(tx):
        of_pod = members.get(pod.id, [])
        digest = _digest(pod.cidr, of_pod)
        if digest != pod.circle:
            changed[pod.id] = digest
            network = ip_network(pod.cidr, strict=False)
            rows += [host for host in of_pod if peer_addresses.within(host.peer_address, network)]
    if not changed:
        return 0
    wanted = {
        (asker.id, host.id): msgspec.json.encode(
            PeerWish(host=host.id, address=host.peer_address)
        ).decode()
        for asker, host in circles(rows)
    }
    held = sightings.asked(tx, changed)
    items = [
        wishes.Item(asker, ItemKind.PEER, host, body)
        for (asker, host), body in sorted(wanted.items())
        if held.get((asker, host)) != body
    ]
    items += [
        wishes.Item(asker, ItemKind.PEER, host, None)
        for asker, host in sorted(held.keys() - wanted.keys())
    ]
    wishes.put(tx, items)
    for pod_id, digest in changed.items():
        sightings.told(tx, pod_id, digest)
    return len(items)


def _digest(network: str, hosts: list[Peer]) -> str:
    """Empty for nobody."""
    said = sorted(f"{host.id} {host.peer_address}" for host in hosts)
    return hashlib.sha256("\n".join([network, *said]).encode()).hexdigest() if said else ""
