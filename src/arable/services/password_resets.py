"""A new password for a user within a machine, through the guest agent: nothing is rebooted, nobody has to log in.

The store has a hash of it, sealed, and only until the machine's host has said that it is set or can't be.
"""

from arable.domain.errors import Conflict
from arable.domain.failure import failure
from arable.domain.ids import MachineId
from arable.domain.machine import MachineState, MachineWish
from arable.runtime.sealed import seal
from arable.runtime.secret import Secret
from arable.services.asks import MACHINES, begin, tell
from arable.services.call import Call
from arable.services.machines import own
from arable.services.passwords import Password
from arable.store import machines, operations, passwords
from arable.store.nudges import nudge
from arable.wire.machines import PasswordResetIn, PasswordResetOut

_KIND = "machine.reset-password"


def reset(
    call: Call, machine: MachineId, ask: PasswordResetIn, password: Password
) -> PasswordResetOut:
    """Done when it is set. One that is off is given it once it runs."""
    found = own(call, machine)
    runs = found.state is MachineState.RUNNING and found.wish is MachineWish.RUNNING
    rests = found.state is MachineState.STOPPED and found.wish is MachineWish.STOPPED
    if not runs and not rests:
        raise Conflict(
            f"{found.name} is {found.state}; a password is reset while it runs or is stopped"
        )
    operation = begin(call, _KIND, machine, found.account, done=not runs)
    forget(call, machine, f"superseded: another password was asked for {found.name}")
    changed = found.changed(
        call.around.clock.now(), attention=found.attention or found.host is not None
    )
    sealed = seal(call.around.authority, call.around.entropy, Secret(password.hash), machine)
    wish = passwords.Kept(number=changed.generation, user=ask.user, sealed=sealed)
    passwords.ask(call.tx, machine, wish, operation.id if runs else None)
    machines.save(call.tx, changed)
    if changed.attention:
        nudge(call.tx, MACHINES)
    tell(
        call,
        found.account,
        "machine.password-asked",
        machine,
        f"{found.name}: a new password was asked for {ask.user}",
    )
    told = None if ask.password else password.text.reveal()
    return PasswordResetOut(operation=operation.id, password=told)


def forget(call: Call, machine: MachineId, why: str) -> None:
    """One that was asked for before is not wanted any more: whoever waits for it is told."""
    kept = passwords.waiting(call.tx, [machine]).get(machine)
    if kept is None:
        return
    passwords.wipe(call.tx, [machine])
    if kept.operation is not None:
        failed = failure(Conflict(why))
        operations.settle_many(call.tx, {kept.operation: (1, failed)}, call.around.clock.now())
