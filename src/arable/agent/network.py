"""Ports before guests, and pulling them after.

`Ports` makes the ports of guests that should run; `Unplugs` removes those that nobody needs, after the guests had
their turn: a port stays while the guest behind it may still run, so a VLAN is told gone (rule 3) only when no frame
can come from it any more. Appliances plug their own ends in (`drivers/appliance/protocol.py`), so ports of kind
`VETH` are left alone here.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from arable.agent.sight import Ground, Sight
from arable.domain.ids import NicId
from arable.domain.manifest import PortWish
from arable.drivers.hypervisor.protocol import GuestPower
from arable.drivers.network.protocol import Port, PortKind


@dataclass(frozen=True, slots=True)
class Plug:
    """Have this port."""

    port: Port

    def __str__(self) -> str:
        return f"plug {self.port.nic} into VLAN {self.port.vlan}"


@dataclass(frozen=True, slots=True)
class Unplug:
    """Have no such port."""

    nic: NicId

    def __str__(self) -> str:
        return f"unplug {self.nic}"


def device(nic: NicId) -> str:
    """The name of a guest's tap: an id's last eleven letters are chance, and a name has room for fifteen."""
    return f"tap{nic[-11:]}"


class Ports:
    """Plugs guests in."""

    name = "ports"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._network = ground.drivers.network
        self._made: dict[NicId, tuple[PortWish, Port]] = {}  # so that a port is worked out once

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Plug]:
        if seen.ports is None:
            return []
        actions = []
        made, there = self._made, seen.ports
        for wish in seen.on:
            for wanted in wish.ports:
                held = made.get(wanted.nic)
                port = held[1] if held and held[0] is wanted else self.port(wanted)
                found = there.get(wanted.nic)
                if found is not port and found != port and self._ground.patience.may(wanted.nic):
                    actions.append(Plug(port))
        return actions

    def apply(self, action: Plug, /) -> None:
        port, seen = action.port, self._ground.seen
        seen.replugged = True
        with self._ground.patience.attempt(port.nic):
            self._network.ensure(port)
        if seen.ports is not None:
            seen.ports[port.nic] = port

    def port(self, wish: PortWish) -> Port:
        """What the network driver is asked for."""
        held = self._made.get(wish.nic)
        if held is None or held[0] is not wish:
            made = _port(wish)  # the old object, where it is the same, compares faster
            held = (wish, held[1] if held and held[1] == made else made)
            self._made[wish.nic] = held
        return held[1]

    def forget(self, nic: NicId) -> None:
        """The port is gone."""
        self._made.pop(nic, None)


class Unplugs:
    """Removes ports of guests that do not run, and those of which running guests have let go."""

    name = "unplugs"

    def __init__(self, ground: Ground, ports: Ports) -> None:
        self._ground = ground
        self._network = ground.drivers.network
        self._ports = ports

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Unplug]:
        if seen.ports is None or seen.guests is None:
            return []
        self._forget(seen.ports)
        kept = self._ground.wishes.kept
        needed = {port.nic for wish in (*seen.on, *kept.values()) for port in wish.ports}
        spare = seen.ports.keys() - needed
        if not spare:
            return []
        for machine, found in seen.guests.items():
            if found.power is GuestPower.RUNNING:
                facts = self._ground.facts_of(machine)
                stranger = machine in seen.strangers and machine not in kept
                if stranger and not facts.ran and not facts.nics:
                    return []  # nothing is known of what it uses; it will be removed first
                spare.difference_update(facts.nics)
        return [
            Unplug(nic)
            for nic in sorted(spare)
            if seen.ports[nic].kind is PortKind.TAP and self._ground.patience.may(nic)
        ]

    def apply(self, action: Unplug, /) -> None:
        seen = self._ground.seen
        seen.replugged = True
        with self._ground.patience.attempt(action.nic):
            self._network.remove(action.nic)
        self._ports.forget(action.nic)
        if seen.ports is not None:
            seen.ports.pop(action.nic, None)
            self._forget(seen.ports)

    def _forget(self, there: Container[NicId]) -> None:
        """What guests have let go of, and is not there any more, nobody has to wait for."""
        facts = self._ground.facts
        for machine, known in list(facts.items()):
            if known.left and not all(nic in there for nic in known.left):
                left = tuple(nic for nic in known.left if nic in there)
                facts[machine] = replace(known, left=left)


def _port(wish: PortWish) -> Port:
    return Port(
        nic=wish.nic,
        kind=PortKind.TAP,
        vlan=wish.vlan,
        device=device(wish.nic),
        mac=wish.mac,
        address=wish.address,
        rate_kbps=wish.rate_kbps,
        ipv6=wish.ipv6,
    )
