"""Machines whose disks are files that hosts have mounted: only those hosts run them."""

from dataclasses import replace

import msgspec
import pytest
from make_cloud import Cloud
from make_infra import INVENTORY
from test_hosts import greet, hello
from test_landing import HERE, POD, attend, routed, with_hosts

from arable.controllers import snapshots as settling
from arable.domain.errors import BadInput
from arable.domain.host import Host
from arable.domain.ids import HostId, OfferingId, PoolId
from arable.domain.manifest import HostReport
from arable.domain.offering import Offering, StorageKind
from arable.domain.pool import FILE, NBD, Pool
from arable.domain.snapshot import SnapshotAct, SnapshotSeen
from arable.services import pools, snapshots
from arable.store import hosts as host_rows
from arable.store import offerings as offering_rows
from arable.store import pools as pool_rows
from arable.wire.snapshots import SnapshotIn

AT = "172.30.0.9:10808"


@pytest.fixture
def cloud_of_files(lone_cloud) -> Cloud:
    """Hosts a, b and c in one pod, and the keeper of a pool of files."""
    cloud = lone_cloud
    with_hosts(cloud, "a", "b", "c")
    _keeper(cloud, "k", FILE, AT)
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        made = Offering(
            id=OfferingId("offering-movable"),
            name="movable",
            storage=StorageKind.SHARED,
            created_at=now,
            cpus=1,
            cpu_mhz=1000,
            memory_mib=512,
            root_mib=1024,
        )
        offering_rows.add(tx, made)
    return cloud


def _keeper(cloud: Cloud, name: str, kind: str, address: str) -> None:
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        host = Host(
            id=HostId(f"host-{name}"),
            zone=HERE,
            pod=POD,
            name=name,
            roles=("storage",),
            pool=PoolId(f"pool-{name}"),
            disk_mib=10_240,
            disk_percent=100,
            created_at=now,
        )
        host_rows.add(tx, host)
        own = Pool(
            id=host.pool,
            zone=HERE,
            host=host.id,
            name=name,
            kind=kind,
            address=address,
            created_at=now,
        )
        pool_rows.add(tx, own)
        host_rows.connected(tx, [host.id], "server", now)


def mount(cloud: Cloud, *hosts: str, pool: str = "pool-k") -> None:
    facts = msgspec.json.encode({"mounts": [pool]}).decode()
    for host in hosts:
        cloud.run("update host set facts = :f where id = :h", f=facts, h=f"host-{host}")


def placed(cloud: Cloud) -> set[tuple[str, str]]:
    """Hosts and pools of all machines, and of one more."""
    if "me" not in cloud.callers:
        routed(cloud, cloud.account("me"))
    number = len(cloud.rows("select id from machine"))
    cloud.deploy(cloud.callers["me"], offering="movable", name=f"m{number}")
    attend(cloud)
    query = "select m.host, v.pool from machine m join volume v on v.machine = m.id where m.host is not null"
    return {(host, pool) for host, pool in cloud.rows(query)}


def test_they_go_to_hosts_that_have_the_pool_mounted(cloud_of_files):
    mount(cloud_of_files, "b")
    for _ in range(3):
        assert placed(cloud_of_files) == {("host-b", "pool-k")}
    used = dict(cloud_of_files.rows("select id, reserved_disk_mib from host"))
    assert used["host-k"] == 3 * 1024


def test_where_no_host_has_it_mounted_none_takes_them_and_it_is_said_why(cloud_of_files):
    mount(cloud_of_files, "a", pool="pool-of-another")
    assert placed(cloud_of_files) == set()
    said = str(cloud_of_files.rows("select error from operation where error is not null"))
    assert "3 reach no pool with room for its shared disks" in said


def test_one_that_has_its_disks_there_stays_with_those_hosts_though_another_pool_is_served_to_all(
    cloud_of_files,
):
    mount(cloud_of_files, "c")
    assert placed(cloud_of_files) == {("host-c", "pool-k")}
    _keeper(cloud_of_files, "s", NBD, "172.30.0.10:10808")
    cloud_of_files.run(
        "update machine set host = null, state = 'waiting', attention = true where name like 'm%'"
    )
    cloud_of_files.run("update host set maintenance = true where id = 'host-c'")
    attend(cloud_of_files)
    assert cloud_of_files.rows("select host from machine where name like 'm%'") == [(None,)]
    mount(cloud_of_files, "a")
    cloud_of_files.run(
        "update machine set state = 'waiting', wish = 'running', attention = true where name like 'm%'"
    )
    attend(cloud_of_files)
    assert cloud_of_files.rows("select host from machine where name like 'm%'") == [("host-a",)]


def test_who_has_no_disks_yet_goes_to_any_host_that_reaches_some_pool(cloud_of_files):
    _keeper(cloud_of_files, "s", NBD, "172.30.0.10:10808")
    mount(cloud_of_files, "a")
    cloud_of_files.run("update host set reserved_disk_mib = 9000 where id = 'host-s'")
    found = set()
    for _ in range(6):
        found |= placed(cloud_of_files)
    assert {pool for host, pool in found if host != "host-a"} <= {"pool-s"}
    assert ("host-a", "pool-k") in found, "the emptier one that it reaches"
    assert ("host-b", "pool-s") in found


