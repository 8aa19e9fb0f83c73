"""What one may ask of machines' ports: attach and detach them, also while the machine runs, and change them.

Each ask is a wish of the machine's: kept with its operation, told to its host, done when the host has it so. What a
port that goes has held (MAC, address) is kept from others until then (rule 3). One ask at a time, and none while the
machine is on its way from one state to another: what is told to a host is always all of it, so two that cross would
be done together or not at all.
"""

from dataclasses import replace

from msgspec import UNSET

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict, LimitExceeded
from arable.domain.guest_cidr import subnet_of
from arable.domain.ids import AccountId, MachineId, NetworkId, NicId
from arable.domain.machine import Machine, MachineState, MachineWish
from arable.domain.network import Network, NetworkState, Nic
from arable.domain.operation import Operation
from arable.domain.settings import MACHINE_NICS
from arable.services import belonging
from arable.services.asks import MACHINES, NETWORKS, begin, supersede, tell, under_way
from arable.services.call import Call
from arable.services.guest_addresses import GuestAddresses
from arable.services.machines import nic_shape, own
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.references import References
from arable.store import balancers, machines, networks, nics, routing, rules, settings, zones
from arable.store.nics import NewNic
from arable.store.nudges import nudge
from arable.wire.common import Page
from arable.wire.nics import AttachIn, DetachNicQuery, NicChange, NicMadeOut, NicOut, NicQuery
from arable.wire.operations import OperationOut

_S = MachineState
_USUALLY = DetachNicQuery()
_AT_REST = (_S.RUNNING, _S.STOPPED, _S.ERROR)
BUILT_IN = 0
"""The place of the port that a machine boots with: a guest can't let go of it while it runs."""


def page(call: Call, query: NicQuery) -> Page[NicOut]:
    """Ports in sight, by age."""
    call.caller.needs(Permission.MACHINE_READ)
    where = nics.NicFilter(
        account=AccountId(query.account) if query.account else None,
        machine=MachineId(query.machine) if query.machine else None,
        network=NetworkId(query.network) if query.network else None,
    )
    found = nics.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, nic_shape)


def get(call: Call, nic: NicId) -> NicOut:
    """One."""
    call.caller.needs(Permission.MACHINE_READ)
    return nic_shape(nics.get(call.tx, call.caller.scope, nic))


def attach(call: Call, ask: AttachIn) -> NicMadeOut:
    """Another port for a machine, which may run."""
    machine = own(call, MachineId(ask.machine))
    belonging.check_free(call, machine.id)
    _check_at_rest(machine)
    there = nics.of_machine(call.tx, machine.id)
    network = _network(call, machine, ask.network)
    if any(nic.network == network.id and nic.position >= 0 for nic in there):
        raise Conflict(f"{machine.name} has a port on {network.name} already", field="network")
    most = settings.get(call.tx, MACHINE_NICS)
    taken = {nic.position for nic in there}
    free = [place for place in range(most) if place not in taken]
    if not free:
        raise LimitExceeded(
            f"{machine.name} has {most} ports, and no machine has more in this cloud",
            field="machine",
            why={"limit": most},
        )
    # A guest that runs has room for a further port in any place but that of the one it booted with.
    place = next((each for each in free if each != BUILT_IN), BUILT_IN)
    if place == BUILT_IN and machine.state is _S.RUNNING:
        raise Conflict(
            f"the only place left in {machine.name} is that of the port it boots with; stop it first",
            field="machine",
        )
    offset = _take_address(call, network, ask.address)
    made = Nic(
        id=NicId(call.around.ids.new("nic")),
        machine=machine.id,
        network=network.id,
        account=machine.account,
        position=place,
        mac=_new_mac(call),
        address=_address_at(network, offset),
        offset=offset,
        rate_kbps=machine.network_kbps,
        ipv6_cidr=network.ipv6_cidr,
    )
    nics.add_many(call.tx, [_row(made)])
    if ask.default or not any(nic.is_default for nic in there):
        nics.set_default(call.tx, machine.id, made.id)
        made = replace(made, is_default=True)
    operation = _wished(
        call, machine, "nic.attach", made, f"{made.address} on {network.name} attached"
    )
    return NicMadeOut(operation=operation.id, nic=nic_shape(made))


def detach(call: Call, nic: NicId, query: DetachNicQuery = _USUALLY) -> OperationOut:
    """The machine has it no more; done when its guest has let go of it. By force the guest is restarted without it."""
    found, machine = _held(call, nic)
    runs = (machine.state, machine.wish) == (_S.RUNNING, MachineWish.RUNNING)
    boots = machine.boots + 1 if query.force and runs else machine.boots
    if found.leaving and boots != machine.boots:
        told = f"{found.address} taken by force, with a restart"
        return shown(_wished(call, machine, "nic.detach", found, told, boots=boots))
    if found.leaving:
        if machine.operation is not None:
            return shown(under_way(call, machine.operation))
        return shown(begin(call, "nic.detach", nic, found.account, done=True))
    _check_at_rest(machine)
    others = [each for each in nics.of_machine(call.tx, machine.id) if not each.leaving]
    if found.is_default and len(others) > 1:
        raise Conflict(
            f"{machine.name} finds its way out by this port; make another one the default first"
        )
    if found.position == BUILT_IN and machine.state is _S.RUNNING:
        raise Conflict(f"{machine.name} has booted with this port; stop it first, then detach it")
    network = networks.get(call.tx, call.caller.scope, found.network, lock=True)
    where = rules.RuleFilter(nic=nic)
    if leading := rules.page(call.tx, call.caller.scope, where, limit=20):
        raise Conflict(
            f"rules of {network.name} lead to this port; delete them first",
            why={"rules": [rule.id for rule in leading]},
        )
    if balancing := balancers.leading_to(call.tx, nic):
        raise Conflict(
            f"{machine.name} is a member of balancers by this port; take it out of them first",
            why={"balancers": balancing},
        )
    nics.leave(call.tx, nic)
    told = f"{found.address} on {network.name} detached"
    return shown(_wished(call, machine, "nic.detach", found, told, boots=boots))


