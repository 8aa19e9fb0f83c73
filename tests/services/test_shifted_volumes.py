"""Which disks of a machine that runs don't go to another pool, and what the operator is told to do."""

import pytest
from make_cloud import Cloud
from test_carried_volumes import balanced, scraps
from test_landing import POD, attend, report, routed, seen
from test_machines_on_shared_disks import _host
from test_machines_on_shared_disks import shared as shared  # noqa: PLC0414 - a fixture
from test_shifted_rows import THERE, One, exports, guest, says_lease, turn
from test_shifted_rows import one as one  # noqa: PLC0414 - a fixture

from arable.domain.errors import CloudError, Conflict, NoRoom
from arable.domain.ids import VolumeId
from arable.domain.manifest import ExportState
from arable.domain.pool import ISCSI, NBD
from arable.services import migrating, moving, offerings, power, resizing, snapshots
from arable.wire.machines import DiskIn, MoveIn, StopIn
from arable.wire.offerings import DiskOfferingIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import MigrateVolumeIn, ResizeVolumeIn


@pytest.fixture
def cloud(lone_cloud) -> Cloud:
    """`test_shifted_rows.py` has what locks may be about."""
    return lone_cloud


def refused(cloud: Cloud, one: One, *, by=None, pool: str = "pool-t") -> CloudError:
    ask = MigrateVolumeIn(pool=pool)
    return cloud.refused(by or one.boss, migrating.migrate, one.volume, ask)


def test_what_can_not_be_is_refused_and_leaves_nothing(shared, one):
    me = shared.account("me2")
    with shared.database.write() as tx:
        _host(tx, shared, "i", POD, ("storage",), kind=ISCSI, address="172.30.0.7:10808")
    assert isinstance(refused(shared, one, by=me), CloudError)
    assert "kind nbd" in refused(shared, one, pool="pool-i").public
    assert "kind nbd" in refused(shared, one, pool="pool-a").public
    for column, told in (("replicated = true", "replica"), ("change = 'resize'", "resizing")):
        before, after = (
            column,
            column.split(" = ")[0] + (" = false" if "true" in column else " = ''"),
        )
        shared.run(f"update volume set {before} where id = '{one.volume}'")
        assert told in refused(shared, one).public
        shared.run(f"update volume set {after} where id = '{one.volume}'")
    shared.run("update host set disk_mib = 100 where id = 'host-t'")
    assert isinstance(refused(shared, one), NoRoom)
    shared.run("update host set disk_mib = 10240, maintenance = true where id = 'host-t'")
    assert "maintenance" in refused(shared, one).public
    shared.run("update host set maintenance = false, pod = 'pod-two' where id = 'host-t'")
    assert "another pod" in refused(shared, one).public
    assert balanced(shared)
    assert not shared.rows("select * from carry")
    assert not shared.rows("select * from move")


def test_they_leave_an_iscsi_pool_as_they_leave_another(shared, one):
    shared.run("update pool set kind = 'iscsi' where id = 'pool-s'")
    shared.do(one.boss, migrating.migrate, one.volume, MigrateVolumeIn(pool="pool-t"))
    turn(shared)
    assert exports(shared)["host-s"].heir.away


def test_disks_that_are_files_stay_while_their_machine_runs(shared, one):
    shared.run("update pool set kind = 'file' where id = 'pool-s'")
    error = refused(shared, one)
    assert isinstance(error, Conflict)
    assert "is file" in error.public
    assert not shared.rows("select * from carry")


def test_what_is_on_its_way_is_left_alone_and_stopping_its_machine_takes_it_back(shared, one):
    asked = shared.do(one.boss, migrating.migrate, one.volume, MigrateVolumeIn(pool="pool-t"))
    turn(shared)
    for no in (
        shared.refused(one.boss, resizing.resize, one.volume, ResizeVolumeIn(mib=9_000)),
        shared.refused(one.boss, snapshots.create, SnapshotIn(name="s", volume=one.volume)),
        shared.refused(one.boss, moving.move, one.machine, MoveIn()),
    ):
        assert isinstance(no, Conflict)
    shared.do(one.boss, power.stop, one.machine, StopIn())
    turn(shared)
    assert exports(shared)["host-s"].heir is None
    assert guest(shared, one).power == "on", "it is told when that is decided"
    ((generation,),) = shared.rows("select generation from move")
    says_lease(shared, one.machine, one.host, generation=generation)
    turn(shared)
    ((state, error),) = shared.rows("select state, error from operation where id = :i", i=asked.id)
    assert state == "failed"
    assert "something else was asked for it" in str(error)


def test_all_disks_of_the_machine_go_along_whichever_was_named(shared):
    me, boss = shared.account("me"), shared.account("o", role="operator")
    far = DiskOfferingIn(name="far", mib=100, storage="shared")
    shared.do(boss, offerings.create_disk, far)
    routed(shared, me)
    disks = (DiskIn(offering="far"),)
    made = shared.deploy(me, offering="steady", disks=disks).machines[0].id
    attend(shared)
    report(shared, seen(shared, made))
    with shared.database.write() as tx:
        _host(tx, shared, "t", POD, ("storage",), kind=NBD, address=THERE)
    ((host,),) = shared.rows("select host from machine where id = :i", i=made)
    says_lease(shared, made, host)
    of = "from volume where machine = :i"
    both = [VolumeId(id_) for (id_,) in shared.rows(f"select id {of} order by position", i=made)]
    shared.do(boss, migrating.migrate, both[1], MigrateVolumeIn(pool="pool-t"))
    assert balanced(shared)
    turn(shared)
    told = exports(shared)["host-t"]
    assert {disk.volume for disk in told.disks} == set(both)
    says_lease(
        shared, made, host, state=ExportState.FREE, away=exports(shared)["host-s"].heir.epoch
    )
    turn(shared)
    assert shared.rows(f"select distinct pool {of}", i=made) == [("pool-t",)]
    ends = shared.rows("select state from operation where kind = 'volume.migrate'")
    assert ends == [("done",), ("done",)]
    assert {volume for _host_, volume in scraps(shared)} == set(both)
    assert balanced(shared)