WISHED = "select host from manifest_item where kind = 'snapshot' and body is not null order by host"


def say(cloud: Cloud, host: str, act: SnapshotAct, operation: str, **but) -> None:
    word = SnapshotSeen(**{"operation": operation, "act": act, "done": False} | but)
    report = HostReport(host=HostId(f"host-{host}"), generation=1, snapshots=(word,))
    with cloud.database.write() as tx:
        settling.settle(tx, [report], cloud.around.clock.now())


@pytest.fixture
def one(cloud_of_files):
    """A machine that runs on host b, and its disk."""
    mount(cloud_of_files, "b")
    placed(cloud_of_files)
    ((volume, machine),) = cloud_of_files.rows(
        "select v.id, m.id from volume v join machine m on m.id = v.machine where m.name like 'm%'"
    )
    return cloud_of_files, cloud_of_files.callers["me"], volume, machine


def test_a_snapshot_is_wished_of_who_may_have_the_file_open_and_whoever_did_it_ends_it(one):
    cloud, me, volume, _machine = one
    made = cloud.do(me, snapshots.create, SnapshotIn(name="before", volume=volume))
    assert cloud.rows(WISHED) == [("host-b",), ("host-k",)]
    say(cloud, "k", SnapshotAct.TAKE, made.operation, told="open elsewhere")
    say(cloud, "c", SnapshotAct.TAKE, made.operation, done=True)  # a host that was never asked
    assert cloud.do(me, snapshots.get, made.snapshot.id).state == "creating"
    say(cloud, "b", SnapshotAct.TAKE, made.operation, done=True)
    assert cloud.do(me, snapshots.get, made.snapshot.id).state == "available"
    assert cloud.rows(WISHED) == []
    gone = cloud.do(me, snapshots.delete, made.snapshot.id)
    assert cloud.rows(WISHED) == [("host-b",), ("host-k",)]
    say(cloud, "k", SnapshotAct.DROP, gone.id, done=True)
    assert cloud.rows(WISHED) == cloud.rows("select id from snapshot") == []


def test_a_snapshot_that_waits_follows_its_machine(one):
    cloud, me, volume, machine = one
    made = cloud.do(me, snapshots.create, SnapshotIn(name="before", volume=volume))
    for host, wished in (("c", ["host-c", "host-k"]), (None, ["host-k"]), ("b", ["host-b", "host-k"])):  # fmt: skip
        there = f"host-{host}" if host else None
        cloud.run("update machine set host = :h where id = :m", h=there, m=machine)
        say(cloud, "k", SnapshotAct.TAKE, made.operation, told="open elsewhere")
        assert [name for (name,) in cloud.rows(WISHED)] == wished
    say(cloud, "b", SnapshotAct.TAKE, made.operation, told="QEMU refused", tries=3)
    assert cloud.rows("select state from snapshot") == [("deleting",)]
    bodies = cloud.rows(
        "select body from manifest_item where kind = 'snapshot' and body is not null"
    )
    assert ["drop" in body for (body,) in bodies] == [True, True], "it may be there all the same"


def test_of_one_that_is_off_the_keeper_alone_takes_it(one):
    cloud, me, volume, machine = one
    cloud.run(
        "update machine set host = null, state = 'stopped', wish = 'stopped' where id = :m",
        m=machine,
    )
    cloud.do(me, snapshots.create, SnapshotIn(name="before", volume=volume))
    assert cloud.rows(WISHED) == [("host-k",)]


def test_a_pool_of_files_is_one_when_its_keeper_says_so_and_hosts_say_what_they_mount(infra):
    pod = infra.pod()
    joined = infra.join(infra.token(pod, roles=("storage",)), "k1")
    told = replace(INVENTORY, shares=AT, shares_by=FILE)
    assert greet(infra, (joined.host, hello(joined.host, inventory=told))) == [None]
    pool = infra.ask(pools.get, joined.pool)
    assert (pool.kind, pool.address) == (FILE, AT)
    other = infra.join(infra.token(pod), "h1")
    has = replace(INVENTORY, mounts=(PoolId(joined.pool),))
    assert greet(infra, (other.host, hello(other.host, inventory=has))) == [None]
    ((facts,),) = infra.cloud.rows("select facts from host where id = :h", h=other.host)
    assert f'"mounts":["{joined.pool}"]' in str(facts).replace(" ", "").replace("'", '"')


@pytest.mark.parametrize(
    "mounts", [("pool-a b",), ("host-a",), tuple(f"pool-{n}" for n in range(65))]
)
def test_what_is_no_pool_is_mounted_by_nobody(lone_infra, mounts):
    infra = lone_infra
    joined = infra.join(infra.token(infra.pod()), "h1")
    told = hello(joined.host, inventory=replace(INVENTORY, mounts=mounts))
    (error,) = greet(infra, (joined.host, told))
    assert isinstance(error, BadInput)
