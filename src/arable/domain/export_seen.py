"""How a storage host says that the leases of its disks stand (docs/decisions/0007)."""

from dataclasses import dataclass
from enum import StrEnum

from arable.domain.ids import HostId, MachineId


class ExportState(StrEnum):
    """How the lease of a machine stands on its storage host."""

    FREE = "free"  # nobody has it: let go, or its time is over and it was cut off
    HELD = "held"  # by `holder`, which renews it
    ENDING = "ending"  # cut off from its disks, and may run on elsewhere until its time is over
    FAILED = "failed"  # what is wished can't be done; `told` is the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSeen:
    """A machine's lease as its storage host knows it. `generation` is that of the wish in force here.

    `epoch` and `holder` are of the lease given last, 0 and None for none; `highest` is the highest epoch that was
    ever wished for or given here: a wish for a lower one is refused. One that is held has `lapsed` when its holder did
    not renew it in its time: its watchdog has stopped the machine, and it may have it again if it asks before another.
    What is `beside` is a copy in the making, and no right to run; `away` is the attempt by which the disks were given to
    another storage host, while an old copy of them is here (docs/decisions/0055).
    """

    machine: MachineId
    generation: int
    state: ExportState
    epoch: int = 0
    holder: HostId | None = None
    told: str = ""
    highest: int = 0
    lapsed: bool = False
    beside: bool = False
    away: int = 0
