"""Machines as their owners see them, and what can be changed of one without anything being started or stopped."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from arable.domain import fitting
from arable.domain.access import Permission
from arable.domain.errors import Conflict, NotFound
from arable.domain.group import Group, Strategy
from arable.domain.guest_ipv6 import address_of
from arable.domain.ids import AccountId, FarmId, GroupId, HostId, MachineId, NetworkId, ZoneId
from arable.domain.machine import LIVING, Machine, MachineState, MachineWish
from arable.domain.network import Nic
from arable.domain.offering import Offering
from arable.domain.rates import Rate
from arable.domain.seed import check_size, renamed, resized, taught, unpacked
from arable.domain.usage import UsageKind
from arable.services import belonging
from arable.services.asks import MACHINES, check_expected, tell
from arable.services.call import Call
from arable.services.pages import paged
from arable.services.references import References
from arable.store import (
    groups,
    images,
    machines,
    nics,
    offerings,
    quotas,
    usage_records,
    volumes,
)
from arable.store.nudges import nudge
from arable.store.rates import Rates
from arable.wire.common import Page
from arable.wire.machines import (
    MachineChange,
    MachineOut,
    MachineQuery,
    ResizeIn,
)
from arable.wire.nics import NicOut


def page(call: Call, query: MachineQuery) -> Page[MachineOut]:
    """Machines in sight, by age."""
    call.caller.needs(Permission.MACHINE_READ)
    if query.host:
        call.caller.needs(Permission.INFRA_READ)
    where = machines.MachineFilter(
        account=AccountId(query.account) if query.account else None,
        zone=ZoneId(query.zone) if query.zone else None,
        states=[MachineState(state) for state in query.state],
        name=query.name or "",
        prefix=query.prefix or "",
        network=NetworkId(query.network) if query.network else None,
        farm=FarmId(query.farm) if query.farm else None,
        group=GroupId(query.group) if query.group else None,
        host=HostId(query.host) if query.host else None,
    )
    found = machines.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    return paged(found, query, _shaper(call, found))


def get(call: Call, machine: MachineId) -> MachineOut:
    """One."""
    call.caller.needs(Permission.MACHINE_READ)
    return shape(call, machines.get(call.tx, call.caller.scope, machine))


def update(call: Call, machine: MachineId, change: MachineChange) -> MachineOut:
    """Rename it, or wish for another place: tags and strategy count when it is placed next."""
    found = own(call, machine)
    belonging.check_free(call, machine)
    if found.wish not in LIVING:
        raise Conflict(f"{found.name} is on its way out; recover it first")
    but: dict[str, Any] = {}
    if change.name is not UNSET and change.name != found.name:
        check_name_free(call, found, change.name)
        but["name"] = change.name
        but["attention"] = found.attention or found.host is not None
        machines.save_seed(
            call.tx, found.id, renamed(machines.seed(call.tx, found.id), change.name)
        )
    if change.user_data is not UNSET:
        _teach(call, found, change.user_data)
        but["attention"] = found.attention or found.host is not None
    placement = found.placement
    if change.tags is not UNSET:
        placement = replace(placement, tags=tuple(sorted(set(change.tags))))
    if change.strategy is not UNSET:
        placement = replace(placement, strategy=Strategy(change.strategy))
    if placement != found.placement:
        but["placement"] = placement
    if but:
        changed = found.changed(call.around.clock.now(), **but)
        machines.save(call.tx, changed)
        if changed.attention:
            nudge(call.tx, MACHINES)
        if change.user_data is not UNSET:
            tell(call, found.account, "machine.taught", machine, f"{found.name}: has new user-data")
        if "name" in but:
            tell(
                call,
                found.account,
                "machine.renamed",
                machine,
                f"{found.name}: now {changed.name}",
            )
        found = changed
    return shape(call, found)


def _teach(call: Call, machine: Machine, user_data: str) -> None:
    """Other user-data, in force from the next start on; the guest is the same instance to cloud-init as before."""
    if machine.state is not MachineState.STOPPED or machine.wish is not MachineWish.STOPPED:
        raise Conflict(
            f"{machine.name} is {machine.state}; stop it first, then change its user-data",
            field="user_data",
        )
    check_size(user_data)
    text = unpacked(user_data)
    told = taught(machines.seed(call.tx, machine.id), machine.id, text)
    machines.save_seed(call.tx, machine.id, told)


def resize(call: Call, machine: MachineId, ask: ResizeIn) -> MachineOut:
    """Another size for a stopped machine, from its next start on. Its disks stay as large as they are."""
    found = own(call, machine)
    belonging.check_free(call, machine)
    if found.state is not MachineState.STOPPED or found.wish is not MachineWish.STOPPED:
        raise Conflict(f"{found.name} is {found.state}; stop it first, then resize it")
    offering = References(call.tx).offering(ask.offering)
    if offering.id == found.offering:
        return shape(call, found)
    _check_image(call, found, offering)
    _take_difference(
        call,
        found.account,
        cpus=offering.cpus - found.cpus,
        memory_mib=offering.memory_mib - found.memory_mib,
    )
    before = offerings.get(call.tx, found.offering)
    if offering.storage is not before.storage:
        raise Conflict(
            f"the disks of {found.name} are {before.storage}, those of {offering.name} {offering.storage};"
            " disks stay where they are",
            field="offering",
        )
    required = {*found.placement.required} - {*before.tags} | {*offering.tags}
    changed = found.changed(
        call.around.clock.now(),
        offering=offering.id,
        cpus=offering.cpus,
        cpu_mhz=offering.cpus * offering.cpu_mhz,
        memory_mib=offering.memory_mib,
        network_kbps=offering.network_kbps,
        disk_iops=offering.disk_iops,
        disk_bytes_per_second=offering.disk_bytes_per_second,
        highly_available=offering.highly_available,
        placement=replace(found.placement, required=tuple(sorted(required))),
    )
    machines.save(call.tx, changed)
    usage_records.renew(call.tx, UsageKind.MACHINE, [machine], changed.changed_at)
    told = machines.seed(call.tx, machine)
    machines.save_seed(call.tx, machine, resized(told, offering.name))
    nics.set_rate(call.tx, machine, offering.network_kbps)
    volumes.set_root_limits(
        call.tx,
        machine,
        offering.disk_iops,
        offering.disk_bytes_per_second,
        replicated=offering.replicated,
    )
    tell(call, found.account, "machine.resized", machine, f"{found.name}: now {offering.name}")
    return shape(call, changed)


def own(call: Call, id_: MachineId) -> Machine:
    """A machine that the caller may change, held until the end of the transaction."""
    call.caller.needs(Permission.MACHINE_WRITE)
    found = machines.get(call.tx, call.caller.scope, id_, lock=True)
    check_expected(call, found.generation, "machine")
    return found


def check_name_free(call: Call, machine: Machine, name: str) -> None:
    """Raises `Conflict` when another living machine of the account and zone has the name."""
    if machines.names_taken(call.tx, machine.account, machine.zone, [name]):
        raise Conflict(f"there is a machine named {name} already", field="name")


def shape(call: Call, machine: Machine) -> MachineOut:
    """One, as it looks outside."""
    return _shaper(call, [machine])(machine)


def nic_shape(nic: Nic) -> NicOut:
    """A port, as it looks outside."""
    return NicOut(
        id=nic.id,
        machine=nic.machine,
        network=nic.network,
        account=nic.account,
        mac=nic.mac,
        address=nic.address,
        ipv6_address=address_of(nic.ipv6_cidr, nic.mac) if nic.ipv6_cidr else None,
        default=nic.is_default,
        position=nic.position,
        leaving=nic.leaving,
    )


def _check_image(call: Call, machine: Machine, offering: Offering) -> None:
    """What held when it was deployed holds for its new size, too. An image that is gone says nothing any more."""
    if machine.image is None:
        return
    try:
        image = images.get(call.tx, call.caller.scope, machine.image)
    except NotFound:
        return
    fitting.check_memory(image, offering)


def _take_difference(call: Call, account: AccountId, **amounts: int) -> None:
    if more := {name: amount for name, amount in amounts.items() if amount > 0}:
        quotas.take(call.tx, account, **more)
    quotas.give(call.tx, account, **{name: -less for name, less in amounts.items() if less < 0})


def _shaper(call: Call, found: Sequence[Machine]) -> Callable[[Machine], MachineOut]:
    """How to show these: their ports and groups are read for all at once."""
    ids = [machine.id for machine in found]
    ports = nics.of_machines(call.tx, ids)
    members = groups.of_machines(call.tx, ids)
    rates = Rates.of(call.tx, {machine.account for machine in found})
    infra = Permission.INFRA_READ in call.caller.permissions
    return lambda machine: _shape(
        machine,
        ports.get(machine.id, ()),
        members.get(machine.id, ()),
        rates.rate(machine.account, machine.network_kbps),
        infra=infra,
    )


def _shape(
    machine: Machine, ports: Collection[Nic], members: Collection[Group], rate: Rate, *, infra: bool
) -> MachineOut:
    return MachineOut(
        id=machine.id,
        name=machine.name,
        account=machine.account,
        zone=machine.zone,
        farm=machine.farm,
        state=machine.state.value,  # type: ignore[arg-type]  # rows of gone machines are gone
        wish=machine.wish.value,
        offering=machine.offering,
        cpus=machine.cpus,
        cpu_mhz=machine.cpu_mhz,
        memory_mib=machine.memory_mib,
        disk_mib=machine.disk_mib,
        network_kbps=rate.kbps,
        network_kbps_by=rate.source and rate.source.value,  # type: ignore[arg-type]  # its values are those
        disk_iops=machine.disk_iops,
        disk_bytes_per_second=machine.disk_bytes_per_second,
        highly_available=machine.highly_available,
        image=machine.image,
        image_version=machine.image_version,
        tags=list(machine.placement.tags),
        strategy=machine.placement.strategy.value,
        nics=[nic_shape(nic) for nic in ports],
        groups=[group.id for group in members],
        operation=machine.operation,
        host=machine.host if infra else None,
        destroyed_at=machine.destroyed_at,
        generation=machine.generation,
        created_at=machine.created_at,
        changed_at=machine.changed_at,
    )
