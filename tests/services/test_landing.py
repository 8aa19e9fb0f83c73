"""Machines that find their hosts while they are being deployed: what is left is what the placer would have left."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from make_cloud import Cloud

from arable.controllers import machines as placer
from arable.controllers import settle
from arable.controllers.landing import AGAIN, Landing
from arable.domain.errors import CloudError
from arable.domain.host import Host
from arable.domain.ids import HostId, PodId, PoolId, ZoneId
from arable.domain.manifest import GuestSeen, GuestState, GuestWish, HostReport
from arable.domain.pod import Pod
from arable.domain.pool import Pool
from arable.runtime.entropy import Ids
from arable.services import groups
from arable.store import hosts, pods, pools
from arable.store.database import Tx
from arable.wire.groups import GroupIn

HERE, POD = ZoneId("zone-here"), PodId("pod-one")
MIB = 4096  # of a host's memory: eight `small` machines


def with_hosts(cloud: Cloud, *names: str) -> Cloud:
    """Hosts that are up; the first one routes. What is deployed lands."""
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        pods.add(tx, Pod(id=POD, zone=HERE, name="one", cidr="172.30.0.0/24", created_at=now))
        for at, name in enumerate(names):
            _add(tx, cloud, name, ("compute",) if at else ("compute", "routing"))
    cloud.around = replace(cloud.around, land=Landing(lambda _tx, farms: farms))
    return cloud


def _add(tx: Tx, cloud: Cloud, name: str, roles: tuple[str, ...]) -> None:
    now = cloud.around.clock.now()
    host, pool = HostId(f"host-{name}"), PoolId(f"pool-{name}")
    made = Host(
        id=host,
        zone=HERE,
        pod=POD,
        name=name,
        roles=roles,
        pool=pool,
        cpus=64,
        cpu_mhz=64_000,
        memory_mib=MIB,
        disk_mib=100_000,
        created_at=now,
    )
    hosts.add(tx, made)
    pools.add(tx, Pool(id=pool, zone=HERE, host=host, name=name, total_mib=100_000, created_at=now))
    hosts.connected(tx, [host], "server", now)


def attend(cloud: Cloud) -> None:
    """A round of the placer."""
    with cloud.database.write() as tx:
        placer.attend(tx, cloud.around.clock.now())


def routed(cloud: Cloud, me) -> None:
    """The account's default network has a router that runs."""
    cloud.deploy(me, name="first", start=False)
    cloud.run(
        "update network set appliance_state = 'running', appliance_host = :host",
        host=cloud.rows("select id from host order by id")[0][0],
    )


def seen(cloud: Cloud, *machines: str, state: GuestState = GuestState.RUNNING) -> HostReport:
    """What the host of these machines would report of them."""
    ((host, generation),) = set(
        cloud.rows(
            "select host, told from machine where host is not null and id = :id", id=machines[0]
        )
    )
    guests = tuple(
        GuestSeen(machine=id_, generation=generation, state=state, boots=1)  # type: ignore[arg-type]
        for id_ in machines
    )
    return HostReport(host=host, generation=1, guests=guests)


def report(cloud: Cloud, *reports: HostReport) -> None:
    with cloud.database.write() as tx:
        settle.settle(tx, reports, cloud.around.clock.now())


def row_of(cloud: Cloud, machine: str) -> tuple:
    return cloud.rows(
        "select state, attention, told, generation, host is not null, why <> '{}' "
        "from machine where id = :id",
        id=machine,
    )[0]


