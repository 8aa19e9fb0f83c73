"""What machines use: as their present host said last, for those who may see the machine."""

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
