"""What two hosts are told of a volume that goes from one to the other: the same to both."""

from arable.domain.carry import CarryWish
from arable.domain.manifest import ItemKind
from arable.domain.settings import MOVE_MIB_PER_SECOND
from arable.domain.units import MIB
from arable.domain.volume import Volume
from arable.store import peer_addresses, settings
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
        address=peer_addresses.of(tx, row.source_host),
        image=volume.source,
        bytes_per_second=settings.get(tx, MOVE_MIB_PER_SECOND) * MIB,
    )
    body = json_text(made)
    both = (row.source_host, row.target_host)
    return [manifests.Item(host, ItemKind.CARRY, row.operation, body) for host in both]
