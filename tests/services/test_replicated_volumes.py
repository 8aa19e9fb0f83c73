"""Volumes with replicas: where these are kept, what hosts are told, what is done when a storage host is lost, and what is not."""

from datetime import timedelta

import msgspec
import pytest
from make_cloud import Cloud
from test_landing import POD, attend, report, seen
from test_machines_on_shared_disks import AT, SIZE, _host, item, placed, shared

from arable.controllers import volume_replicas, watches
from arable.domain.access import ROLES
from arable.domain.errors import BadInput, Conflict, Forbidden
from arable.domain.ids import HostId, PodId, ReplicaId, VolumeId
from arable.domain.manifest import ExportSeen, ExportState, ExportWish, HostReport
from arable.domain.pool import FILE, NBD
from arable.domain.replica import ReplicaSeen, ReplicaWish
from arable.services import failing_over, migrating, offerings, pools, volumes
from arable.services import snapshots as snapshot_services
from arable.wire.offerings import DiskOfferingIn, OfferingIn
from arable.wire.pools import FailOverIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import MigrateVolumeIn

__all__ = ["shared"]

S, T, P = HostId("host-s"), HostId("host-t"), HostId("host-p")


@pytest.fixture
def cloud(lone_cloud) -> Cloud:
    return lone_cloud


@pytest.fixture
def twice(shared) -> Cloud:
    """`steady` has replicas; a second storage host in the pod, one in the other pod, and one of files."""
    with shared.database.write() as tx:
        _host(tx, shared, "t", POD, ("storage",), kind=NBD, address=AT)
        _host(tx, shared, "o", PodId("pod-two"), ("storage",), kind=NBD, address=AT)
        _host(tx, shared, "p", POD, ("storage",), kind=FILE, address=AT)
    shared.run("update offering set replicated = true where name = 'steady'")
    shared.run("update host set disk_full = true where id in ('host-t', 'host-p')")
    return shared


@pytest.fixture
def boss(twice):
    rank, permissions = ROLES["operator"]
    return twice.account("boss", role="operator", rank=rank, permissions=permissions)


def made(cloud: Cloud) -> tuple[str, str]:
    """A machine that runs with its disk on `s`; `t` has room from then on."""
    machine = placed(cloud)
    report(cloud, seen(cloud, machine))
    cloud.run("update host set disk_full = false where id = 'host-t'")
    ((volume, pool),) = cloud.rows("select id, pool from volume where machine = :m", m=machine)
    assert pool == "pool-s"
    return machine, volume


def round_(cloud: Cloud) -> int:
    with cloud.database.write() as tx:
        return volume_replicas.attend(tx, cloud.around.clock.now())


def told(cloud: Cloud) -> dict[str, ReplicaWish]:
    query = "select host, body from manifest_item where kind = 'replica' and body is not null"
    return {host: msgspec.json.decode(body, type=ReplicaWish) for host, body in cloud.rows(query)}


def word(cloud: Cloud, host: HostId = T, **but) -> None:
    """The host that keeps the replica says how that stands."""
    ((id_, volume),) = cloud.rows("select id, volume from replica where state <> 'ended'")
    usual = {"point": 3, "at": cloud.around.clock.now() - timedelta(seconds=40)}
    said = ReplicaSeen(replica=ReplicaId(id_), volume=VolumeId(volume), **(usual | but))
    report(cloud, HostReport(host=host, generation=1, replicas=(said,)))


def pointed(cloud: Cloud) -> tuple[str, str]:
    machine, volume = made(cloud)
    assert round_(cloud) == 1
    word(cloud)
    return machine, volume


def loses_power(cloud: Cloud, host: HostId = S) -> None:
    cloud.run("update host set state = 'down', powered_off = true where id = :h", h=host)


def balanced(cloud: Cloud) -> bool:
    return not cloud.rows("""
        select h.id from host h where h.reserved_disk_mib <>
          coalesce((select sum(v.mib) from volume v where v.pool = h.pool), 0)
          + coalesce((select sum(s.mib) from snapshot s join volume v on v.id = s.volume
                      where v.pool = h.pool), 0)
          + coalesce((select sum(r.mib) from replica r where r.held_in = h.pool), 0)
    """)


def erased(cloud: Cloud) -> list[str]:
    """Hosts erase what they were told to; who did."""
    scraps = cloud.rows(
        "select host, id, generation from manifest_item where kind = 'scrap' and body is not null"
    )
    for host, volume, generation in scraps:
        words = {"host": HostId(host), "generation": generation, "scrapped": (VolumeId(volume),)}
        report(cloud, HostReport(**words))
    return [host for host, *_ in scraps]


