"""What hosts are told of a volume's replica: the same to both, or what to do with it to one."""

from collections.abc import Collection

from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import ItemKind, ScrapWish
from arable.domain.replica import ReplicaState, ReplicaWish
from arable.domain.settings import MOVE_MIB_PER_SECOND, REPLICATE_SECONDS
from arable.domain.units import MIB, Size
from arable.domain.volume import Volume
from arable.store import peer_addresses, reservations, settings, volume_replicas
from arable.store import wishes as manifests
from arable.store.database import Tx
from arable.store.rows import json_text
from arable.store.volume_replicas import Replica


def items(
    tx: Tx, row: Replica, volume: Volume, source: HostId | None, *, promote: bool = False
) -> list[manifests.Item]:
    """For both hosts; none when either is gone. To promote is for the target alone."""
    if row.target_host is None or (source is None and not promote):
        return []
    wish = ReplicaWish(
        replica=row.id,
        volume=row.volume,
        source=source,
        target=row.target_host,
        pool=row.target,
        bytes=row.mib * MIB,
        seconds=settings.get(tx, REPLICATE_SECONDS),
        address=peer_addresses.of(tx, source) if source and not promote else "",
        image=volume.source,
        bytes_per_second=settings.get(tx, MOVE_MIB_PER_SECOND) * MIB,
        promote=promote,
    )
    body = json_text(wish)
    told = [row.target_host] if promote or source is None else [source, row.target_host]
    return [manifests.Item(host, ItemKind.REPLICA, row.id, body) for host in told]


def end(tx: Tx, row: Replica) -> None:
    """It follows no more, or the volume is where it was; what is left, where room is held for it, is erased."""
    there = {host for host in (row.source_host, row.target_host) if host}
    manifests.take_back(tx, ItemKind.REPLICA, [(host, row.id) for host in sorted(there)])
    if row.held_by is None:
        volume_replicas.forget(tx, [row])
        return
    volume_replicas.end(tx, row)
    body = json_text(ScrapWish(volume=row.volume, pool=row.held_in))
    manifests.put(tx, [manifests.Item(row.held_by, ItemKind.SCRAP, row.volume, body)])


def end_of(tx: Tx, volumes: Collection[VolumeId]) -> None:
    """These volumes are no more: nobody needs their replicas."""
    for row in volume_replicas.hold_of(tx, volumes):
        if row.state != ReplicaState.ENDED:
            end(tx, row)


def let_go(tx: Tx, row: Replica) -> None:
    """Nothing is left of it: its room is free."""
    volume_replicas.forget(tx, [row])
    if row.held_by:
        reservations.give(tx, [(row.held_by, Size(disk_mib=row.mib), 0)])


def following(row: Replica) -> bool:
    """Whether it takes points, and is its volume's own."""
    return row.state == ReplicaState.FOLLOWING and bool(row.wanted) and row.there == row.id
