"""What a machine is asked to be, what it is, and what it may become.

A machine's *wish* is what its owner wants in the end; its *state* is how far the cloud has come. Nothing but
an event of the table below changes the state.
"""

from enum import StrEnum

from arable.domain.lifecycle import table


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
    (_S.STARTING, _E.FAIL, _S.ERROR),
    (_S.STARTING, _E.STOP, _S.STOPPING),
    (_S.STARTING, _E.DESTROY, _S.STOPPING),
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
    (_S.DESTROYED, _E.RECOVER, _S.STOPPED),
    (_S.DESTROYED, _E.EXPUNGE, _S.EXPUNGING),
    (_S.EXPUNGING, _E.SEE_GONE, _S.GONE),
)