def test_a_replica_is_kept_in_another_pool_of_the_pod_when_there_is_room(twice, boss):
    """Not in the volume's own, in another pod's, in one of files, or in one that is full: that is waited for."""
    machine = placed(twice)
    ((volume,),) = twice.rows("select id from volume where machine = :m", m=machine)
    assert round_(twice) == 0
    shown = twice.do(boss, volumes.get, VolumeId(volume))
    assert "waits for room" in shown.replica_told
    with twice.database.read() as tx:
        later = twice.around.clock.now() + timedelta(hours=1)
        (found,) = watches.late_replicas(tx, later)
    assert "1 volumes should have replicas" in found.text
    twice.run("update host set disk_full = false where id in ('host-t', 'host-p')")
    assert round_(twice) == 1
    assert round_(twice) == 0
    wishes = told(twice)
    assert wishes.keys() == {"host-s", "host-t"}
    assert wishes["host-s"] == wishes["host-t"]
    assert (wishes["host-t"].source, wishes["host-t"].pool) == (S, "pool-t")
    assert balanced(twice)


def test_a_host_that_asks_in_vain_is_told_where_the_other_one_answers_as_soon_as_that_is_known(
    twice,
):
    twice.run("update host set peer_address = '' where id = 'host-s'")
    made(twice)
    assert round_(twice) == 1
    assert told(twice)["host-t"].address == ""
    twice.run("update host set peer_address = :at where id = 'host-s'", at=AT)
    assert round_(twice) == 0, "nobody has asked yet"
    word(twice, point=0, at=None, told="it is not known where it answers")
    assert told(twice)["host-t"].address == AT, "what it says is answered with what is known"
    twice.run("update host set peer_address = '172.30.0.99:7443' where id = 'host-s'")
    assert round_(twice) == 1
    assert told(twice)["host-t"] == told(twice)["host-s"]
    assert told(twice)["host-t"].address == "172.30.0.99:7443"
    assert round_(twice) == 0
    twice.run("update host set peer_address = :at, state = 'down' where id = 'host-s'", at=AT)
    assert round_(twice) == 0, "nobody answers there"


def test_how_far_it_is_is_shown_and_where_to_operators_alone(twice, boss):
    _machine, volume = pointed(twice)
    mine = twice.do(twice.callers["me"], volumes.get, VolumeId(volume))
    assert mine.replicated
    assert mine.replicated_at == twice.around.clock.now() - timedelta(seconds=40)
    assert (mine.replica_pool, mine.replica_told) == (None, "")
    word(twice, told="host-s does not answer")
    word(twice, host=S, point=9)  # it is not the one that keeps it
    theirs = twice.do(boss, volumes.get, VolumeId(volume))
    assert (theirs.replica_pool, theirs.replica_told) == ("pool-t", "host-s does not answer")
    assert twice.rows("select point from replica") == [(3,)]
    with twice.database.read() as tx:
        later = twice.around.clock.now() + timedelta(hours=1)
        assert "does not answer" in next(each.text for each in watches.late_replicas(tx, later))


def test_a_lost_storage_hosts_volumes_are_where_their_replicas_are(twice, boss):
    machine, volume = pointed(twice)
    me = twice.callers["me"]
    before = SnapshotIn(name="before", volume=volume)
    twice.do(me, snapshot_services.create, before)
    held = ExportSeen(machine=machine, generation=9, state=ExportState.HELD, epoch=1, highest=1)
    report(twice, HostReport(host=S, generation=9, exports=(held,)))
    twice.run("update host set state = 'down' where id = 'host-s'")
    assert round_(twice) == 0, "it may have power, and serve"
    loses_power(twice)
    assert round_(twice) == 1
    assert twice.rows(
        "select pool from volume where id = :v and replica is not null", v=volume
    ) == [("pool-t",)]
    assert twice.rows("select count(*) from snapshot") == [(0,)]
    assert balanced(twice)
    wishes = told(twice)
    assert wishes.keys() == {"host-t"}
    assert wishes["host-t"].promote
    attend(twice)
    storage, export = item(twice, "export", machine)
    said = msgspec.json.decode(export, type=ExportWish)
    assert (storage, said.epoch, said.uprooted, said.guarded) == ("host-t", 2, 2, True)
    report(twice, HostReport(host=S, generation=9, full=True, exports=(held,)))
    assert twice.rows("select host, highest from export") == [("host-t", 2)], "it knows no better"
    ((text,),) = twice.rows("select text from event where kind = 'volume.failed-over'")
    assert "the last 40 s" in text
    assert "snapshots" in text
    assert not erased(twice), "not before the replica is the volume"
    word(twice, promoted=True)
    assert not told(twice)
    assert balanced(twice)
    assert erased(twice) == ["host-s"]
    assert twice.rows("select count(*) from replica") == [(0,)]
    assert balanced(twice)
    assert round_(twice) == 0, "nowhere is room for another replica"
    twice.run("update host set state = 'up', powered_off = false where id = 'host-s'")
    assert round_(twice) == 1
    assert twice.rows("select source, target from replica") == [("pool-t", "pool-s")]


