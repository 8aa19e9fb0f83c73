"""What libvirt's statistics of a guest mean in our words. Pure."""

from collections.abc import Mapping

from arable.domain.ids import MachineId
from arable.domain.manifest import GuestStats

Numbers = Mapping[str, int]


def read(machine: MachineId, numbers: Numbers) -> GuestStats:
    """The counters of one guest; what libvirt doesn't tell counts as nothing."""
    return GuestStats(
        machine=machine,
        cpu_ns=numbers.get("cpu.time", 0),
        memory_mib=_memory_kib(numbers) >> 10,
        memory_told=_tells_memory(numbers),
        # What the host's end of a tap sends is what the guest receives; libvirt has turned that round already.
        received_bytes=_total(numbers, "net", "rx.bytes"),
        sent_bytes=_total(numbers, "net", "tx.bytes"),
        read_bytes=_total(numbers, "block", "rd.bytes"),
        written_bytes=_total(numbers, "block", "wr.bytes"),
        read_ops=_total(numbers, "block", "rd.reqs"),
        written_ops=_total(numbers, "block", "wr.reqs"),
    )


def _total(numbers: Numbers, kind: str, what: str) -> int:
    """The sum over a guest's NICs or disks."""
    return sum(
        numbers.get(f"{kind}.{index}.{what}", 0) for index in range(numbers.get(f"{kind}.count", 0))
    )


def _tells_memory(numbers: Numbers) -> bool:
    return bool(numbers.get("balloon.available")) and "balloon.usable" in numbers


def _memory_kib(numbers: Numbers) -> int:
    """What the guest says it uses; a guest that says nothing uses what its process takes, its memory at most."""
    if _tells_memory(numbers):
        return max(0, numbers["balloon.available"] - numbers["balloon.usable"])
    return min(numbers.get("balloon.rss", 0), numbers.get("balloon.current", 0))
