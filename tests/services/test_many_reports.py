"""Reports of many hosts in one batch: each counts as it would alone, and what is known already costs nothing."""

import pytest
from make_cloud import Cloud
from test_machine_power import there

from arable.controllers.settle import settle
from arable.domain.ids import HostId, MachineId, PoolId
from arable.domain.manifest import GuestSeen, GuestState, GuestStats, HostReport, PoolSeen
from arable.domain.units import MIB
from arable.store import wishes
from arable.store.nudges import collected

A, B = HostId("host-a"), HostId("host-b")
RESERVED = """
    update host set cpus = 8, cpu_mhz = 16000, memory_mib = 8192, disk_mib = 9999, reserved_cpus = 1,
    reserved_cpu_mhz = 1000, reserved_memory_mib = 512, reserved_disk_mib = 1024, machines = 1
"""


@pytest.fixture
def two(cloud: Cloud) -> Cloud:
    """Hosts a and b hold their second manifests, the newest; a runs a machine of the network with VLAN 100."""
    there(cloud, cloud.account("me"), "running", "running")
    cloud.run(
        """insert into host (id, zone, pod, name, state, created_at)
           values ('host-b', 'zone-here', 'pod-a', 'b', 'up', 0)"""
    )
    cloud.run("update host set manifest_generation = 2")
    cloud.run(RESERVED)
    with cloud.database.write() as tx:
        ((network,),) = tx.exec_driver_sql("select id from network").all()
        wishes.note_presence(tx, [(network, A), (network, B)])
    return cloud


def say(cloud: Cloud, *reports: HostReport) -> set[str]:
    """What was nudged."""
    with cloud.database.write() as tx:
        settle(tx, list(reports), cloud.around.clock.now())
        return collected(tx).topics


def present(cloud: Cloud) -> set[str]:
    return {host for (host,) in cloud.rows("select host from network_presence")}


def test_a_network_is_gone_from_those_hosts_that_have_its_vlan_no_more(two: Cloud) -> None:
    topics = say(
        two,
        HostReport(host=A, generation=2, vlans=()),  # it has a machine of it, so there is a wish
        HostReport(host=B, generation=2, vlans=(7, 101)),
    )
    assert present(two) == {A}
    assert "networks" in topics


def test_a_network_stays_while_its_vlan_is_seen_or_an_older_manifest_is_held(two: Cloud) -> None:
    assert "networks" not in say(two, HostReport(host=B, generation=2, vlans=(100,)))
    assert "networks" not in say(two, HostReport(host=B, generation=1, vlans=()))
    assert "networks" not in say(two, HostReport(host=B, generation=2))
    assert present(two) == {A, B}
    two.run("update network set appliance_host = 'host-b'")
    say(two, HostReport(host=B, generation=2, vlans=()))
    assert present(two) == {A, B}


def test_of_two_reports_of_a_host_the_later_one_counts(two: Cloud) -> None:
    say(
        two,
        HostReport(host=B, generation=2, vlans=()),
        HostReport(host=B, generation=2, vlans=(100,)),
    )
    assert present(two) == {A, B}


def test_pools_are_as_full_as_their_own_hosts_say(two: Cloud) -> None:
    for letter in "ab":
        two.run(
            """insert into pool (id, zone, host, name, kind, total_mib, created_at)
               values (:id, 'zone-here', :host, :id, 'local', 1, 0)""",
            id=f"pool-{letter}",
            host=f"host-{letter}",
        )

    def pool(letter: str, used: int) -> PoolSeen:
        return PoolSeen(pool=PoolId(f"pool-{letter}"), total_bytes=9 * MIB, used_bytes=used * MIB)

    say(
        two,
        HostReport(host=A, generation=2, pools=(pool("a", 1), pool("b", 8))),
        HostReport(host=B, generation=2, pools=(pool("b", 2),)),
        HostReport(host=A, generation=2, pools=(pool("a", 3),)),
    )
    kept = two.rows("select id, total_mib, used_mib from pool order by id")
    assert [tuple(row) for row in kept] == [("pool-a", 9, 3), ("pool-b", 9, 2)]


