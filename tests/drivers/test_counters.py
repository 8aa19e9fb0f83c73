"""What libvirt's numbers of a guest mean."""

import pytest

from arable.domain.ids import MachineId
from arable.drivers.hypervisor.counters import read


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"balloon.available": 4096, "balloon.usable": 1024, "balloon.rss": 8192}, (3, True)),
        ({"balloon.available": 0, "balloon.usable": 0, "balloon.rss": 2048, "balloon.current": 4096}, (2, False)),
        ({"balloon.available": 4096, "balloon.rss": 8192, "balloon.current": 4096}, (4, False)),
        ({}, (0, False)),
    ],
)  # fmt: skip
def test_a_guest_that_tells_its_memory_is_believed_and_any_other_takes_what_its_process_does(
    numbers, said
) -> None:
    found = read(MachineId("machine-a"), numbers)
    assert (found.memory_mib, found.memory_told) == said
