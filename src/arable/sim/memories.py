"""Whether a machine that moved goes on where it was: its memory is told apart, so an old copy that runs is noticed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from arable.domain.ids import HostId, MachineId
from arable.drivers.simhost import SimHost


@dataclass(slots=True)
class Memories:
    """Of one story: for each machine what its last run was, and how far that came."""

    _last: dict[MachineId, tuple[int, int]] = field(default_factory=dict)
    _runs: int = 0

    def look(self, hosts: Mapping[HostId, SimHost]) -> list[str]:
        """Time has passed: whoever runs comes further. Those that go on from a copy that was left behind."""
        wrong = []
        for hardware in hosts.values():
            for machine, guest in hardware.guests.items():
                if not guest.awake:
                    continue
                if guest.memory is None:
                    self._runs += 1
                    guest.memory = self._last[machine] = (self._runs, 0)
                if guest.memory != self._last.get(machine):
                    wrong.append(f"{machine} goes on from a copy that was left behind")
                run, steps = self._last[machine]
                guest.memory = self._last[machine] = (run, steps + 1)
        return wrong