def update(call: Call, nic: NicId, change: NicChange) -> OperationOut:
    """Another address, or the way out by this one. Done when hosts know; a guest hears of it when it asks DHCP."""
    found, machine = _held(call, nic)
    if found.leaving:
        raise Conflict("this port was detached")
    _check_at_rest(machine)
    if change.default is False:
        raise BadInput("make another port the default one instead", field="default")
    said = []
    if change.address is not UNSET and change.address != found.address:
        network = networks.get(call.tx, call.caller.scope, found.network, lock=True)
        offset = _take_address(call, network, change.address)
        address = _address_at(network, offset)
        nics.set_address(call.tx, nic, address, offset)
        # What leads to it (forwards, balancers) leads to the new one from now on.
        networks.save(call.tx, network.changed(attention=True))
        nudge(call.tx, NETWORKS)
        if (
            machine.host is not None
        ):  # the old one is nobody else's until the host has learned of it
            nics.add_many(call.tx, [_keeper(call, found)])
        routing.note_changed(call.tx, network.id)  # rules and balancers may lead there
        nudge(call.tx, NETWORKS)
        said.append(f"{found.address} is now {address}")
    if change.default is True and not found.is_default:
        nics.set_default(call.tx, machine.id, nic)
        said.append(f"its way out is by {found.address}")
    if not said:
        return shown(begin(call, "nic.update", nic, found.account, done=True))
    return shown(_wished(call, machine, "nic.update", found, ", ".join(said)))


def _held(call: Call, id_: NicId) -> tuple[Nic, Machine]:
    """A port with its machine, held until the end of the transaction."""
    call.caller.needs(Permission.MACHINE_WRITE)
    before = nics.get(call.tx, call.caller.scope, id_)
    machine = machines.get(call.tx, call.caller.scope, before.machine, lock=True)
    belonging.check_free(call, machine.id)
    return nics.get(call.tx, call.caller.scope, id_), machine


def _check_at_rest(machine: Machine) -> None:
    if machine.state not in _AT_REST or machine.operation is not None:
        doing = f"is {machine.state}"
        if machine.operation is not None:
            doing = f"is busy with {machine.operation}"
        raise Conflict(
            f"{machine.name} {doing}; its ports are changed one at a time, while it runs or is stopped",
            why={"operation": machine.operation},
        )


def _network(call: Call, machine: Machine, ref: str) -> Network:
    zone = zones.get(call.tx, machine.zone)
    named = References(call.tx).network(machine.account, zone, ref)
    network = networks.get(call.tx, call.caller.scope, named.id, lock=True)
    if network.state is not NetworkState.READY:
        raise Conflict(f"{network.name} was deleted", field="network")
    if network.farm != machine.farm:
        raise Conflict(f"{network.name} is of another farm than {machine.name}", field="network")
    return network


def _take_address(call: Call, network: Network, asked: str | None) -> int:
    """Where in the (held) network it stands."""
    pool = GuestAddresses(call.tx, network, 1)
    if asked is not None:
        (offset,) = pool.take_one(pool.subnet.offset(asked, "address"), "address")
        return offset
    (offset,) = pool.take(1)
    networks.move_cursors(call.tx, {network.id: pool.cursor})
    return offset


def _address_at(network: Network, offset: int) -> str:
    return subnet_of(network.cidr).address(offset)


def _keeper(call: Call, of: Nic) -> NewNic:
    """What keeps a port's earlier address."""
    below = [each.position for each in nics.of_machine(call.tx, of.machine)]
    kept = replace(
        of,
        id=NicId(call.around.ids.new("nic")),
        position=min(-1, min(below) - 1),
        mac=_new_mac(call),
        is_default=False,
        leaving=True,
    )
    return _row(kept)


def _row(nic: Nic) -> NewNic:
    return NewNic(*(getattr(nic, name) for name in NewNic._fields))


def _new_mac(call: Call) -> str:
    return f"0a:{call.around.entropy.octets(5).hex(':')}"  # locally administered


def _wished(
    call: Call, machine: Machine, kind: str, nic: Nic, told: str, *, boots: int | None = None
) -> Operation:
    """The machine's operation, which ends when its host has all of it, as any other of a machine."""
    operation = begin(call, kind, machine.id, machine.account, done=False, result={"nic": nic.id})
    supersede(call, machine, operation)
    changed = machine.changed(
        call.around.clock.now(),
        attention=True,
        operation=operation.id,
        boots=machine.boots if boots is None else boots,
    )
    machines.save(call.tx, changed)
    nudge(call.tx, MACHINES)
    tell(
        call,
        machine.account,
        f"{kind}ed".replace("eed", "ed"),
        machine.id,
        f"{machine.name}: {told}",
    )
    return operation
