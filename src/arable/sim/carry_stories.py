"""An operator's workflows with volumes that go to another pool, each as short as it can be: for `breaks.py`."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import text

from arable.domain.ids import VolumeId
from arable.drivers.simhost import SimPool
from arable.services import deployments, migrating, power, snapshots
from arable.sim.breaks import Act, Story
from arable.sim.cloud import Cloud
from arable.sim.ground import AVAILABLE, IMAGE, OFFERING, Room
from arable.wire.machines import DeployIn, DestroyIn, StopIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import MigrateVolumeIn

_TWO_SHARED = Room(pods=1, hosts=2, storage=2)
_MACHINE = "select state from machine"
_MACHINES = "select id from machine"
_VOLUME = "select id from volume"
_POOL = "select pool from volume"
_ENDS = "select state from operation where kind = 'volume.migrate' order by id desc limit 1"
_OTHER = """
    select o.id from volume v join pool p on p.id = v.pool
    join pool o on o.kind = p.kind and o.id <> p.id order by o.id limit 1
"""


def _rows(cloud: Cloud, query: str) -> list[Any]:
    with cloud.database.read() as tx:
        return list(tx.scalars(text(query)))


def _are(query: str, *wanted: object) -> Callable[[Cloud], bool]:
    return lambda cloud: _rows(cloud, query) == list(wanted)


def _waits(query: str, *wanted: object) -> Act:
    return Act(lambda _cloud: None, _are(query, *wanted))


def _of(verb: Callable[..., Any], id_: str, args: tuple[object, ...]) -> Callable[[Any], Any]:
    return lambda call: verb(call, id_, *args)


def _asks(verb: Callable[..., Any], what: str, done: Callable[[Cloud], bool], *args: object) -> Act:
    """Somebody asks that of each thing of a kind."""
    query = _MACHINES if what == "machine" else _VOLUME

    def ask(cloud: Cloud) -> None:
        for id_ in _rows(cloud, query):
            cloud.ask(cloud.ground.operator, _of(verb, id_, args))

    return Act(ask, done)


def _deploys(offering: str) -> Act:
    def ask(cloud: Cloud) -> None:
        wish = DeployIn(name="web", count=1, offering=offering, image=IMAGE)
        cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)

    return Act(ask, lambda cloud: bool(_rows(cloud, "select 1 from machine")))


def _disks(cloud: Cloud) -> Iterator[tuple[SimPool, VolumeId]]:
    """All copies of the volume."""
    volumes = set(_rows(cloud, _VOLUME))
    for node in cloud.nodes.values():
        for pool in node.hardware.pools.values():
            for volume in pool.volumes.keys() & volumes:
                yield pool, volume


def _writes(what: str) -> Act:
    """Somebody in the machine does."""

    def ask(cloud: Cloud) -> None:
        for pool, volume in _disks(cloud):
            pool.contents[volume] = what

    return Act(ask, lambda cloud: _reads(cloud) == [what])


def _reads(cloud: Cloud) -> list[object]:
    return [pool.contents.get(volume) for pool, volume in _disks(cloud)]


def _goes(cloud: Cloud) -> None:
    """The disk is to go to the other pool of its kind."""
    (volume,), (pool,) = _rows(cloud, _VOLUME), _rows(cloud, _OTHER)
    where = MigrateVolumeIn(pool=pool)
    cloud.ask(cloud.ground.operator, lambda call: migrating.migrate(call, VolumeId(volume), where))


def _is_whole(cloud: Cloud) -> bool:
    """In one place, which is the one that its row says, with what was on it."""
    where = [pool.pool for pool, _volume in _disks(cloud)]
    return _reads(cloud) == ["first"] and where == _rows(cloud, _POOL)


def _arrived(cloud: Cloud) -> bool:
    return _is_whole(cloud) and _rows(cloud, _ENDS) == ["done"]


def _written_on(cloud: Cloud) -> bool:
    """It runs where its disk is now, and what it wrote since is on it."""
    where = [pool.pool for pool, _volume in _disks(cloud)]
    there = _rows(cloud, "select state from machine") == ["running"] and where == _rows(
        cloud, _POOL
    )
    return _reads(cloud) == ["second"] and there and _rows(cloud, _ENDS) == ["done"]


def _takes(cloud: Cloud) -> None:
    (volume,) = _rows(cloud, _VOLUME)
    ask = SnapshotIn(name="before", volume=volume)
    cloud.ask(cloud.ground.callers[0], lambda call: snapshots.create(call, ask))


_going = Act(_goes, lambda cloud: bool(_rows(cloud, _ENDS)))
_called_off = _asks(migrating.cancel, "volume", lambda cloud: _rows(cloud, _ENDS) != ["running"])
_stop = (
    _asks(power.stop, "machine", _are("select wish from machine", "stopped"), StopIn()),
    _waits(_MACHINE, "stopped"),
)
_start = _asks(power.start, "machine", _are("select wish from machine", "running"))
_local = (_deploys(OFFERING), _waits(_MACHINE, "running"), _writes("first"))
_shared = (_deploys(AVAILABLE), _waits(_MACHINE, "running"), _writes("first"))
_taken = (
    Act(_takes, lambda cloud: bool(_rows(cloud, "select 1 from snapshot"))),
    _waits("select state from snapshot", "available"),
)

GOING, CALLED_OFF, STOP, START = _going, _called_off, _stop, _start
"""For `shift_stories.py`, as those below."""
SHARED, ROOM, ENDS, POOL = _shared, _TWO_SHARED, _ENDS, _POOL
disks, goes, reads, rows, waits = _disks, _goes, _reads, _rows, _waits

CARRIES = (
    Story("carry a disk to another host", (*_local, *_taken, *_stop), (_going,), _arrived),
    Story(
        "carry a shared disk to another storage host",
        (*_shared, *_stop),
        (_going,),
        _arrived,
        room=_TWO_SHARED,
    ),
    Story(
        "carry a disk, and write on",
        (*_local, *_stop),
        (_going, _waits(_ENDS, "done"), _start, _waits(_MACHINE, "running"), _writes("second")),
        _written_on,
    ),
    Story(
        "carry a shared disk, and write on",
        (*_shared, *_stop),
        (_going, _waits(_ENDS, "done"), _start, _waits(_MACHINE, "running"), _writes("second")),
        _written_on,
        room=_TWO_SHARED,
    ),
    Story("call off what is carried", (*_local, *_stop), (_going, _called_off), _is_whole),
    Story(
        "expunge what is carried",
        (*_local, *_taken, *_stop),
        (_going, _asks(power.destroy, "machine", _are("select 1 from machine where wish = 'stopped'"), DestroyIn())),
        _are(_VOLUME),
    ),
)  # fmt: skip
