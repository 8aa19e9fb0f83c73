"""What one may ask a machine to do: start, stop, reboot, be destroyed, be recovered, be erased.

Each ask stores a wish and gives the operation that is done when the wish has come true. Asking for what is so already
is done at once; asking for what is under way gives the operation that is under way; asking for something else takes the
place of what was asked before, whose operation ends by saying so.
"""

from typing import Any

from arable.domain.errors import Conflict
from arable.domain.ids import MachineId
from arable.domain.machine import (
    LIVING,
    MACHINE,
    Machine,
    MachineEvent,
    MachineState,
    MachineWish,
)
from arable.domain.seed import renamed
from arable.domain.volume import Change
from arable.services import belonging, leaving_members, password_resets
from arable.services.asks import MACHINES, begin, supersede, tell, under_way
from arable.services.call import Call
from arable.services.machines import check_name_free, own
from arable.services.operations import shown
from arable.store import drains, machines, volumes
from arable.store.nudges import nudge
from arable.wire.machines import DestroyIn, RecoverIn, StopIn
from arable.wire.operations import OperationOut

_S, _W, _E = MachineState, MachineWish, MachineEvent


def start(call: Call, machine: MachineId) -> OperationOut:
    """Done when it runs."""
    found = own(call, machine)
    kind = "machine.start"
    if found.wish is _W.RUNNING and found.state is _S.RUNNING:
        why = f"{found.name} is to go on running"
        leaving_members.superseded(call, found, why, resumes=True)
        return _so_already(call, found, kind)
    if found.wish is _W.RUNNING and found.state in (_S.WAITING, _S.STARTING):
        return _under_way(call, found, kind)
    _check_living(found)
    _check_disks(call, found)
    return _asked(
        call,
        found,
        kind,
        _after(found, _E.START),
        wish=_W.RUNNING,
        attention=True,
        force=False,
        tries=0,
        why={},
    )


def stop(call: Call, machine: MachineId, ask: StopIn) -> OperationOut:
    """Done when its host has said that it is off. By force: the plug is pulled, and what was not written is lost.

    A member of balancers is drained first, unless it is stopped by force or in no time (`drain_seconds` 0).
    """
    found = own(call, machine)
    belonging.check_free(call, machine)
    kind = "machine.stop"
    _check_living(found)
    if not (ask.force and found.state is _S.STOPPING):  # which only hurries what was asked for
        drains.forget(call.tx, [machine])
    if found.state is _S.STOPPED:
        return _so_already(call, found, kind)
    if found.state is _S.STOPPING:
        return _under_way(call, found, kind, force=ask.force)
    if not ask.force and ask.drain_seconds != 0:
        waited = leaving_members.stop_under_way(call, machine)
        if waited is not None:
            return shown(under_way(call, waited))
        if (begun := leaving_members.stopping(call, found, ask.drain_seconds)) is not None:
            return shown(begun)
    return _asked(
        call,
        found,
        kind,
        _after(found, _E.STOP),
        wish=_W.STOPPED,
        attention=found.host is not None,
        force=ask.force,
    )


def reboot(call: Call, machine: MachineId) -> OperationOut:
    """Done when it has booted once more; its host starts it anew if the guest does not answer."""
    found = own(call, machine)
    if found.state is not _S.RUNNING or found.wish is not _W.RUNNING:
        raise Conflict(f"{found.name} is {found.state}; only a running machine can be rebooted")
    return _asked(
        call,
        found,
        "machine.reboot",
        _S.RUNNING,
        wish=_W.RUNNING,
        attention=True,
        boots=found.boots + 1,
    )


def destroy(call: Call, machine: MachineId, ask: DestroyIn) -> OperationOut:
    """Done when it is off. Its name is free at once; it can be recovered for a while, unless it is erased right away."""
    found = own(call, machine)
    belonging.check_free(call, machine)
    kind = "machine.destroy"
    if found.state is _S.DESTROYED:
        return expunge(call, machine) if ask.expunge else _so_already(call, found, kind)
    if found.wish is _W.GONE or (found.wish is _W.DESTROYED and not ask.expunge):
        return _under_way(call, found, kind, force=ask.force)
    state = _after(found, _E.DESTROY)
    password_resets.forget(call, machine, f"superseded: {found.name} is to be destroyed")
    if ask.expunge and state is _S.DESTROYED:
        state = MACHINE.next(state, _E.EXPUNGE)
    return _asked(
        call,
        found,
        kind,
        state,
        wish=_W.GONE if ask.expunge else _W.DESTROYED,
        attention=True,
        force=found.force or ask.force,
        destroyed_at=found.destroyed_at or call.around.clock.now(),
    )


