"""Where a simulated host, and what its server believes of it, differ from what was wished for: nowhere, once settled."""

from collections.abc import Iterator

from agent import make_agent as make
from agent.make_agent import Rig
from arable.domain.manifest import GuestState, GuestWish, ItemKind, Power
from arable.drivers.hypervisor.protocol import GuestPower
from arable.drivers.network.protocol import PortKind


def differences(rig: Rig, halted: frozenset[str] = frozenset()) -> list[str]:
    """Guests in `halted` may have shut themselves down."""
    return [*_guests(rig, halted), *_ports(rig), *_appliances(rig), *_disks(rig), *_beliefs(rig)]


def wishes(rig: Rig, kind: ItemKind) -> dict:
    return {key: wish for (of, key), wish in rig.wished.items() if of == kind}


def _running(rig: Rig) -> set[str]:
    return {m for m, found in rig.hardware.found.items() if found.power is GuestPower.RUNNING}


def _guests(rig: Rig, halted: frozenset[str]) -> Iterator[str]:
    wished: dict[str, GuestWish] = wishes(rig, ItemKind.GUEST)
    running = _running(rig)
    for machine, wish in wished.items():
        found = rig.hardware.found.get(machine)
        if wish.power is Power.OFF and machine in running:
            yield f"{machine} runs and should not"
        if wish.power is Power.ON and machine not in running and machine not in halted:
            yield f"{machine} should run: {rig.server.guests.get(machine)}"
        if wish.power is Power.ON and machine in running:
            if (found.generation, found.boots) != (wish.generation, wish.boots):
                yield f"{machine} is {found}, not {wish}"
            runs = rig.hardware.guests[machine].runs
            if not {p.device for p in runs.ports} <= rig.hardware.devices.keys():
                yield f"{machine} lacks a port"
    for machine in rig.hardware.guests.keys() - wished.keys():
        yield f"{machine} is here and nobody wants it"


def _ports(rig: Rig) -> Iterator[str]:
    running = _running(rig)
    needed = {
        port.nic: port.vlan
        for machine, wish in wishes(rig, ItemKind.GUEST).items()
        if machine in running
        for port in wish.ports
    }
    used = {
        rig.hardware.devices[port.device]
        for machine in running
        for port in rig.hardware.guests[machine].runs.ports
    }
    for nic, port in rig.hardware.ports.items():
        if port.kind is PortKind.TAP and nic not in needed and nic not in used:
            yield f"{nic} is here and nobody needs it"
        if needed.get(nic, port.vlan) != port.vlan:
            yield f"{nic} is in VLAN {port.vlan}"
    for nic in needed.keys() - rig.hardware.ports.keys():
        yield f"{nic} is missing"


def _appliances(rig: Rig) -> Iterator[str]:
    wished, leases = wishes(rig, ItemKind.APPLIANCE), wishes(rig, ItemKind.LEASE)
    here = rig.hardware.appliances
    for network in here.keys() ^ wished.keys():
        yield f"the appliance of {network} is {'here' if network in here else 'missing'}"
    for network in here.keys() & wished.keys():
        held = here[network]
        if held.wish != wished[network] or not held.seen.running:
            yield f"the appliance of {network} is not as wished"
        if held.leases != {n: lease for n, lease in leases.items() if lease.network == network}:
            yield f"the appliance of {network} has other leases"


def _disks(rig: Rig) -> Iterator[str]:
    named = {d.volume for wish in wishes(rig, ItemKind.GUEST).values() for d in wish.disks}
    volumes = rig.hardware.pools[make.POOL].volumes
    for volume in wishes(rig, ItemKind.SCRAP).keys() - named:
        if volume in volumes:
            yield f"{volume} is still here"
        if volume not in rig.server.scrapped:
            yield f"{volume} was not told erased"
    for wish in wishes(rig, ItemKind.GUEST).values():
        if wish.power is Power.ON:
            for disk in wish.disks:
                if disk.volume not in volumes and wish.machine in _running(rig):
                    yield f"{disk.volume} is missing"


def _beliefs(rig: Rig) -> Iterator[str]:
    server, running = rig.server, _running(rig)
    for machine, seen in server.guests.items():
        if (seen.state is GuestState.RUNNING) != (machine in running):
            yield f"{machine} is told to be {seen}"
    if server.guests.keys() != wishes(rig, ItemKind.GUEST).keys():
        yield f"guests told: {sorted(server.guests)}"
    if set(server.vlans) != set(rig.hardware.vlans):
        yield f"VLANs told: {server.vlans}, there: {sorted(rig.hardware.vlans)}"
    if server.reports[-1].generation != rig.generation:
        yield f"generation told: {server.reports[-1].generation}, wished: {rig.generation}"
    for network in wishes(rig, ItemKind.APPLIANCE):
        if network not in server.appliances or not server.appliances[network].running:
            yield f"the appliance of {network} is told to be {server.appliances.get(network)}"