def test_a_machine_that_lands_is_as_the_placer_would_have_left_it(cloud):
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    landed = cloud.deploy(me, name="at-once")
    waiting = replace(cloud.around, land=None)
    cloud.around, around = waiting, cloud.around
    placed = cloud.deploy(me, name="later")
    assert row_of(cloud, placed.machines[0].id)[0] == "waiting"
    attend(cloud)
    cloud.around = around
    one, other = landed.machines[0].id, placed.machines[0].id
    assert row_of(cloud, one) == row_of(cloud, other)
    assert row_of(cloud, one)[0] == "starting"
    wishes = {
        id_: msgspec.json.decode(body, type=GuestWish)
        for id_, body in cloud.rows("select id, body from manifest_item where kind = 'guest'")
    }
    assert wishes[one].generation == wishes[other].generation == 2
    assert wishes[one].disks[0].pool == wishes[other].disks[0].pool == "pool-a"
    assert [port.vlan for port in wishes[one].ports] == [port.vlan for port in wishes[other].ports]
    texts = cloud.rows("select steps from operation where pending = 1 order by id")
    assert [[step["text"] for step in msgspec.json.decode(text)] for (text,) in texts] == [
        ["placed, starting"],
        ["placed, starting"],
    ]
    assert cloud.rows("select reserved_memory_mib, machines from host") == [(1024, 2)]
    assert cloud.rows("select count(*) from volume where pool = 'pool-a'") == [(2,)]
    assert cloud.rows("select count(*) from manifest_item where kind = 'lease'") == [(2,)]


def test_what_lands_needs_no_round_of_the_placer(cloud):
    with_hosts(cloud, "a", "b")
    me = cloud.account("me")
    routed(cloud, me)
    made = cloud.deploy(me, name="web", count=5)
    assert cloud.rows("select count(*) from machine where attention") == [(0,)]
    before = cloud.everything()
    attend(cloud)
    assert cloud.everything() == before
    by_host = dict(
        cloud.rows("select host, count(*) from machine where host is not null group by host")
    )
    assert sorted(by_host.values()) == [2, 3], "they are spread"
    for host in by_host:
        ids = [id_ for (id_,) in cloud.rows("select id from machine where host = :h", h=host)]
        report(cloud, seen(cloud, *ids))
    states = cloud.rows("select distinct state from machine where name <> 'first'")
    assert states == [("running",)]
    assert cloud.rows("select state, pending from operation where id = :id", id=made.operation) == [
        ("done", 0)
    ]


