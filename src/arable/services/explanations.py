"""Why a machine is as it is: its wish and state, what it waits for, and what was thought when it was placed or refused."""

from collections.abc import Iterator, Mapping
from typing import Any

from arable.domain.access import Permission
from arable.domain.host import HostState
from arable.domain.ids import MachineId
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.manifest import ExportState
from arable.domain.network import ApplianceState
from arable.services.call import Call
from arable.services.operations import discreet, shown, without_hosts
from arable.store import exports, hosts, machines, networks, nics, operations, volumes
from arable.wire.machines import ExplainOut

_S, _W = MachineState, MachineWish
_NOT_YET = (ApplianceState.STARTING, ApplianceState.LEAVING)


def explain(call: Call, machine: MachineId) -> ExplainOut:
    """One machine."""
    call.caller.needs(Permission.MACHINE_READ)
    found = machines.get(call.tx, call.caller.scope, machine)
    infra = Permission.INFRA_READ in call.caller.permissions
    why = dict(found.why) if infra else without_hosts(found.why)
    operation = None
    if found.operation is not None:
        operation = shown(operations.get(call.tx, call.caller.scope, found.operation))
    return ExplainOut(
        machine=found.id,
        name=found.name,
        state=found.state.value,  # type: ignore[arg-type]  # rows of gone machines are gone
        wish=found.wish.value,
        says=[
            *_state(found, infra=infra),
            *_lost(call, found, infra=infra),
            *_right(call, found, infra=infra),
            *_routers(call, found),
            *_thought(why),
        ],
        why=why,
        operation=operation if operation is None or infra else discreet(operation),
    )


def _state(machine: Machine, *, infra: bool) -> Iterator[str]:
    yield f"is {machine.state}, and should be {machine.wish}"
    at = f" {machine.host}" if infra and machine.host else " its host"
    match machine.state:
        case _S.WAITING if "waiting" not in machine.why:
            yield "waits for a host: it is placed with the next round"
        case _S.STARTING:
            yield f"waits for{at} to say that it runs"
        case _S.STOPPING:
            how = "pulls the plug" if machine.force else "asks the guest to shut down"
            yield f"waits for{at}, which {how}"
        case _S.EXPUNGING:
            yield "waits for its disks to be erased"
        case _S.DESTROYED:
            yield "can be recovered until its time is over"
        case _S.STOPPED if machine.wish is _W.STOPPED:
            yield "stays off until somebody starts it"
        case _:
            return


def _lost(call: Call, machine: Machine, *, infra: bool) -> Iterator[str]:
    """What is wrong with its host, and why it is or isn't started elsewhere."""
    if machine.host is None:
        return
    state = hosts.get(call.tx, machine.host).state
    if state is HostState.SILENT:
        yield "its host is silent: the machine is left alone, and may well run"
    if state is not HostState.DOWN:
        return
    yield "its host is lost"
    disks = volumes.of_machines(call.tx, [machine.id]).get(machine.id, [])
    local = any(not disk.shared for disk in disks)
    if not machine.highly_available:
        where = "its disks are there" if local else "it is not highly available"
        yield f"it stays with its host, because {where}"
    elif "lost" in machine.why and infra:
        yield f"it can't be started elsewhere yet: {_plain(machine.why['lost'])}"
    else:
        yield "it is about to be started on another host"


def _right(call: Call, machine: Machine, *, infra: bool) -> Iterator[str]:
    """How the right to run stands of one with shared disks, for those who may know of hosts."""
    found = exports.some(call.tx, [machine.id]).get(machine.id) if infra else None
    if found is None:
        return
    match found.state:
        case ExportState.HELD:
            yield f"{found.holder} has the right to run it (epoch {found.epoch})"
        case ExportState.ENDING:
            yield f"{found.holder} had the right to run it, and may until its time is over"
        case ExportState.FREE:
            yield "nobody has the right to run it now"
        case ExportState.FAILED:
            yield "nobody can have the right to run it now"
    if found.told:
        yield f"the host of its disks: {_plain(found.told)}"


def _routers(call: Call, machine: Machine) -> Iterator[str]:
    """What keeps the appliances of a machine's networks from running, as their hosts say."""
    if machine.state != _S.WAITING:
        return
    for nic in nics.of_machines(call.tx, [machine.id]).get(machine.id, ()):
        network = networks.get(call.tx, call.caller.scope, nic.network)
        if network.appliance_state in _NOT_YET and network.appliance_told:
            yield f"the routing appliance of {network.name}: {_plain(network.appliance_told)}"


def _thought(why: Mapping[str, Any]) -> Iterator[str]:
    """What controllers noted at the last placement, refusal or failure."""
    if "waiting" in why:
        yield _plain(why["waiting"])
    if "refused" in why:
        yield f"was refused: {_plain(why['refused'])}"
    for reason, count in _counts(why.get("reasons")):
        yield f"{count} hosts {reason}"
    if "placed by" in why:
        considered = why.get("hosts considered", 0)
        yield f"was placed by strategy {_plain(why['placed by'])} among {considered} hosts"
    for reason, count in _counts(why.get("hosts refused")):
        yield f"{count} of them {reason}"
    for host, reason in _named(why.get("hosts")):
        yield f"{host}: {reason}"
    if "failed" in why:
        yield f"could not be started: {_plain(why['failed'])}"


def _counts(found: Any) -> Iterator[tuple[str, int]]:
    if isinstance(found, Mapping):
        yield from ((str(reason), int(count)) for reason, count in sorted(found.items()))


def _named(found: Any) -> Iterator[tuple[str, str]]:
    if isinstance(found, Mapping):
        yield from ((str(host), str(reason)) for host, reason in sorted(found.items()))


def _plain(text: Any) -> str:
    return " ".join(str(text).split())[:200]
