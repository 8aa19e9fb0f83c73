"""The workflows of a customer's with snapshots and images, each as short as it can be: for `breaks.py`."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import text

from arable.domain.ids import MachineId, SnapshotId, VolumeId
from arable.drivers.simhost import SimPool
from arable.services import bringing, copies, deployments, power, snapshots, volumes
from arable.sim.breaks import Act, Story
from arable.sim.cloud import Cloud
from arable.sim.ground import AVAILABLE, DISK, IMAGE, OFFERING, SHARED_DISK, Room
from arable.wire.images import ImageIn
from arable.wire.machines import DeployIn, DestroyIn, StopIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import VolumeIn

SHARING = Room(pods=1, hosts=2, storage=1)


def _rows(cloud: Cloud, query: str) -> list[Any]:
    with cloud.database.read() as tx:
        return list(tx.scalars(text(query)))


def _are(query: str, *wanted: object) -> Callable[[Cloud], bool]:
    return lambda cloud: _rows(cloud, query) == list(wanted)


def _ask(cloud: Cloud, verb: Callable[..., Any], *args: object) -> None:
    cloud.ask(cloud.ground.callers[0], lambda call: verb(call, *args))


def _deploys(offering: str) -> Act:
    def ask(cloud: Cloud) -> None:
        wish = DeployIn(name="web", count=1, offering=offering, image=IMAGE)
        cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)

    return Act(ask, lambda cloud: bool(_rows(cloud, "select 1 from machine")))


def _power(verb: Callable[..., Any], wish: str, *args: object) -> Act:
    def ask(cloud: Cloud) -> None:
        for machine in _rows(cloud, "select id from machine"):
            _ask(cloud, verb, MachineId(machine), *args)

    return Act(ask, _are("select wish from machine", wish))


def _waits(query: str, *wanted: object) -> Act:
    return Act(lambda _cloud: None, _are(query, *wanted))


def _disks(cloud: Cloud) -> Iterator[tuple[SimPool, VolumeId]]:
    """Root disks, where they are."""
    volumes = _rows(cloud, "select id from volume where position = 0")
    for node in cloud.nodes.values():
        for pool in node.hardware.pools.values():
            for volume in pool.volumes.keys() & set(volumes):
                yield pool, volume


def _writes(what: str) -> Act:
    """Somebody in the machine, or whoever wrote last."""

    def ask(cloud: Cloud) -> None:
        for pool, volume in _disks(cloud):
            pool.contents[volume] = what

    return Act(ask, _reads(what))


def _reads(what: str) -> Callable[[Cloud], bool]:
    return lambda cloud: [pool.contents.get(volume) for pool, volume in _disks(cloud)] == [what]


def _takes(cloud: Cloud) -> None:
    (volume,) = _rows(cloud, "select id from volume where position = 0")
    _ask(cloud, snapshots.create, SnapshotIn(name="before", volume=volume))


def _all(verb: Callable[..., Any]) -> Callable[[Cloud], None]:
    def ask(cloud: Cloud) -> None:
        for snapshot in _rows(cloud, "select id from snapshot"):
            _ask(cloud, verb, SnapshotId(snapshot))

    return ask


def _back(cloud: Cloud) -> bool:
    """It was set back, once: whatever is written later stays."""
    return _reads("first")(cloud) and _are(_STATES, "available")(cloud) and _rest(cloud)


def _copies(offering: str) -> Act:
    def ask(cloud: Cloud) -> None:
        (snapshot,) = _rows(cloud, "select id from snapshot")
        _ask(cloud, copies.create, VolumeIn(name="copy", offering=offering, snapshot=snapshot))

    return Act(ask, lambda cloud: bool(_rows(cloud, "select 1 from volume where name = 'copy'")))


def _copied(cloud: Cloud) -> bool:
    """It is there, with what the snapshot kept."""
    (copy,) = _rows(cloud, "select id from volume where name = 'copy' and change = ''") or (None,)
    return [pool.contents.get(copy) for pool in _pools(cloud) if copy in pool.volumes] == ["first"]


def _images(cloud: Cloud) -> None:
    (snapshot,) = _rows(cloud, "select id from snapshot")
    _ask(cloud, bringing.create, ImageIn(name="mould", snapshot=snapshot))


def _cast(cloud: Cloud) -> None:
    wish = DeployIn(name="cast", count=1, offering=OFFERING, image="mould")
    cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)


def _casts(cloud: Cloud) -> bool:
    """It runs, on a disk that began as what the snapshot kept."""
    query = "select v.id from volume v join machine m on m.id = v.machine where m.name = 'cast' and m.state = 'running'"
    (disk,) = _rows(cloud, query) or (None,)
    return [pool.contents.get(disk) for pool in _pools(cloud) if disk in pool.volumes] == ["first"]


def _delete_copy(cloud: Cloud) -> None:
    for volume in _rows(cloud, "select id from volume where name = 'copy'"):
        _ask(cloud, volumes.delete, VolumeId(volume))


def _pools(cloud: Cloud) -> list[SimPool]:
    return [pool for node in cloud.nodes.values() for pool in node.hardware.pools.values()]


def _crowd(cloud: Cloud) -> None:
    """Others' files leave pools nearly full."""
    for pool in _pools(cloud):
        more = max(0, pool.total_bytes * 9 // 10 - pool.used_bytes)
        pool.others_bytes += more
        pool.used_bytes += more


def _crowded(cloud: Cloud) -> bool:
    return all(pool.used_bytes * 100 > pool.total_bytes * 85 for pool in _pools(cloud))


def _no_images(cloud: Cloud) -> bool:
    return not any(pool.images for pool in _pools(cloud))


_LATER = Act(lambda _cloud: None, lambda cloud: cloud.clock.monotonic() % 60 > 52)
"""Hosts look at their images once a minute: a moment before that, for the story to be short."""
_VERSIONS = (
    "select number from image_version v join image i on i.id = v.image where i.name = 'mould'"
)
_STATES = "select state from snapshot"
_MACHINE = "select state from machine"
_rest = _are("select change from volume where position = 0", "")
_taken = Act(_takes, lambda cloud: bool(_rows(cloud, _STATES)))
_there = _waits(_STATES, "available")
_asked_back = "select count(*) from operation where kind = 'snapshot.restore'"
_restored = Act(_all(snapshots.restore), lambda cloud: _rows(cloud, _asked_back) != [0])
_deleted = Act(_all(snapshots.delete), lambda cloud: _rows(cloud, _STATES) != ["available"])
_given_up = Act(_all(snapshots.delete), lambda cloud: _rows(cloud, _STATES) in ([], ["deleting"]))
_stop = (_power(power.stop, "stopped", StopIn()), _waits(_MACHINE, "stopped"))
_up = (_deploys(OFFERING), _waits(_MACHINE, "running"), _writes("first"))
_shared = (_deploys(AVAILABLE), _waits(_MACHINE, "running"), _writes("first"))
_start = _power(power.start, "running")

SNAPSHOTS = (
    Story("take a snapshot", _up, (_taken,), _are(_STATES, "available")),
    Story(
        "take a snapshot of a shared disk",
        _shared,
        (_taken,),
        _are(_STATES, "available"),
        room=SHARING,
    ),
    Story(
        "take a snapshot, and stop meanwhile", _up, (_taken, _stop[0]), _are(_STATES, "available")
    ),
    Story("give up a snapshot", _up, (_taken, _given_up), _are(_STATES)),
    Story("delete a snapshot", (*_up, _taken, _there), (_deleted,), _are(_STATES)),
    Story(
        "go back to a snapshot",
        (*_up, _taken, _there, _writes("second"), *_stop),
        (_restored,),
        _back,
    ),
    Story(
        "go back to a snapshot of a shared disk",
        (*_shared, _taken, _there, _writes("second"), *_stop),
        (_restored,),
        _back,
        room=SHARING,
    ),
    Story(
        "go back to a snapshot, and write on",
        (*_shared, _taken, _there, _writes("second"), *_stop),
        (_restored, _start, _waits(_MACHINE, "running"), _writes("third")),
        lambda cloud: _reads("third")(cloud) and _are(_MACHINE, "running")(cloud),
        room=SHARING,
    ),
    Story("copy a snapshot", (*_up, _taken, _there, _writes("second")), (_copies(DISK),), _copied),
    Story(
        "copy a snapshot of a shared disk",
        (*_shared, _taken, _there, _writes("second")),
        (_copies(SHARED_DISK),),
        _copied,
        room=SHARING,
    ),
    Story(
        "give up a copy of a snapshot",
        (*_up, _taken, _there),
        (
            _copies(DISK),
            Act(_delete_copy, _are("select id from volume where name = 'copy' and not erasing")),
        ),
        _are("select id from volume where name = 'copy'"),
    ),
    Story(
        "make an image of a snapshot, and deploy of it",
        (*_up, _taken, _there, _writes("second")),
        (
            Act(
                _images,
                lambda cloud: bool(_rows(cloud, "select 1 from image where name = 'mould'")),
            ),
            _waits(_VERSIONS, 1),
            Act(
                _cast, lambda cloud: bool(_rows(cloud, "select 1 from machine where name = 'cast'"))
            ),
        ),
        _casts,
    ),
    Story(
        "lose an image to a crowded pool",
        (
            *_up,
            _power(power.destroy, "destroyed", DestroyIn()),
            _waits("select id from volume"),
            _LATER,
        ),
        (Act(_crowd, _crowded),),
        _no_images,
        room=Room(pods=1, hosts=1),
    ),
    Story(
        "expunge what has a snapshot",
        (*_up, _taken, _there),
        (_power(power.destroy, "destroyed", DestroyIn()),),
        _are("select id from volume"),
    ),
)
