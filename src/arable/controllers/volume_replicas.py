"""Replicas of volumes in other pools: where they are kept, how far they are, and what follows when a storage host is lost.

A round gives volumes that should have a replica one, in another storage host's pool of the pod, where there is room (rule 2).
What hosts say of them is noted, and wishes follow the rows. When a storage host is down and known to be without power, the
volumes that have a whole point elsewhere are there from one transaction on (docs/decisions/0051). That host's copy is nobody's
from then on; it is erased when the replica has become the volume and not before, and a new replica is begun.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from arable.controllers import snapshots
from arable.controllers.shelves import next_epochs
from arable.domain.alert import derived
from arable.domain.errors import Unavailable
from arable.domain.event import Event
from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId, OperationId, PoolId, ReplicaId, VolumeId, ZoneId
from arable.domain.manifest import ExportSeen, ExportState, HostReport, ItemKind
from arable.domain.replica import ReplicaSeen, ReplicaState, ReplicaWish
from arable.domain.units import Size
from arable.store import (
    attention,
    events,
    exports,
    fail_overs,
    hosts,
    incarnations,
    operations,
    peer_addresses,
    pools,
    recoveries,
    replica_wishes,
    reservations,
    volume_replicas,
    volumes,
)
from arable.store import wishes as manifests
from arable.store.attention import MachineRow
from arable.store.database import Tx
from arable.store.fail_overs import Group
from arable.store.nudges import nudge
from arable.store.pools import SharedPool
from arable.store.recoveries import LostHost
from arable.store.volume_replicas import Lacking, Replica

SECONDS = 5
MOST = 200
"""Volumes that get a replica, and machines that are brought back, in one round."""

_COLUMNS = ("epoch", "uprooted", "fenced", "attention", "generation", "changed_at")


def attend(tx: Tx, at: datetime) -> int:
    """One round; how many volumes got a replica, or were brought back from theirs, or whose hosts are told of each other anew."""
    if incarnations.taking_stock(tx):
        return 0
    return _fail_over(tx, at) + _begin(tx, at) + _follow_addresses(tx)


def settle(tx: Tx, reports: Sequence[HostReport], at: datetime) -> None:
    """What hosts say of the replicas that they keep."""
    said = {seen.replica: (report.host, seen) for report in reports for seen in report.replicas}
    if not said:
        return
    rows = volume_replicas.by_id(tx, said)
    for id_, row in rows.items():
        host, seen = said[id_]
        if host != row.target_host:
            continue
        if row.state == ReplicaState.PROMOTED and seen.promoted:
            _promoted(tx, row, at)
        elif row.state == ReplicaState.FOLLOWING:
            _follows(tx, row, seen)
    kept = {id_ for id_, row in rows.items() if row.state != ReplicaState.ENDED}
    gone = [(host, id_) for id_, (host, _) in said.items() if id_ not in kept]
    manifests.take_back(tx, ItemKind.REPLICA, gone)


def erased(tx: Tx, said: Collection[tuple[HostId, VolumeId]]) -> None:
    """What was left of replicas, or of volumes that were brought back from one, is no more."""
    for row in volume_replicas.left(tx, said):
        replica_wishes.let_go(tx, row)


def lost(tx: Tx, pool: PoolId) -> None:
    """The pool is given up: nothing of any replica is there any more."""
    for row in volume_replicas.touching(tx, pool):
        if row.held_in == pool:
            if row.state == ReplicaState.PROMOTED:  # of the first copy nothing is to be erased
                reservations.give(tx, [(h, Size(disk_mib=row.mib), 0) for h in [row.held_by] if h])
                volume_replicas.resize(tx, row.id, 0)
                continue
            replica_wishes.let_go(tx, row)
        elif row.state == ReplicaState.FOLLOWING and row.pool == pool:
            replica_wishes.end(tx, row)


def _follows(tx: Tx, row: Replica, seen: ReplicaSeen) -> None:
    if not replica_wishes.following(row):
        replica_wishes.end(tx, row)
        return
    if (seen.point, seen.at, seen.told) != (row.point, row.point_at, row.told):
        volume_replicas.note(tx, row.id, seen.point, seen.at, seen.told)
    if row.machine:
        first = volume_replicas.targets(tx, [row.machine]).get(row.machine)
        if first and first != row.target:  # it went to a machine whose disks are kept elsewhere
            replica_wishes.end(tx, row)
            return
    mib = row.volume_mib or 0
    if mib > row.mib and row.target_host:
        more = {row.target_host: (Size(disk_mib=mib - row.mib), 0)}
        if not reservations.take(tx, more):
            volume_replicas.resize(tx, row.id, mib)
            row = row._replace(mib=mib)
    _tell_hosts(tx, row)


def _tell_hosts(tx: Tx, row: Replica) -> None:
    """Wishes follow the volume's pool, hosts' addresses and the settings; one that is as it should be is not written."""
    volume = volumes.some(tx, [row.volume])[row.volume]
    source = pools.hosts_of(tx, [volume.pool] if volume.pool else []).get(PoolId(volume.pool or ""))
    items = replica_wishes.items(tx, row, volume, source)
    told = volume_replicas.told(tx, [row.id])
    wanted = {(item.host, item.id) for item in items}
    gone = [
        manifests.Item(h, ItemKind.REPLICA, id_, None) for h, id_ in told if (h, id_) not in wanted
    ]
    news = [item for item in items if told.get((item.host, item.id)) != item.body]
    manifests.put(tx, [*gone, *news])


def _promoted(tx: Tx, row: Replica, at: datetime) -> None:
    text = f"{row.name}: is on another storage host, as of its replica"
    events.add_many(
        tx,
        [Event(at=at, account=row.account, kind="volume.promoted", subject=row.volume, text=text)],
    )
    if not row.mib:  # its first pool is gone for good
        row = row._replace(source_host=None)
    replica_wishes.end(tx, row)


def _follow_addresses(tx: Tx) -> int:
    """Hosts that ask in vain, since it was not known yet where the other one answers, or that is elsewhere by now."""
    rows = volume_replicas.waiting(tx)
    if not rows:
        return 0
    told = volume_replicas.told(tx, [id_ for id_, _, _ in rows])
    now = {source: peer_addresses.of(tx, source) for source in {row[2] for row in rows}}
    wrong = [
        id_
        for id_, target, source in rows
        if (body := told.get((target, id_))) and _address_of(body) != now[source]
    ]
    found = volume_replicas.by_id(tx, wrong[:MOST]) if wrong else {}
    for row in found.values():
        if replica_wishes.following(row):
            _tell_hosts(tx, row)
    return len(found)


def _address_of(body: str) -> str:
    return msgspec.json.decode(body, type=ReplicaWish).address


def _begin(tx: Tx, at: datetime) -> int:
    """Replicas for volumes that should have one, where there is room; the others wait."""
    seen = volume_replicas.lacking(tx, MOST)
    if not seen:
        return 0
    shelves = {zone: pools.shared(tx, zone) for zone in {one.zone for one in seen}}
    files = {id_ for zone in shelves for id_ in pools.mounts(tx, zone)}
    pods = pools.pods(tx, {one.pool for one in seen})
    together = volume_replicas.targets(tx, {one.machine for one in seen if one.machine})
    held = volume_replicas.hold_lacking(tx, [one.id for one in seen])
    before = volume_replicas.of_volumes(tx, held)
    begun = 0
    for one in held.values():
        if one.pool in files or one.pool not in pods:
            continue
        avoid = {row.held_by for row in before if row.volume == one.id}
        able = [
            pool
            for pool in shelves[one.zone]
            if pool.id not in files | {one.pool}
            and pool.pod == pods[one.pool]
            and pool.host not in avoid
            and (together.get(one.machine) if one.machine else None) in (None, pool.id)
        ]
        able.sort(key=lambda pool: (-pool.free_mib, pool.id))
        begun += _placed(tx, one, able, together, shelves, at)
    return begun


def _placed(
    tx: Tx,
    one: Lacking,
    able: Iterable[SharedPool],
    together: dict[MachineId, PoolId],
    shelves: Mapping[ZoneId, list[SharedPool]],
    at: datetime,
) -> bool:
    for pool in able:
        if pool.free_mib < one.mib:
            continue
        if reservations.take(tx, {pool.host: (Size(disk_mib=one.mib), 0)}):
            continue
        row = _new(one, pool, at)
        volume_replicas.add(tx, row, at)
        if one.machine:
            together.setdefault(one.machine, pool.id)
        for here in shelves.values():
            here[:] = [
                p._replace(free_mib=p.free_mib - one.mib) if p.id == pool.id else p for p in here
            ]
        _tell_hosts(tx, row)
        return True
    return False


def _new(one: Lacking, pool: SharedPool, at: datetime) -> Replica:
    id_ = ReplicaId(derived("replica", at, one.id))
    return Replica(
        id=id_,
        volume=one.id,
        account=one.account,
        name=one.name or one.id,
        source=one.pool,
        target=pool.id,
        state=ReplicaState.FOLLOWING,
        held_in=pool.id,
        mib=one.mib,
        point=0,
        point_at=None,
        told="",
        source_host=None,
        target_host=pool.host,
        there=id_,
        pool=one.pool,
        volume_mib=one.mib,
        wanted=True,
        machine=one.machine,
    )


def _fail_over(tx: Tx, at: datetime) -> int:
    """Pools whose host is known to be without power, or of which an operator has said so."""
    off = {id_ for id_, host in recoveries.lost_hosts(tx).items() if host.powered_off}
    off -= {id_ for id_, host in hosts.some(tx, off).items() if host.maintenance} if off else set()
    asked = fail_overs.asked(tx)
    if not off and not asked:
        return 0
    by_hand = dict(asked)
    wanted = [*volume_replicas.sources(tx, off), *by_hand]
    owners = pools.hosts_of(tx, wanted)
    done = 0
    for pool in dict.fromkeys(wanted):
        if pool in owners and done < MOST:
            done += _bring_back(tx, pool, owners[pool], by_hand.get(pool), at)
    return done


def _bring_back(
    tx: Tx, pool: PoolId, host: HostId, operation: OperationId | None, at: datetime
) -> int:
    found = fail_overs.machines_of(tx, pool)
    rows = attention.machines_by_id(tx, {machine for _, machine in found if machine})
    volume_replicas.hold_of(tx, [id_ for id_, _ in found])
    groups = fail_overs.groups(tx, pool, found)
    able = [group for group in groups if not group.why][:MOST]
    targets = {row.target_host for group in able for row in group.replicas if row.target_host}
    reservations.hold(tx, {host, *targets, *(row.host for row in rows.values() if row.host)})
    lost_host = recoveries.hold(tx, [host]).get(host)
    certain = lost_host is not None and lost_host.state == HostState.DOWN
    if lost_host is None or not certain or not (lost_host.powered_off or operation):
        if operation and not certain:
            fail_overs.begin(tx, pool, None)
            told = Unavailable(
                "its host was heard meanwhile, so what is in the pool is in use there"
            )
            operations.fail(tx, operation, at, told)
        return 0
    seen_at = hosts.get(tx, host).seen_at
    changes: list[MachineRow] = []
    done = 0
    for group in able:
        machine = rows.get(group.machine) if group.machine else None
        if _moved(tx, group, machine, lost_host, seen_at, at):
            done += len(group.replicas)
            if machine:
                changes.append(machine)
    _uproot(tx, changes, host, able, at)
    if operation and len(able) < MOST:
        _answer(tx, pool, operation, done, [g for g in groups if g.why], at)
    return done


def _answer(
    tx: Tx,
    pool: PoolId,
    operation: OperationId,
    done: int,
    left: Sequence[Group],
    at: datetime,
) -> None:
    fail_overs.begin(tx, pool, None)
    told = f"{done} volumes are in the pools of their replicas"
    if left:
        told += f"; {len(left)} can't be: {left[0].why}"
    operations.advance(tx, operation, told, at)
    operations.settle_many(tx, {operation: (1, None)}, at)


def _moved(
    tx: Tx,
    group: Group,
    machine: MachineRow | None,
    host: LostHost,
    seen_at: datetime | None,
    at: datetime,
) -> bool:
    """The volumes are where their replicas are, from now on."""
    more = {row.id: (row.volume_mib or 0) - row.mib for row in group.replicas}
    target = group.replicas[0].target_host
    assert target, "it is up"
    needs = sum(more.values())
    if needs > 0 and reservations.take(tx, {target: (Size(disk_mib=needs), 0)}):
        return False  # it has grown meanwhile, and there is no room for that
    if needs < 0:
        reservations.give(tx, [(target, Size(disk_mib=-needs), 0)])
    snapshots.lost(tx, [row.volume for row in group.replicas], at, replicas=False)
    known = volumes.some(tx, [row.volume for row in group.replicas])
    items = []
    told = []
    for row in group.replicas:
        items += replica_wishes.items(tx, row, known[row.volume], None, promote=True)
        items.append(manifests.Item(host.id, ItemKind.REPLICA, row.id, None))
        volume_replicas.promote(tx, row, row.volume_mib or 0)
        told.append(_event(row, seen_at, at))
    if machine:
        items.append(manifests.Item(host.id, ItemKind.EXPORT, machine.id, None))
    manifests.put(tx, items)
    events.add_many(tx, told)
    return True


def _event(row: Replica, seen_at: datetime | None, at: datetime) -> Event:
    """To its owner; which host it was is none of his business."""
    assert row.point_at, "it has a whole point"
    lost_seconds = max(0, round(((seen_at or at) - row.point_at).total_seconds()))
    text = (
        f"{row.name}: its storage was lost, and it was brought back as it was at"
        f" {row.point_at.isoformat(timespec='seconds')}: the last {lost_seconds} s of what was written to it are lost,"
        " and its snapshots"
    )
    return Event(
        at=at,
        account=row.account,
        kind="volume.failed-over",
        subject=row.volume,
        text=text,
        data={"lost_seconds": lost_seconds, "point_at": row.point_at.isoformat()},
    )


def _uproot(
    tx: Tx, machines: Sequence[MachineRow], lost_host: HostId, groups: Sequence[Group], at: datetime
) -> None:
    """Machines have their right to run at another storage host, by the next epoch, which waits there for the last one."""
    if not machines:
        return
    storage = {g.machine: g.replicas[0].target_host for g in groups if g.machine}
    epochs = next_epochs(tx, {row.id: row.epoch for row in machines})
    changes = [
        {
            "id": row.id,
            "epoch": epochs[row.id],
            "uprooted": epochs[row.id],
            "fenced": lost_host if row.host == lost_host else None,
            "attention": bool(row.host) or row.attention,
            "generation": row.generation + 1,
            "changed_at": attention.stamp(at),
        }
        for row in machines
    ]
    attention.change_machines(tx, _COLUMNS, changes)
    exports.keep(
        tx,
        [
            (
                HostId(storage[row.id] or ""),
                ExportSeen(
                    machine=row.id,
                    generation=0,
                    state=ExportState.FREE,
                    highest=epochs[row.id],
                ),
            )
            for row in machines
        ],
    )
    nudge(tx, "machines")