def test_counters_of_many_machines_are_kept_and_the_last_word_of_each_counts(two: Cloud) -> None:
    machine = MachineId(two.rows("select id from machine")[0][0])
    other = MachineId(there(two, two.account("other"), "running", "running", "db"))

    def stats(machine: MachineId, mib: int) -> tuple[GuestStats, ...]:
        return (GuestStats(machine=machine, memory_mib=mib),)

    say(
        two,
        HostReport(host=A, generation=2, stats=stats(machine, 1) + stats(other, 5)),
        HostReport(host=B, generation=2, stats=stats(machine, 99)),
        HostReport(host=A, generation=2, stats=stats(machine, 2)),
    )
    found = dict(tuple(row) for row in two.rows("select machine, counters from machine_usage"))
    assert '"memory_mib":2' in found[machine].replace(" ", "")
    assert '"memory_mib":5' in found[other].replace(" ", "")


def full(machine: str, state: GuestState, generation: int = 1) -> HostReport:
    seen = GuestSeen(machine=MachineId(machine), generation=generation, state=state, boots=1)
    return HostReport(host=A, generation=2, full=True, vlans=(100,), guests=(seen,))


def test_a_full_report_of_what_is_known_changes_nothing(two: Cloud) -> None:
    before = [tuple(row) for row in two.rows("select * from machine")]
    say(two, full(before[0][0], GuestState.RUNNING))
    assert [tuple(row) for row in two.rows("select * from machine")] == before


def test_what_a_full_report_has_to_tell_of_a_machine_counts(two: Cloud) -> None:
    machine = two.rows("select id from machine")[0][0]
    say(two, full(machine, GuestState.STOPPED))
    assert two.rows("select state from machine")[0][0] == "stopped"


def test_a_machine_that_stops_right_after_a_full_report_is_seen_to(two: Cloud) -> None:
    machine = two.rows("select id from machine")[0][0]
    stopped = GuestSeen(machine=machine, generation=1, state=GuestState.STOPPED, boots=1)
    say(
        two,
        full(machine, GuestState.RUNNING),
        HostReport(host=A, generation=2, guests=(stopped,)),
    )
    assert two.rows("select state from machine")[0][0] == "stopped"


def test_an_operation_that_waits_for_a_machine_ends_by_a_full_report(cloud: Cloud) -> None:
    machine = there(cloud, cloud.account("me"), "running", "running", busy=True)
    say(cloud, full(machine, GuestState.RUNNING, generation=9))
    assert cloud.rows("select operation from machine")[0][0] is None
    assert cloud.rows("select state from operation")[0][0] == "done"


@pytest.mark.parametrize(
    ("state", "wish", "ends"),
    [("stopping", "stopped", "stopped"), ("starting", "running", "stopped")],
)
def test_that_a_guest_is_off_counts_though_somebody_wants_to_look_at_its_machine(
    cloud: Cloud, state: str, wish: str, ends: str
) -> None:
    """Its network was given IPv6, say: its host is told nothing that it would answer, and does not say it again."""
    machine = there(cloud, cloud.account("me"), state, wish, busy=True)
    cloud.run("update machine set told = 3, generation = 3, attention = true")
    cloud.run(RESERVED)
    say(cloud, full(machine, GuestState.STOPPED, generation=2))
    assert cloud.rows("select state from machine")[0][0] == state, "that was before it was told"
    say(cloud, full(machine, GuestState.STOPPED, generation=3))
    assert cloud.rows("select state, operation from machine") == [(ends, None)]


def test_that_a_machine_runs_as_asked_counts_though_somebody_wants_to_look_at_it(
    cloud: Cloud,
) -> None:
    machine = there(cloud, cloud.account("me"), "running", "running", busy=True)
    cloud.run("update machine set told = 3, generation = 3, attention = true")
    say(cloud, full(machine, GuestState.RUNNING, generation=3))
    assert cloud.rows("select operation from machine") == [(None,)]


def test_that_a_guest_is_off_says_nothing_of_what_its_host_was_not_told_yet(cloud: Cloud) -> None:
    machine = there(cloud, cloud.account("me"), "stopping", "stopped", busy=True)
    cloud.run("update machine set told = 3, generation = 4, attention = true")
    say(cloud, full(machine, GuestState.STOPPED, generation=3))
    assert cloud.rows("select state from machine")[0][0] == "stopping"
