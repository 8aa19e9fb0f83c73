"""What a machine is asked to be, what it is, and what it may become.

A machine's *wish* is what its owner wants in the end; its *state* is how far the cloud has come. Nothing but
an event of the table below changes the state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.group import Placement
from arable.domain.ids import (
    AccountId,
    FarmId,
    HostId,
    ImageId,
    MachineId,
    OfferingId,
    OperationId,
    ZoneId,
)
from arable.domain.lifecycle import table
from arable.domain.manifest import ImagePart
from arable.domain.units import Size


class MachineWish(StrEnum):
    """What the owner wants in the end."""

    RUNNING = "running"
    STOPPED = "stopped"
    DESTROYED = "destroyed"  # off and hidden, may be recovered until its time is over
    GONE = "gone"  # disks erased, row removed


class MachineState(StrEnum):
    """How far the cloud has come."""

    WAITING = "waiting"  # wants a host
    STARTING = "starting"  # has a host; the host has been told
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = (
        "error"  # could not be started; `why` tells the cause; may be started again or destroyed
    )
    DESTROYED = "destroyed"
    EXPUNGING = "expunging"  # waits until its hosts say that guest and disks are gone
    GONE = "gone"


class MachineEvent(StrEnum):
    """What can happen to a machine."""

    PLACE = "place"
    NO_ROOM = "refuse"  # no host can take it
    SEE_RUNNING = "see running"
    SEE_STOPPED = "see stopped"
    FAIL = "fail"
    RETRY = "retry"
    LOSE_HOST = "lose host"  # its host is lost, and it was given to another one
    LOSE_DISKS = "lose disks"  # their host will never come back
    START = "start"
    STOP = "stop"
    DESTROY = "destroy"
    RECOVER = "recover"
    EXPUNGE = "expunge"
    SEE_GONE = "see gone"


_S, _E = MachineState, MachineEvent
MACHINE = table(
    _S.WAITING,
    {_S.GONE},
    #  while         this happens      it becomes
    (_S.WAITING, _E.PLACE, _S.STARTING),
    (_S.WAITING, _E.NO_ROOM, _S.STOPPED),
    (_S.WAITING, _E.STOP, _S.STOPPED),
    (_S.WAITING, _E.DESTROY, _S.DESTROYED),
    (_S.WAITING, _E.EXPUNGE, _S.EXPUNGING),
    (_S.STARTING, _E.SEE_RUNNING, _S.RUNNING),
    (_S.STARTING, _E.SEE_STOPPED, _S.STOPPED),
    (_S.STARTING, _E.RETRY, _S.WAITING),
    (_S.STARTING, _E.LOSE_HOST, _S.STARTING),
    (_S.STARTING, _E.FAIL, _S.ERROR),
    (_S.STARTING, _E.STOP, _S.STOPPING),
    (_S.STARTING, _E.DESTROY, _S.STOPPING),
    (_S.RUNNING, _E.LOSE_HOST, _S.STARTING),
    (_S.RUNNING, _E.SEE_STOPPED, _S.STOPPED),
    (_S.RUNNING, _E.STOP, _S.STOPPING),
    (_S.RUNNING, _E.DESTROY, _S.STOPPING),
    (_S.STOPPING, _E.SEE_STOPPED, _S.STOPPED),
    (_S.STOPPING, _E.STOP, _S.STOPPING),  # asked again, now by force
    (_S.STOPPING, _E.DESTROY, _S.STOPPING),
    (_S.STOPPED, _E.START, _S.WAITING),
    (_S.STOPPED, _E.DESTROY, _S.DESTROYED),
    (_S.STOPPED, _E.EXPUNGE, _S.EXPUNGING),
    (_S.ERROR, _E.START, _S.WAITING),
    (_S.ERROR, _E.STOP, _S.STOPPED),
    (_S.ERROR, _E.DESTROY, _S.DESTROYED),
    (_S.ERROR, _E.EXPUNGE, _S.EXPUNGING),
    (_S.WAITING, _E.LOSE_DISKS, _S.ERROR),
    (_S.STARTING, _E.LOSE_DISKS, _S.ERROR),
    (_S.RUNNING, _E.LOSE_DISKS, _S.ERROR),
    (_S.STOPPING, _E.LOSE_DISKS, _S.ERROR),
    (_S.STOPPED, _E.LOSE_DISKS, _S.ERROR),
    (_S.ERROR, _E.LOSE_DISKS, _S.ERROR),
    (_S.DESTROYED, _E.LOSE_DISKS, _S.DESTROYED),
    (_S.EXPUNGING, _E.LOSE_DISKS, _S.EXPUNGING),
    (_S.DESTROYED, _E.RECOVER, _S.STOPPED),
    (_S.DESTROYED, _E.EXPUNGE, _S.EXPUNGING),
    (_S.EXPUNGING, _E.SEE_GONE, _S.GONE),
)


LIVING = (MachineWish.RUNNING, MachineWish.STOPPED)
"""Wishes of machines that are not on their way out: their names are unique in an account and zone."""


@dataclass(frozen=True, slots=True)
class Boot:
    """How a machine boots when its image is a kernel and an initrd: the host loads them, there is no boot loader."""

    parts: tuple[ImagePart, ...] = ()
    command_line: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine as it is kept, but for what it boots and its cloud-init data, which only whoever writes manifests reads.

    A change is a new value: `after` for what the table above allows, `changed` for anything else. Both count the
    generation on, which is what `store.machines.save` compares.
    """

    id: MachineId
    account: AccountId
    farm: FarmId
    zone: ZoneId
    name: str
    state: MachineState = MachineState.WAITING
    wish: MachineWish = MachineWish.RUNNING
    host: HostId | None = None
    attention: bool = False
    offering: OfferingId
    cpus: int
    cpu_mhz: int  # of the whole machine
    memory_mib: int
    disk_mib: int
    network_kbps: int = 0
    disk_iops: int = 0
    disk_bytes_per_second: int = 0
    image: ImageId | None = None
    image_version: int | None = None
    placement: Placement = field(default_factory=Placement)
    boots: int = 1
    force: bool = False
    tries: int = 0  # hosts that could not start it, in a row
    ran: int = (
        0  # what was told when it was first seen running; 0: never, so its disks hold nothing
    )
    highly_available: bool = False  # started on another host when its own is lost
    operation: OperationId | None = None
    why: Mapping[str, Any] = field(default_factory=dict)
    destroyed_at: datetime | None = None
    generation: int = 1
    created_at: datetime
    changed_at: datetime

    @property
    def size(self) -> Size:
        """What it takes from a host."""
        return Size(self.cpus, self.cpu_mhz, self.memory_mib, self.disk_mib)

    def after(self, event: MachineEvent, at: datetime, **but: Any) -> "Machine":
        """The same machine one event later; raises `Conflict` when the event can't happen now."""
        return self.changed(at, state=MACHINE.next(self.state, event), **but)

    def changed(self, at: datetime, **but: Any) -> "Machine":
        """The same machine with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, changed_at=at, **but)
