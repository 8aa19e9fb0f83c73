"""Why a machine is as it is: its wish and state, what it waits for, and what was thought when it was placed or refused."""

from collections.abc import Iterator, Mapping
from typing import Any

from arable.domain.access import Permission
from arable.domain.host import HostState
from arable.domain.ids import HostId, MachineId
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.manifest import ExportState
from arable.domain.move import MoveStage
from arable.domain.network import ApplianceState
from arable.domain.rates import RateSource
from arable.domain.snapshot import SnapshotState
from arable.domain.volume import Change
from arable.services.call import Call
from arable.services.operations import discreet, shown, without_hosts
from arable.store import (
    exports,
    hosts,
    machines,
    moves,
    networks,
    nics,
    operations,
    snapshots,
    volumes,
)
from arable.store.moves import MoveRow
from arable.store.rates import Rates
from arable.wire.machines import ExplainOut

_S, _W = MachineState, MachineWish


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
            *_state(found, _host(call, found.host) if infra else ""),
            *_lost(call, found, infra=infra),
            *_right(call, found, infra=infra),
            *_moves(call, found, infra=infra),
            *_disks(call, found),
            *_routers(call, found),
            *_rate(call, found),
            *_thought(why),
        ],
        why=why,
        operation=operation if operation is None or infra else discreet(operation),
    )


def _host(call: Call, host: HostId | None) -> str:
    """How operators call it; its id if it is gone, nothing if there is none."""
    found = hosts.some(call.tx, [host]).get(host) if host else None
    return found.name if found else str(host or "")


def _state(machine: Machine, host: str) -> Iterator[str]:
    """`host` is empty for those who may not know of hosts."""
    where = f" on {host}" if host else ""
    yield f"is {machine.state}{where}, and should be {machine.wish}"
    at = f" {host}" if host else " its host"
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
        case _S.RUNNING if "stalled" in machine.why:
            yield f"stands still: {_plain(machine.why['stalled'])}; it goes on by itself when that is over"
        case _S.STOPPED if machine.wish is _W.STOPPED:
            yield "stays off until somebody starts it"
        case _:
            return


def _disks(call: Call, machine: Machine) -> Iterator[str]:
    """What is under way with its disks, and why it is not over yet."""
    for volume in volumes.of_machines(call.tx, [machine.id]).get(machine.id, []):
        if volume.change is not Change.NONE:
            why = f": {volume.told}" if volume.told else ""
            yield f"its disk {volume.name or volume.id} is {volume.state}{why}"
    for snapshot in snapshots.of_machine(call.tx, machine.id):
        if snapshot.state is not SnapshotState.AVAILABLE:
            why = f": {snapshot.told}" if snapshot.told else ""
            yield f"the snapshot {snapshot.name} of a disk of it is {snapshot.state}{why}"


def _lost(call: Call, machine: Machine, *, infra: bool) -> Iterator[str]:
    """What is wrong with its host, and why it is or isn't started elsewhere."""
    if machine.host is None:
        return
    state = hosts.get(call.tx, machine.host).state
    if state is HostState.SILENT and not _run_out(call, machine):
        yield "its host is silent: the machine is left alone, and may well run"
        return
    if state not in (HostState.SILENT, HostState.DOWN):
        return
    if state is HostState.DOWN:
        yield "its host is lost"
    else:
        yield "its host is silent, and did not renew the right to run it: it is off"
    disks = volumes.of_machines(call.tx, [machine.id]).get(machine.id, [])
    local = any(not disk.shared for disk in disks)
    if not machine.highly_available:
        where = "its disks are there" if local else "it is not highly available"
        yield f"it stays with its host, because {where}"
    elif "lost" in machine.why and infra:
        yield f"it can't be started elsewhere yet: {_plain(machine.why['lost'])}"
    else:
        yield "it is about to be started on another host"


def _run_out(call: Call, machine: Machine) -> bool:
    found = exports.some(call.tx, [machine.id]).get(machine.id)
    return found is not None and found.lapsed and found.holder == machine.host


