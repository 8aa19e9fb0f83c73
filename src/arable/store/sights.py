"""What hosts' reports change besides machines: what is present where, pools' use, erased volumes."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, exists, or_, select, text, type_coerce, update
from sqlalchemy.types import Text

from arable.domain.host import HostState
from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import PoolSeen
from arable.domain.units import MIB
from arable.store import schema
from arable.store.attention import VolumeRow
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge


def forget_presence(tx: Tx, host: HostId, generation: int, vlans: Sequence[int]) -> None:
    """Networks that this host has nothing of any more (rule 3).

    Only from a report of a host that holds its newest manifest, and never a network for which there is a wish on it.
    """
    presence, network, nic, machine = (
        schema.network_presence.c,
        schema.network.c,
        schema.nic.c,
        schema.machine.c,
    )
    newest = select(schema.host.c.manifest_generation).where(schema.host.c.id == host)
    if generation < (tx.scalar(newest) or 0):
        return
    wanted = exists(
        select(nic.id)
        .join(schema.machine, machine.id == nic.machine)
        .where(nic.network == network.id, machine.host == host)
    )
    gone = select(network.id).where(
        network.vlan.not_in(vlans),
        ~wanted,
        or_(network.appliance_host.is_(None), network.appliance_host != host),
    )
    removed = tx.execute(
        delete(schema.network_presence).where(presence.host == host, presence.network.in_(gone))
    )
    if removed.rowcount:
        nudge(tx, "networks")


def silence(tx: Tx, unheard_since: datetime) -> list[tuple[HostId, str]]:
    """Hosts that were up and not heard since then become silent; id and name of each."""
    host = schema.host.c
    late = select(host.id, host.name).where(
        host.state == HostState.UP, host.seen_at < unheard_since
    )
    found = [(id_, name) for id_, name in tx.execute(late.with_for_update())]
    changed = update(schema.host).where(among(tx, host.id, [id_ for id_, _name in found]))
    tx.execute(changed.values(state=HostState.SILENT))
    return found


def pools(tx: Tx, host: HostId, seen: Iterable[PoolSeen]) -> None:
    """How full this host's pools are; what it says of others' is nothing."""
    rows = [
        {
            "id": pool.pool,
            "host": host,
            "total": pool.total_bytes // MIB,
            "used": pool.used_bytes // MIB,
        }
        for pool in seen
    ]
    if rows:
        tx.execute(
            text(
                "update pool set total_mib = :total, used_mib = :used"
                " where id = :id and host = :host"
            ),
            rows,
        )


def erasing(tx: Tx, reported: Sequence[tuple[HostId, VolumeId]]) -> list[VolumeRow]:
    """The volumes among these that were to be erased, each on the host that reports it."""
    volume, pool = schema.volume.c, schema.pool.c
    query = (
        select(
            volume.id,
            volume.machine,
            volume.pool,
            pool.host,
            volume.mib,
            volume.iops,
            volume.bytes_per_second,
            type_coerce(volume.source, Text),
            volume.erasing,
        )
        .join(schema.pool, pool.id == volume.pool)
        .where(among(tx, volume.id, {id_ for _host, id_ in reported}), volume.erasing)
    )
    told = set(reported)
    rows = [VolumeRow._make(row) for row in tx.execute(query).all()]
    return [row for row in rows if row.host and (row.host, row.id) in told]


def unpool(tx: Tx, volumes: Sequence[VolumeId]) -> None:
    """These volumes are on no pool any more."""
    if volumes:
        changed = update(schema.volume).where(among(tx, schema.volume.c.id, volumes))
        tx.execute(changed.values(pool=None, erasing=False))
