"""A visit to a machine's serial console."""

from dataclasses import dataclass

from arable.domain.ids import HostId, MachineId, UserId


@dataclass(frozen=True, slots=True)
class Visit:
    """Who may open which machine's console, and the host where the machine was when that was decided."""

    user: UserId
    machine: MachineId
    host: HostId