def _right(call: Call, machine: Machine, *, infra: bool) -> Iterator[str]:
    """How the right to run stands of one with shared disks, for those who may know of hosts."""
    found = exports.some(call.tx, [machine.id]).get(machine.id) if infra else None
    if found is None:
        return
    match found.state:
        case ExportState.HELD if found.lapsed:
            yield f"{found.holder} had the right to run it (epoch {found.epoch}), and did not renew it"
        case ExportState.HELD:
            yield f"{_host(call, found.holder)} has the right to run it (epoch {found.epoch})"
        case ExportState.ENDING:
            yield f"{_host(call, found.holder)} had the right to run it, and may until its time is over"
        case ExportState.FREE:
            yield "nobody has the right to run it now"
        case ExportState.FAILED:
            yield "nobody can have the right to run it now"
    if found.told:
        yield f"the host of its disks: {_plain(found.told)}"


def _moves(call: Call, machine: Machine, *, infra: bool) -> Iterator[str]:
    """Where it is on its way to, while it runs."""
    move = moves.of(call.tx, [machine.id]).get(machine.id)
    if move is None:
        return
    if move.shifts:
        yield from _shifts(call, move, infra=infra)
    elif move.stage != MoveStage.OVER and not infra:
        yield "is about to go to another host, and runs meanwhile"
    elif move.stage == MoveStage.WAITING:
        yield f"waits for its turn to leave its host ({move.why})"
    elif move.stage != MoveStage.OVER:
        ends = [host for host in (move.source, move.target) if host]
        known = moves.places(call.tx, ends)
        way = " to ".join(known[host].name for host in ends)
        yield f"moves from {way} while it runs ({move.why}): {move.stage}{moves.memory(move)}"
    elif move.told and infra:
        yield f"was not moved when that was wanted last: {_plain(move.told)}"


def _shifts(call: Call, move: MoveRow, *, infra: bool) -> Iterator[str]:
    """Where its disks are on their way to, while it runs."""
    if move.stage == MoveStage.OVER:
        if move.told and infra:
            yield f"its disks did not go to another pool when that was wanted last: {_plain(move.told)}"
    elif not infra:
        yield "its disks are about to be kept elsewhere, and it runs meanwhile"
    else:
        names = [moves.places(call.tx, [host])[host].name for host in (move.wanted,) if host]
        way = f"the disks go to {names[0]}'s pool" if names else "the disks go to another pool"
        far = moves.memory(move)
        yield f"{way} while it runs: {move.stage}{far}"


def _routers(call: Call, machine: Machine) -> Iterator[str]:
    """What keeps the appliances of a machine's networks from running, for one that waits or misses them."""
    if machine.state not in (_S.WAITING, _S.STARTING, _S.RUNNING):
        return
    for nic in nics.of_machines(call.tx, [machine.id]).get(machine.id, ()):
        network = networks.get(call.tx, call.caller.scope, nic.network)
        if network.appliance_state is not ApplianceState.RUNNING and network.appliance_told:
            yield f"the routing appliance of {network.name}: {_plain(network.appliance_told)}"


def _rate(call: Call, machine: Machine) -> Iterator[str]:
    """What holds its ports back, and who says so."""
    rate = Rates.of(call.tx, [machine.account]).rate(machine.account, machine.network_kbps)
    if rate.source is not None:
        yield f"its ports have {rate.kbps} kbit/s in each direction: {_LIMITS[rate.source]}"


_LIMITS = {
    RateSource.OFFERING: "so its offering says",
    RateSource.ACCOUNT: "so its account's limits say",
    RateSource.CLOUD: "no machine of this cloud has more",
}


def _thought(why: Mapping[str, Any]) -> Iterator[str]:
    """What controllers noted at the last placement, refusal or failure."""
    if "waiting" in why:
        yield _plain(why["waiting"])
    if "wakes" in why:
        yield f"{_plain(why['wakes'])} is being woken for it"
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