@pytest.mark.parametrize(
    "change",
    [
        "update host set maintenance = true, generation = generation + 1",
        "update host set state = 'silent'",
        "update pod set enabled = false",
        "update host set tags = '[]', generation = generation + 1",
        "update host set reserved_memory_mib = memory_mib",
    ],
)
def test_what_was_seen_of_a_host_a_moment_ago_decides_nothing(lone_cloud, change):
    cloud = with_hosts(lone_cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    first = cloud.deploy(me, name="one")
    assert row_of(cloud, first.machines[0].id)[0] == "starting"
    cloud.run(change)
    second = cloud.deploy(me, name="two")
    assert row_of(cloud, second.machines[0].id)[:2] == ("waiting", True)
    assert cloud.rows("select machines from host") == [(1,)]


def test_who_may_not_act_for_the_farm_leaves_all_to_the_placer(cloud):
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    cloud.around = replace(cloud.around, land=Landing(lambda _tx, _farms: ()))
    made = cloud.deploy(me, name="later")
    assert row_of(cloud, made.machines[0].id)[:2] == ("waiting", True)
    assert cloud.rows("select machines from host") == [(0,)]


def test_a_network_without_a_router_and_a_group_wait_for_the_placer(lone_cloud):
    cloud = with_hosts(lone_cloud, "a")
    me = cloud.account("me")
    made = cloud.deploy(me, name="first")
    assert row_of(cloud, made.machines[0].id)[:2] == ("waiting", True)
    routed_by_now = "update network set appliance_state = 'running', appliance_host = 'host-a'"
    cloud.run(routed_by_now)
    cloud.do(me, groups.create, GroupIn(name="db", rule="apart"))
    made = cloud.deploy(me, name="second", group="db")
    assert row_of(cloud, made.machines[0].id)[:2] == ("waiting", True)


def test_more_than_fits_lands_in_part_and_the_rest_is_refused_by_the_placer(cloud):
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    made = cloud.deploy(me, name="web", count=MIB // 512 + 3)
    states = cloud.rows("select state, count(*) from machine where name <> 'first' group by state")
    assert sorted(states) == [("starting", 8), ("waiting", 3)]
    attend(cloud)
    assert cloud.rows("select count(*) from machine where name <> 'first'") == [(8,)]
    assert cloud.rows("select reserved_memory_mib, machines from host") == [(MIB, 8)]
    assert cloud.rows("select pending, error is not null from operation where id = :id", id=made.operation) == [(8, True)]  # fmt: skip


def test_many_batches_never_take_more_than_there_is(cloud):
    with_hosts(cloud, "a", "b", "c")
    me, you = cloud.account("me"), cloud.account("you")
    routed(cloud, me)
    for at in range(6):
        asks = [cloud.asked(who, name=f"m-{at}-{n}") for who in (me, you) for n in range(4)]
        assert not any(isinstance(answer, CloudError) for answer in cloud.batch(*asks))
        cloud.around.clock.wait(timedelta(seconds=0.4))
    for used, held, count in cloud.rows(
        "select reserved_memory_mib, memory_mib, machines from host"
    ):
        assert used <= held
        assert used == count * 512
    landed = "select count(*) from machine where host is not null and account = 'account-me'"
    assert cloud.rows(landed) == [(24,)]


def test_a_dry_run_lands_nothing(lone_cloud):
    cloud = with_hosts(lone_cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    asked = replace(cloud.asked(me, name="web"), dry_run=True)
    before = cloud.rows("select machines from host")
    cloud.batch(asked)
    assert cloud.rows("select machines from host") == before


def test_a_host_that_came_since_is_found_after_a_while(lone_cloud):
    cloud = with_hosts(lone_cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    cloud.deploy(me, name="one")
    with cloud.database.write() as tx:
        _add(tx, cloud, "b", ("compute",))
    cloud.around.clock.wait(AGAIN)
    cloud.deploy(me, name="two")
    assert cloud.rows("select id from host where machines = 1 order by id") == [
        ("host-a",),
        ("host-b",),
    ]


def test_a_machine_that_arrives_and_stops_in_one_batch_of_reports_is_off(cloud):
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    (made,) = cloud.deploy(me, name="web").machines
    ran = seen(cloud, made.id)
    report(cloud, ran, replace(ran, guests=(replace(ran.guests[0], state=GuestState.STOPPED),)))
    assert cloud.rows("select state, wish, ran > 0 from machine where id = :id", id=made.id) == [
        ("stopped", "stopped", True)
    ]
    assert cloud.rows("select machines, reserved_memory_mib from host") == [(0, 0)]
    kinds = [kind for (kind,) in cloud.rows("select kind from event where subject = :id order by number", id=made.id)]  # fmt: skip
    assert kinds == ["machine.created", "machine.running", "machine.stopped"]


def test_ids_are_new_for_each_machine_of_a_batch(lone_cloud):
    cloud = with_hosts(lone_cloud, "a", "b")
    cloud.around = replace(cloud.around, ids=Ids(cloud.around.clock, cloud.around.entropy))
    me = cloud.account("me")
    routed(cloud, me)
    cloud.batch(*(cloud.asked(me, name=f"m-{at}", count=2) for at in range(4)))
    for table in ("machine", "volume", "nic", "machine_boot"):
        column = "machine" if table == "machine_boot" else "id"
        assert cloud.rows(f"select count(distinct {column}) from {table}") == [(9,)]


def test_a_machine_that_prepared_and_ran_within_one_batch_runs(cloud):
    """Two reports of a host may be settled together; what the first one changed must not be written last."""
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    machine = cloud.deploy(me, name="quick").machines[0].id
    fetching = seen(cloud, machine, state=GuestState.PREPARING)
    (guest,) = fetching.guests
    fetching = replace(fetching, guests=(replace(guest, told="its image is being fetched"),))
    report(cloud, fetching, seen(cloud, machine))
    state, operation, why = cloud.rows(
        "select state, operation, why from machine where id = :id", id=machine
    )[0]
    assert (state, operation) == ("running", None)
    assert "waiting" not in msgspec.json.decode(why)
    assert cloud.rows("select count(*) from operation where state = 'running'") == [(0,)]
