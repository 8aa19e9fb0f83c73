"""Hosts that will never come back, and what is still kept of them."""

from collections.abc import Sequence

from sqlalchemy import delete, or_, select, update

from arable.domain.host import Host
from arable.domain.ids import MachineId, NetworkId, PoolId
from arable.store import hosts, kept, tunnels
from arable.store import schema as t
from arable.store.database import Tx

_h, _m, _v = t.host.c, t.machine.c, t.volume.c


_BEGUN = select(t.host).where(_h.removing).order_by(_h.id).with_for_update()


def begun(tx: Tx) -> list[Host]:
    """Hosts that are being removed, locked."""
    return [kept.value(Host, row) for row in tx.execute(_BEGUN)]


def machines(tx: Tx, host: Host, limit: int) -> list[MachineId]:
    """Machines that are there, or have disks there."""
    disks = select(_v.machine).where(_v.pool == host.pool, _v.machine.is_not(None))
    query = select(_m.id).where(or_(_m.host == host.id, _m.id.in_(disks)))
    return list(tx.scalars(query.order_by(_m.id).limit(limit)))


def networks(tx: Tx, host: Host) -> Sequence[NetworkId]:
    """Networks whose routing appliance is there, or one of two."""
    c = t.network.c
    query = select(c.id).where(or_(c.appliance_host == host.id, c.standby_host == host.id))
    return list(tx.scalars(query.order_by(t.network.c.id)))


def keeps_for_others(tx: Tx, pool: PoolId) -> int:
    """How many volumes are in a pool that are not being erased."""
    return len(tx.execute(select(_v.id).where(_v.pool == pool, ~_v.erasing)).all())


def finish(tx: Tx, host: Host) -> None:
    """Nothing of it is left; raises `Conflict` when something is. Its networks' VLANs are free as far as it goes."""
    tx.execute(
        update(t.volume).where(_v.pool == host.pool).values(pool=None, erasing=False, made=0)
    )
    tunnels.note_hosts(tx, [host.id])
    tx.execute(delete(t.network_presence).where(t.network_presence.c.host == host.id))
    tx.execute(delete(t.manifest_item).where(t.manifest_item.c.host == host.id))
    tx.execute(delete(t.export).where(t.export.c.host == host.id))
    hosts.remove(tx, host)
