"""What two hosts are told of a volume that goes from one to the other: the same to both."""

from ipaddress import ip_address, ip_network

from arable.domain.carry import CarryWish
from arable.domain.ids import HostId
from arable.domain.manifest import ItemKind
from arable.domain.settings import MOVE_MIB_PER_SECOND
from arable.domain.units import MIB
from arable.domain.volume import Volume
from arable.store import hosts, pods, settings
from arable.store import wishes as manifests
from arable.store.carries import Carry
from arable.store.database import Tx
from arable.store.rows import json_text


def items(tx: Tx, row: Carry, volume: Volume) -> list[manifests.Item]:
    """An item for each of them; none when one is gone for good."""
    if row.source_host is None or row.target_host is None:
        return []
    made = CarryWish(
        operation=row.operation,
        volume=row.volume,
        source=row.source_host,
        target=row.target_host,
        pool=row.target,
        bytes=volume.mib * MIB,
        address=_address(tx, row.source_host),
        image=volume.source,
        bytes_per_second=settings.get(tx, MOVE_MIB_PER_SECOND) * MIB,
    )
    body = json_text(made)
    both = (row.source_host, row.target_host)
    return [manifests.Item(host, ItemKind.CARRY, row.operation, body) for host in both]


def _address(tx: Tx, host: HostId) -> str:
    """Where it answers other hosts, as its agent told it: only within its pod's network, so that nobody can have others
    knock at doors elsewhere.
    """
    found = hosts.get(tx, host)
    where = found.peer_address.rpartition(":")[0].strip("[]")
    try:
        within = ip_address(where) in ip_network(pods.get(tx, found.pod).cidr, strict=False)
    except ValueError:
        return ""
    return found.peer_address if within else ""