def recover(call: Call, machine: MachineId, ask: RecoverIn) -> OperationOut:
    """Done at once: it is stopped, with all that was on its disks. It needs a name that is free."""
    found = own(call, machine)
    kind = "machine.recover"
    if found.wish in LIVING:
        return _so_already(call, found, kind)
    if found.wish is _W.GONE:
        raise Conflict(f"{found.name} is being erased; nothing of it can be recovered")
    state = _after(found, _E.RECOVER)
    name = ask.name or found.name
    try:
        check_name_free(call, found, name)
    except Conflict as error:
        raise Conflict(f"{error.public}; recover it under another name", field="name") from error
    if name != found.name:
        machines.save_seed(call.tx, found.id, renamed(machines.seed(call.tx, found.id), name))
    return _asked(
        call, found, kind, state, wish=_W.STOPPED, attention=False, destroyed_at=None, name=name
    )


def expunge(call: Call, machine: MachineId) -> OperationOut:
    """Done when its disks are erased and nothing is left of it. Only for machines that are off."""
    found = own(call, machine)
    belonging.check_free(call, machine)
    kind = "machine.expunge"
    if found.wish is _W.GONE:
        return _under_way(call, found, kind)
    return _asked(
        call,
        found,
        kind,
        _after(found, _E.EXPUNGE),
        wish=_W.GONE,
        attention=True,
        destroyed_at=found.destroyed_at or call.around.clock.now(),
    )


def _after(machine: Machine, event: MachineEvent) -> MachineState:
    """The state after an event; raises `Conflict` in words about this machine."""
    if not MACHINE.allows(machine.state, event):
        raise Conflict(f"can't {event} {machine.name} while it is {machine.state}")
    return MACHINE.next(machine.state, event)


_AT_REST = {_W.RUNNING: _S.RUNNING, _W.STOPPED: _S.STOPPED, _W.DESTROYED: _S.DESTROYED}
_TOLD = {
    "machine.start": ("machine.starting", "asked to start"),
    "machine.stop": ("machine.stopping", "asked to stop"),
    "machine.reboot": ("machine.rebooting", "asked to reboot"),
    "machine.destroy": ("machine.destroying", "asked to be destroyed"),
    "machine.expunge": ("machine.expunging", "asked to be erased"),
}
_TOLD_DONE = {
    "machine.stop": ("machine.stopped", "stopped"),
    "machine.destroy": ("machine.destroyed", "destroyed"),
    "machine.recover": ("machine.recovered", "recovered"),
}


def _asked(
    call: Call, machine: Machine, kind: str, state: MachineState, *, wish: MachineWish, **but: Any
) -> OperationOut:
    """Keep the wish with its operation. It is done at once where the table alone made it come true."""
    done = kind != "machine.reboot" and _AT_REST.get(wish) is state
    operation = begin(call, kind, machine.id, machine.account, done=done)
    supersede(call, machine, operation)
    resumes = kind in ("machine.start", "machine.reboot")
    why = f"{kind} was asked for {machine.name} before this was done"
    leaving_members.superseded(call, machine, why, resumes=resumes)
    changed = machine.changed(
        call.around.clock.now(),
        state=state,
        wish=wish,
        operation=None if done else operation.id,
        **but,
    )
    machines.save(call.tx, changed)
    if changed.attention:
        nudge(call.tx, MACHINES)
    event, text = (_TOLD_DONE if done else _TOLD)[kind]
    tell(call, machine.account, event, machine.id, f"{changed.name}: {text}")
    return shown(operation)


def _check_disks(call: Call, machine: Machine) -> None:
    """Raises `Conflict` while one is being set back to a snapshot, or carried to another pool: nothing may write to it."""
    for disk in volumes.of_machines(call.tx, [machine.id]).get(machine.id, ()):
        if disk.change is Change.RESTORE:
            raise Conflict(
                f"{disk.name} is being set back to a snapshot; start it when that is over"
            )
        if disk.change is Change.MIGRATE:
            raise Conflict(
                f"{disk.name or disk.id} is being carried to another storage pool; start it when that is over"
            )


def _so_already(call: Call, machine: Machine, kind: str) -> OperationOut:
    """Nothing is changed; the operation says that it is done."""
    return shown(begin(call, kind, machine.id, machine.account, done=True))


def _under_way(call: Call, machine: Machine, kind: str, *, force: bool = False) -> OperationOut:
    """The operation that waits for the same; one of its own when nobody waits, since a controller began it.

    With `force` what is under way is hurried: the wish stays, its host is told to pull the plug.
    """
    but: dict[str, Any] = {}
    if force and not machine.force and machine.state is _S.STOPPING:
        but |= {"force": True, "attention": True}
        nudge(call.tx, MACHINES)
    if machine.operation is None:
        operation = begin(call, kind, machine.id, machine.account, done=False)
        but["operation"] = operation.id
    else:
        operation = under_way(call, machine.operation)
    if but:
        machines.save(call.tx, machine.changed(call.around.clock.now(), **but))
    return shown(operation)


def _check_living(machine: Machine) -> None:
    if machine.wish not in LIVING:
        raise Conflict(f"{machine.name} is on its way out ({machine.state})")
