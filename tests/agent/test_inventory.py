"""What a host has is measured, unless it is given."""

import os

import pytest

from arable.agent.config import Given
from arable.agent.inventory import InventoryOfHost, measure
from arable.domain.errors import Unavailable


@pytest.fixture
def proc(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:       16384000 kB\nMemFree: 1 kB\n")
    (tmp_path / "cpuinfo").write_text("cpu MHz\t\t: 1800.5\n\ncpu MHz\t\t: 2400.2\n")
    return tmp_path


def test_the_kernel_is_asked(proc) -> None:
    found = measure(proc, proc / "nothing")
    assert (found.memory_mib, found.mhz_each) == (16_000, 2400)
    assert found.cpus == len(os.sched_getaffinity(0))


def test_the_highest_clock_counts_where_it_is_known(proc) -> None:
    (proc / "top").write_text("3600000\n")
    assert measure(proc, proc / "top").mhz_each == 3600


def test_a_processor_that_hides_its_clock_is_guessed(proc) -> None:
    (proc / "cpuinfo").write_text("processor: 0\n")
    assert measure(proc, proc / "nothing").mhz_each == 2000


def test_what_is_given_stands_in_for_what_is_measured(tmp_path) -> None:
    given = Given(cpus=3, cpu_mhz=7_200, memory_mib=2_048, disk_mib=10_240)
    made = InventoryOfHost(given, tmp_path, {}, roles=["routing"], tags=["ssd"])()
    assert (made.cpus, made.cpu_mhz, made.memory_mib, made.disk_mib) == (3, 7_200, 2_048, 10_240)
    assert (made.roles, made.tags) == (("routing",), ("ssd",))
    assert made.version


def test_this_machine_has_something(tmp_path) -> None:
    made = InventoryOfHost(Given(), tmp_path, {}, roles=["compute"], tags=[])()
    assert min(made.cpus, made.cpu_mhz, made.memory_mib, made.disk_mib) > 0


def test_a_driver_that_does_not_answer_yet_is_asked_again(tmp_path) -> None:
    answers = iter([Unavailable("not yet"), "ovs (netdev)"])

    def name() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    inventory = InventoryOfHost(Given(), tmp_path, {"network": name}, roles=[], tags=[])
    assert [inventory().network for _ in range(3)] == ["", "ovs (netdev)", "ovs (netdev)"]
