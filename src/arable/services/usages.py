"""What machines use."""

from arable.domain.access import Permission
from arable.domain.errors import NotFound
from arable.domain.ids import MachineId
from arable.services.call import Call
from arable.store import machines, usage
from arable.wire.machines import UsageOut


def show(call: Call, machine: MachineId) -> UsageOut:
    """One machine's counters. Raises `NotFound` while nothing was counted yet."""
    call.caller.needs(Permission.MACHINE_READ)
    found = usage.of(call.tx, machines.get(call.tx, call.caller.scope, machine).id)
    if found is None:
        raise NotFound("nothing was counted yet: the machine has not run, or not for long enough")
    said = found.counters
    return UsageOut(
        machine=said.machine,
        at=found.at,
        cpu_seconds=said.cpu_ns / 1e9,
        memory_mib=said.memory_mib,
        received_bytes=said.received_bytes,
        sent_bytes=said.sent_bytes,
        read_bytes=said.read_bytes,
        written_bytes=said.written_bytes,
        read_ops=said.read_ops,
        written_ops=said.written_ops,
    )
