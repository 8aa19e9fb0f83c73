"""What machines use: as their present host said last, for those who may see the machine."""

from datetime import timedelta

import pytest
from make_cloud import Cloud
from test_machine_power import there

from arable.controllers.settle import settle
from arable.domain.errors import NotFound
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestStats, HostReport
from arable.services import usages
from arable.store import attention


def report(cloud: Cloud, machine: str, host: str = "host-a", **counters: int) -> None:
    stats = (GuestStats(machine=MachineId(machine), **counters),)
    said = HostReport(host=HostId(host), generation=1, stats=stats)
    with cloud.database.write() as tx:
        settle(tx, [said], cloud.around.clock.now())


def test_the_newest_counters_are_shown_with_their_units(cloud) -> None:
    me = cloud.account("me")
    machine = there(cloud, me, "running", "running")
    report(cloud, machine, cpu_ns=1)
    report(cloud, machine, cpu_ns=2_500_000_000, memory_mib=64, sent_bytes=7)
    found = cloud.do(me, usages.show, machine)
    assert (found.cpu_seconds, found.memory_mib, found.sent_bytes) == (2.5, 64, 7)
    assert found.at == cloud.around.clock.now()


def test_a_host_that_does_not_have_the_machine_says_nothing_of_it(cloud) -> None:
    me = cloud.account("me")
    machine = there(cloud, me, "running", "running")
    report(cloud, machine, memory_mib=64)
    report(cloud, machine, host="host-b", memory_mib=1)
    assert cloud.do(me, usages.show, machine).memory_mib == 64


def test_what_goes_through_its_ports_is_known_as_a_rate_and_its_memory_if_its_guest_tells(
    cloud,
) -> None:
    machine = there(cloud, cloud.account("me"), "running", "running")
    reckoned = "select net_bytes, kbps, memory_mib from machine_usage"
    report(cloud, machine, memory_mib=64)
    assert cloud.rows(reckoned) == [(0, 0, None)]
    cloud.around.clock.wait(timedelta(seconds=10))
    report(cloud, machine, sent_bytes=3_000_000, received_bytes=2_000_000, memory_mib=7, memory_told=True)  # fmt: skip
    assert cloud.rows(reckoned) == [(5_000_000, 1_000, 7)], "a quarter of 4,000 kbps"
    cloud.around.clock.wait(timedelta(seconds=10))
    report(cloud, machine, sent_bytes=1)  # the guest began anew
    assert cloud.rows(reckoned) == [(1, 1_000, None)]


def test_others_and_machines_that_never_ran_have_nothing_to_show(cloud) -> None:
    me, other = cloud.account("me"), cloud.account("other")
    machine = there(cloud, me, "running", "running")
    with pytest.raises(NotFound, match="nothing was counted yet"):
        cloud.do(me, usages.show, machine)
    report(cloud, machine)
    with pytest.raises(NotFound, match="no such machine"):
        cloud.do(other, usages.show, machine)


def test_counters_go_with_their_machine(cloud) -> None:
    machine = there(cloud, cloud.account("me"), "running", "running")
    report(cloud, machine)
    with cloud.database.write() as tx:
        attention.remove_machines(tx, [MachineId(machine)], cloud.around.clock.now())
    assert cloud.rows("select * from machine_usage") == []