def test_disks_of_a_machine_go_together_or_not_at_all(twice, boss):
    machine, _volume = pointed(twice)
    twice.run("update volume set replicated = false, replica = null where machine = :m", m=machine)
    loses_power(twice)
    assert round_(twice) == 0
    twice.run("update volume set replicated = true where machine = :m", m=machine)
    twice.run("delete from replica")
    twice.run("update host set reserved_disk_mib = 0 where id = 'host-t'")
    assert round_(twice) == 1, "it is given one anew, and has no whole point yet"
    plan = twice.do(boss, failing_over.plan, "pool-s")
    assert (plan.machines, plan.volumes, plan.left) == (0, 0, 1)
    assert "no replica with a whole point" in plan.stays[0].why
    assert twice.rows("select pool from volume where machine = :m", m=machine) == [("pool-s",)]


def test_by_hand_it_takes_the_word_that_there_is_no_power(twice, boss):
    machine, _volume = pointed(twice)
    up = twice.refused(boss, failing_over.fail_over, "pool-s", FailOverIn(without_power=True))
    assert isinstance(up, Conflict)
    twice.run("update host set state = 'down' where id = 'host-s'")
    unsaid = twice.refused(boss, failing_over.fail_over, "pool-s", FailOverIn())
    assert isinstance(unsaid, Conflict)
    assert unsaid.field == "without_power"
    plan = twice.do(boss, failing_over.plan, "pool-s")
    assert (plan.machines, plan.volumes, plan.left) == (1, 1, 0)
    assert "nobody has seen" in plan.waits
    mine = twice.refused(
        twice.callers["me"], failing_over.fail_over, "pool-s", FailOverIn(without_power=True)
    )
    assert isinstance(mine, Forbidden)
    asked = twice.do(boss, failing_over.fail_over, "pool-s", FailOverIn(without_power=True))
    again = twice.do(boss, failing_over.fail_over, "pool-s", FailOverIn(without_power=True))
    assert again.id == asked.id
    assert round_(twice) == 1
    assert twice.rows("select state from operation where id = :i", i=asked.id) == [("done",)]
    assert twice.rows("select pool from volume where machine = :m", m=machine) == [("pool-t",)]
    assert twice.do(boss, pools.get, "pool-s").id == "pool-s"


def test_a_host_that_is_heard_before_it_is_done_keeps_what_it_has(twice, boss):
    _machine, volume = pointed(twice)
    twice.run("update host set state = 'down' where id = 'host-s'")
    asked = twice.do(boss, failing_over.fail_over, "pool-s", FailOverIn(without_power=True))
    twice.run("update host set state = 'up' where id = 'host-s'")
    assert round_(twice) == 0
    assert twice.rows("select state from operation where id = :i", i=asked.id) == [("failed",)]
    assert twice.rows("select pool from volume where id = :v", v=volume) == [("pool-s",)]


def test_what_has_grown_takes_room_for_its_replica_too(twice):
    _machine, volume = pointed(twice)
    twice.run("update volume set mib = mib + 512 where id = :v", v=volume)
    twice.run("update host set reserved_disk_mib = reserved_disk_mib + 512 where id = 'host-s'")
    word(twice)
    assert told(twice)["host-t"].bytes == (SIZE["root_mib"] + 512) << 20
    assert balanced(twice)


def test_a_volume_that_is_gone_takes_its_replica_along(twice):
    _machine, volume = pointed(twice)
    twice.run("update volume set erasing = true where id = :v", v=volume)
    word(twice)
    assert not told(twice)
    assert erased(twice) == ["host-t"]
    assert twice.rows("select count(*) from replica") == [(0,)]


def test_it_is_not_carried_to_where_its_replica_is(twice, boss):
    machine, volume = pointed(twice)
    twice.run(
        "update machine set state = 'stopped', wish = 'stopped', host = null where id = :m",
        m=machine,
    )
    refused = twice.refused(boss, migrating.migrate, VolumeId(volume), MigrateVolumeIn(pool="t"))
    assert isinstance(refused, Conflict)
    assert "its replica is" in refused.public


@pytest.mark.parametrize("make", [offerings.create, offerings.create_disk])
def test_what_is_local_can_t_be_replicated(cloud, make):
    boss = cloud.account("boss", role="operator")
    sizes = {} if make is offerings.create_disk else SIZE
    ask = (DiskOfferingIn if make is offerings.create_disk else OfferingIn)(
        name="twice", replicated=True, **sizes
    )
    refused = cloud.refused(boss, make, ask)
    assert isinstance(refused, BadInput)
    assert refused.field == "replicated"
