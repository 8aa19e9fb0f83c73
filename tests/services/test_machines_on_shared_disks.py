"""Machines with shared disks: who may have them, where they go, what hosts are told; pools are never overbooked."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from make_cloud import Cloud, deploy_in
from make_infra import INVENTORY
from test_customer_races import all_at_once
from test_hosts import greet, hello
from test_landing import HERE, POD, attend, report, routed, seen, with_hosts

from arable.controllers import machines as placer
from arable.controllers import recovery, repair
from arable.domain.errors import BadInput, CloudError, Conflict
from arable.domain.host import Host
from arable.domain.ids import HostId, OfferingId, PodId, PoolId
from arable.domain.manifest import (
    DiskWish,
    ExportSeen,
    ExportState,
    ExportWish,
    GuestWish,
    HostReport,
    SharedFrom,
)
from arable.domain.offering import Offering, StorageKind
from arable.domain.pod import Pod
from arable.domain.pool import ISCSI, NBD, Pool
from arable.domain.units import MIB
from arable.services import deployments, explanations, hosts, machines, offerings, pools
from arable.services.call import Asked
from arable.store import exports as export_rows
from arable.store import hosts as host_rows
from arable.store import offerings as offering_rows
from arable.store import pods as pod_rows
from arable.store import pools as pool_rows
from arable.wire.hosts import HostChange
from arable.wire.machines import DiskIn, ResizeIn
from arable.wire.offerings import DiskOfferingIn, OfferingIn

AT = "172.30.0.9:10808"
SIZE = {"cpus": 1, "cpu_mhz": 1000, "memory_mib": 512, "root_mib": 1024}


@pytest.fixture
def shared(cloud) -> Cloud:
    """Two hosts and a storage host in one pod, one host in a pod without any; `steady` is highly available."""
    with_hosts(cloud, "a", "b")
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        other = PodId("pod-two")
        pod_rows.add(tx, Pod(id=other, zone=HERE, name="two", cidr="172.31.0.0/24", created_at=now))
        _host(tx, cloud, "c", other, ("compute",))
        _host(tx, cloud, "s", POD, ("storage",), kind=NBD, address=AT)
        for name, available in (("steady", True), ("movable", False)):
            made = Offering(
                id=OfferingId(f"offering-{name}"),
                name=name,
                storage=StorageKind.SHARED,
                highly_available=available,
                created_at=now,
                **SIZE,
            )
            offering_rows.add(tx, made)
    return cloud


def _host(tx, cloud, name: str, pod: PodId, roles: tuple[str, ...], **pool) -> None:
    now = cloud.around.clock.now()
    host = Host(
        id=HostId(f"host-{name}"),
        zone=HERE,
        pod=pod,
        name=name,
        roles=roles,
        pool=PoolId(f"pool-{name}"),
        cpus=64,
        cpu_mhz=64_000,
        memory_mib=1 << 20,
        disk_mib=10_240,
        disk_percent=100,
        created_at=now,
    )
    host_rows.add(tx, host)
    own = Pool(id=host.pool, zone=HERE, host=host.id, name=name, created_at=now, **pool)
    pool_rows.add(tx, own)
    host_rows.connected(tx, [host.id], "server", now)


def item(cloud: Cloud, kind: str, machine: str) -> tuple[str, str]:
    """The host that it is told to, and its text."""
    ((host, body),) = cloud.rows(
        "select host, body from manifest_item where kind = :kind and id = :id and body is not null",
        kind=kind,
        id=machine,
    )
    return host, body


def placed(cloud: Cloud, **ask) -> str:
    me = cloud.account("me")
    routed(cloud, me)
    made = cloud.deploy(me, offering="steady", **ask).machines[0].id
    attend(cloud)
    return made


def test_a_machine_and_its_storage_host_are_told_by_the_contract(shared):
    made = placed(shared)
    host, guest = item(shared, "guest", made)
    storage, export = item(shared, "export", made)
    assert host in {"host-a", "host-b"}
    assert storage == "host-s"
    told = msgspec.json.decode(guest, type=GuestWish)
    (disk,) = told.disks
    assert (told.epoch, disk.pool) == (1, "pool-s")
    assert disk.shared == SharedFrom(host=HostId("host-s"), address=AT)
    said = msgspec.json.decode(export, type=ExportWish)
    ((zone, zoned),) = shared.rows(
        "select storage_zone, zoned from volume where machine = :id", id=made
    )
    assert zone == shared.rows("select farm from machine where id = :id", id=made)[0][0]
    assert zoned
    wish = ExportWish(
        machine=made,
        generation=told.generation,
        holder=HostId(host),
        epoch=1,
        disks=(replace(disk, shared=None, storage_zone=zone, zoned=zoned),),
        storage_zone=zone,
    )
    assert said == wish
    assert isinstance(disk, DiskWish)
    assert disk.bytes == 1024 * MIB
    used = dict(shared.rows("select id, reserved_disk_mib from host"))
    assert used == {"host-a": 0, "host-b": 0, "host-c": 0, "host-s": 1024}


def test_the_slow_check_agrees_and_puts_right_what_a_hand_changed(shared):
    made = placed(shared)
    clock = shared.around.clock

    def check() -> int:
        now = clock.now()
        with shared.database.write() as tx:
            return sum(
                repair.check(tx, now + timedelta(seconds=repair.SECONDS * letter))
                for letter in range(36)
            )

    assert check() == 0
    shared.run("update manifest_item set body = '{}' where kind = 'export' and id = :id", id=made)
    assert check() == 1
    attend(shared)
    assert msgspec.json.decode(item(shared, "export", made)[1], type=ExportWish).epoch == 1
    assert check() == 0


def test_a_pool_that_is_full_takes_no_more_and_the_refusal_says_so(shared):
    me = shared.account("me")
    routed(shared, me)
    shared.deploy(me, offering="steady", count=10)
    attend(shared)
    late = shared.deploy(me, name="late", offering="steady")
    attend(shared)
    assert shared.rows("select reserved_disk_mib from host where id = 'host-s'") == [(10_240,)]
    ((state, error),) = shared.rows(
        "select state, error from operation where id = :id", id=late.operation
    )
    assert state == "failed"
    assert "reach no pool with room for its shared disks" in str(error)


def test_servers_that_place_at_once_never_overbook_a_pool(shared):
    me = shared.account("me")
    routed(shared, me)

    def deploying(number: int):
        asked = Asked(me, shared.around, (deploy_in(name=f"m-{number}", offering="steady"), None))
        return lambda writer: writer.submit_batch(deployments.deploy_batch, asked)

    def placing(_number: int):
        now = shared.around.clock.now()
        return lambda writer: writer.submit(lambda tx: placer.attend(tx, now))

    asks = [(placing if number % 3 == 2 else deploying)(number) for number in range(30)]
    answers = all_at_once(shared.database, asks)
    assert not [answer for answer in answers if isinstance(answer, CloudError)]
    for _ in range(3):
        attend(shared)
    assert shared.rows("select reserved_disk_mib from host where id = 'host-s'") == [(10_240,)]
    assert shared.rows("select count(*) from volume where pool = 'pool-s'") == [(10,)]
    assert shared.rows("select count(*) from machine where host = 'host-c'") == [(0,)]


def test_what_a_storage_host_says_is_kept_and_shown_to_those_who_may_see_hosts(shared):
    made = placed(shared)
    held = ExportSeen(
        machine=made, generation=2, state=ExportState.HELD, epoch=1, holder=HostId("host-a")
    )
    report(shared, HostReport(host=HostId("host-s"), generation=2, exports=(held,)))
    operator = shared.account("o", role="operator")
    says = shared.do(operator, explanations.explain, made).says
    assert "a has the right to run it (epoch 1)" in says
    told = shared.do(shared.callers["me"], explanations.explain, made).says
    assert not [text for text in told if "host-a" in text]
    report(shared, HostReport(host=HostId("host-s"), generation=2, exports_gone=(made,)))
    assert shared.rows("select count(*) from export") == [(0,)]


def test_what_a_full_report_does_not_name_is_over_though_the_word_of_it_was_lost(shared):
    first = placed(shared)
    second = shared.deploy(shared.callers["me"], offering="steady", name="other").machines[0].id
    storage = HostId("host-s")
    held = [
        ExportSeen(machine=m, generation=2, state=ExportState.HELD, epoch=1)
        for m in (first, second)
    ]
    report(shared, HostReport(host=storage, generation=2, exports=tuple(held)))
    report(shared, HostReport(host=storage, generation=2, full=True, exports=(held[1],)))
    assert shared.rows("select machine from export") == [(second,)]


def test_of_what_is_said_in_one_batch_the_last_word_counts(shared):
    made, storage = placed(shared), HostId("host-s")
    held = ExportSeen(machine=made, generation=2, state=ExportState.HELD, epoch=1)
    over = HostReport(host=storage, generation=2, exports_gone=(made,))
    again = HostReport(host=storage, generation=2, exports=(held,))
    report(shared, again, over, again)
    assert shared.rows("select state from export") == [("held",)]
    report(shared, again, HostReport(host=storage, generation=2, full=True))
    assert shared.rows("select state from export") == []


def test_a_storage_host_that_knows_a_later_epoch_is_followed(shared):
    made = placed(shared)
    behind = ExportSeen(machine=made, generation=0, state=ExportState.FREE, highest=7)
    report(shared, HostReport(host=HostId("host-s"), generation=2, exports=(behind,)))
    attend(shared)
    assert msgspec.json.decode(item(shared, "export", made)[1], type=ExportWish).epoch == 8
    assert msgspec.json.decode(item(shared, "guest", made)[1], type=GuestWish).epoch == 8


def test_a_lost_hosts_machine_is_given_to_another_by_the_next_epoch_in_one_operation(shared):
    made = placed(shared)
    old, _ = item(shared, "guest", made)
    (new,) = {"host-a", "host-b"} - {old}
    report(shared, seen(shared, made))
    held = ExportSeen(
        machine=made, generation=2, state=ExportState.HELD, epoch=1, holder=HostId(old), highest=1
    )
    report(shared, HostReport(host=HostId("host-s"), generation=2, exports=(held,)))
    assert recover(shared) == 0
    shared.run("update host set state = 'down', powered_off = true where id = :id", id=old)
    assert recover(shared) == 1
    assert recover(shared) == 0
    assert item(shared, "guest", made)[0] == new
    told = msgspec.json.decode(item(shared, "export", made)[1], type=ExportWish)
    assert (told.holder, told.epoch, told.fenced) == (new, 2, old)
    erased = shared.rows("select host, body from manifest_item where kind = 'scrap'")
    assert [host for host, body in erased if body] == [old]
    left = shared.rows("select machines, reserved_memory_mib from host order by id limit 2")
    assert sorted(left) == [(0, 0), (1, 512)]
    with shared.database.read() as tx:
        assert export_rows.unread_fences(tx, HostId(old)) == 1
    operation = "select state, total, pending from operation where kind = 'host.recover'"
    assert shared.rows(operation) == [("running", 1, 1)]
    report(shared, seen(shared, made))
    recover(shared)
    assert shared.rows(operation) == [("done", 1, 0)]
    assert shared.rows("select state, host, recovery from machine where id = :id", id=made) == [
        ("running", new, None)
    ]


def test_a_host_that_is_found_without_power_later_is_named_in_the_fence(shared):
    made = placed(shared)
    old, _ = item(shared, "guest", made)
    report(shared, seen(shared, made))
    shared.run("update host set state = 'down' where id = :id", id=old)
    recover(shared)
    assert '"fenced":null' in item(shared, "export", made)[1]
    shared.run("update host set powered_off = true where id = :id", id=old)
    recover(shared)
    attend(shared)
    told = msgspec.json.decode(item(shared, "export", made)[1], type=ExportWish)
    assert (told.epoch, told.fenced) == (2, old)


def recover(cloud: Cloud) -> int:
    """A round."""
    with cloud.database.write() as tx:
        return recovery.watch(tx, cloud.around.clock.now())


def test_a_machine_with_local_disks_is_told_nothing_of_leases(shared):
    me = shared.account("me")
    routed(shared, me)
    made = shared.deploy(me).machines[0].id
    guest = item(shared, "guest", made)[1]
    assert "epoch" not in guest
    assert "shared" not in guest
    assert shared.rows("select count(*) from manifest_item where kind = 'export'") == [(0,)]


def test_a_machine_is_highly_available_only_with_shared_disks(infra):
    error = infra.refused(offerings.create, OfferingIn(name="x", highly_available=True, **SIZE))
    assert isinstance(error, BadInput)
    assert error.field == "highly_available"
    ask = OfferingIn(name="x", storage="shared", highly_available=True, **SIZE)
    made = infra.ask(offerings.create, ask)
    assert (made.storage, made.highly_available) == ("shared", True)


def test_all_disks_of_a_machine_are_of_one_kind(shared):
    me, o = shared.account("me"), shared.account("o", role="operator")
    shared.do(o, offerings.create_disk, DiskOfferingIn(name="far", mib=100, storage="shared"))
    for offering, disk in (("steady", "ten"), ("small", "far")):
        ask = {"offering": offering, "disks": (DiskIn(offering=disk),)}
        error = shared.refused(me, deployments.deploy, deploy_in(**ask), None)
        assert isinstance(error, BadInput)
        assert error.field == "disks.0.offering"
    routed(shared, me)
    made = shared.deploy(me, offering="steady", disks=(DiskIn(offering="far"),)).machines[0].id
    attend(shared)
    assert shared.rows("select distinct pool from volume where machine = :id", id=made) == [
        ("pool-s",)
    ]


def test_a_machine_keeps_its_kind_of_disks_when_it_is_resized(shared):
    me = shared.account("me")
    made = shared.deploy(me, offering="movable", start=False).machines[0].id
    error = shared.refused(me, machines.resize, made, ResizeIn(offering="small"))
    assert isinstance(error, Conflict)
    assert error.field == "offering"
    assert not shared.do(me, machines.get, made).highly_available
    shared.do(me, machines.resize, made, ResizeIn(offering="steady"))
    assert shared.do(me, machines.get, made).highly_available


@pytest.mark.parametrize("roles", [("storage",), ("compute", "storage")])
def test_a_pool_is_shared_when_its_host_says_so_and_runs_no_machines(infra, roles):
    joined = infra.join(infra.token(infra.pod(), roles=roles), "s1")
    told = hello(joined.host, inventory=replace(INVENTORY, shares=AT))
    assert greet(infra, (joined.host, told)) == [None]
    pool = infra.ask(pools.get, joined.pool)
    if "compute" in roles:
        assert (pool.kind, pool.address) == ("local", "")
        return
    assert (pool.kind, pool.address) == (NBD, AT)
    other = hello(joined.host, inventory=replace(INVENTORY, shares=AT, shares_by=ISCSI))
    assert greet(infra, (joined.host, other)) == [None]
    assert infra.ask(pools.get, joined.pool).kind == ISCSI
    error = infra.refused(hosts.update, joined.host, HostChange(roles=("compute", "storage")))
    assert isinstance(error, BadInput)
    assert error.field == "roles"


def test_an_operator_is_told_once_that_a_host_that_runs_machines_keeps_its_pool(infra):
    offers = replace(INVENTORY, shares=AT)
    token = infra.token(infra.pod(), roles=("compute", "storage"))
    host = infra.join(token, "s1", inventory=offers).host
    for _ in range(2):
        assert greet(infra, (host, hello(host, inventory=offers))) == [None]
    said = infra.cloud.rows("select kind, text from event order by number")
    assert [kind for kind, _ in said] == ["host.joined", "host.pool-unshared", "host.up"]
    assert "s1" in said[1][1]
    assert "role compute" in said[1][1]
    assert "role compute" in infra.ask(hosts.get, host).facts["unshared"]

    infra.ask(hosts.update, host, HostChange(roles=("storage",)))
    assert greet(infra, (host, hello(host, inventory=offers))) == [None]
    shown = infra.ask(hosts.get, host)
    assert "unshared" not in shown.facts
    assert infra.ask(pools.get, PoolId(shown.pool)).kind == NBD


def test_a_host_that_offers_nothing_keeps_its_pool_without_a_word(infra):
    host = infra.join(infra.token(infra.pod(), roles=("compute", "storage")), "s1").host
    assert greet(infra, (host, hello(host))) == [None]
    assert "unshared" not in infra.ask(hosts.get, host).facts
    kinds = infra.cloud.rows("select kind from event order by number")
    assert [kind for (kind,) in kinds] == ["host.joined", "host.up"]


def test_a_host_shares_its_pool_in_no_way_that_nobody_knows(infra):
    joined = infra.join(infra.token(infra.pod(), roles=("storage",)), "s1")
    told = hello(joined.host, inventory=replace(INVENTORY, shares=AT, shares_by="local"))
    (error,) = greet(infra, (joined.host, told))
    assert isinstance(error, BadInput)
    assert error.field == "inventory.shares_by"
    assert infra.ask(pools.get, joined.pool).kind == "local"


def test_disks_of_an_iscsi_pool_are_given_out_as_those_of_any_shared_one(shared):
    shared.run("update pool set kind = 'iscsi' where id = 'pool-s'")
    made = placed(shared)
    assert shared.rows("select distinct pool from volume where machine = :id", id=made) == [
        ("pool-s",)
    ]


def test_of_a_silent_host_only_machines_whose_lease_ran_out_are_given_away(shared):
    made = placed(shared)
    old, _ = item(shared, "guest", made)
    report(shared, seen(shared, made))
    shared.run("update host set state = 'silent' where id = :id", id=old)

    def says(**but) -> None:
        usual = {"generation": 2, "state": ExportState.HELD, "epoch": 1, "holder": HostId(old)}
        export = ExportSeen(**{"machine": made, "highest": 1} | usual | but)
        report(shared, HostReport(host=HostId("host-s"), generation=2, exports=(export,)))

    for keeps in (
        {},
        {"lapsed": True, "epoch": 0},
        {"lapsed": True, "holder": HostId("host-x")},
        {"state": ExportState.FREE},  # let go: the guest has shut itself down
        {"state": ExportState.FREE, "epoch": 0, "generation": 0},  # not read yet
        {"state": ExportState.ENDING, "epoch": 0},
    ):
        says(**keeps)
        assert recover(shared) == 0, keeps
    says(lapsed=True)
    operator = shared.account("o", role="operator")
    told = shared.do(operator, explanations.explain, made).says
    assert "its host is silent, and did not renew the right to run it: it is off" in told
    assert f"{old} had the right to run it (epoch 1), and did not renew it" in told
    shared.run("update host set maintenance = true where id = :id", id=old)
    assert recover(shared) == 0
    shared.run("update host set maintenance = false where id = :id", id=old)
    assert recover(shared) == 1
    assert item(shared, "guest", made)[0] != old
    ((steps,),) = shared.rows("select steps from operation where kind = 'host.recover'")
    assert "1 lease ran out at the storage" in steps
