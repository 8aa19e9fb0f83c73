"""What customers in the simulated world ask for: every verb, at any time, sensible or not."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from arable.domain.access import Caller
from arable.domain.ids import AddressId, MachineId, NetworkId, RuleId
from arable.runtime.entropy import Random
from arable.services import addresses, deployments, networks, power, rules
from arable.sim.cloud import Cloud
from arable.sim.ground import AVAILABLE, IMAGE, OFFERING, SHARED
from arable.store import schema
from arable.wire.addresses import AddressIn, AssociateIn
from arable.wire.machines import DeployIn, DestroyIn, NicIn, RecoverIn, StopIn
from arable.wire.networks import NetworkIn
from arable.wire.rules import ForwardIn

Ask = Callable[[Cloud, Caller, Random], str]


def _deploy(cloud: Cloud, caller: Caller, dice: Random, offering: str = OFFERING) -> str:
    network = _network(cloud, caller, dice) if dice.random() < 0.4 else None
    ask = DeployIn(
        name=f"m{dice.randrange(10**6)}",
        count=dice.choice((1, 1, 2, 3)),
        offering=offering,
        image=IMAGE,
        networks=(NicIn(network=network),) if network else (),
    )
    answer = cloud.ask_batch(caller, deployments.deploy_batch, ask, None)
    return f"{ask.count} {[machine.id for machine in answer.machines]}"


def _on_machine(verb: Callable[..., Any], *more: Any) -> Ask:
    def ask(cloud: Cloud, caller: Caller, dice: Random) -> str:
        machine = _machine(cloud, caller, dice)
        if machine is None:
            return "nothing"
        cloud.ask(caller, lambda call: verb(call, machine, *more))
        return machine

    return ask


def _make_network(cloud: Cloud, caller: Caller, dice: Random) -> str:
    ask = NetworkIn(name=f"n{dice.randrange(10**6)}", cidr=f"10.{dice.randrange(2, 200)}.0.0/24")
    return str(cloud.ask(caller, lambda call: networks.create(call, ask)).id)


def _delete_network(cloud: Cloud, caller: Caller, dice: Random) -> str:
    network = _network(cloud, caller, dice)
    if network is None:
        return "nothing"
    cloud.ask(caller, lambda call: networks.delete(call, network))
    return network


def _take_address(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """One that a network may answer for at once."""
    taken = cloud.ask(caller, lambda call: addresses.acquire(call, AddressIn())).id
    network = _network(cloud, caller, dice)
    if network is not None:
        ask = AssociateIn(network=network)
        cloud.ask(caller, lambda call: addresses.associate(call, AddressId(taken), ask))
    return f"{taken} for {network}"


def _release_address(cloud: Cloud, caller: Caller, dice: Random) -> str:
    address = _one(cloud, caller, dice, "address")
    if address is None:
        return "nothing"
    cloud.ask(caller, lambda call: addresses.release(call, AddressId(address)))
    return address


def _forward(cloud: Cloud, caller: Caller, dice: Random) -> str:
    address, machine = _one(cloud, caller, dice, "address"), _machine(cloud, caller, dice)
    if address is None or machine is None:
        return "nothing"
    ask = ForwardIn(address=address, machine=machine, first_port=dice.randrange(1, 9))
    return cloud.ask(caller, lambda call: rules.forward(call, ask)).rule.id


def _delete_rule(cloud: Cloud, caller: Caller, dice: Random) -> str:
    rule = _one(cloud, caller, dice, "rule")
    if rule is None:
        return "nothing"
    cloud.ask(caller, lambda call: rules.delete(call, RuleId(rule)))
    return rule


def _machine(cloud: Cloud, caller: Caller, dice: Random) -> MachineId | None:
    found = _one(cloud, caller, dice, "machine")
    return None if found is None else MachineId(found)


def _network(cloud: Cloud, caller: Caller, dice: Random) -> NetworkId | None:
    found = _one(cloud, caller, dice, "network")
    return None if found is None else NetworkId(found)


def _one(cloud: Cloud, caller: Caller, dice: Random, noun: str) -> str | None:
    """The id of any that the caller's account has."""
    table = schema.metadata.tables[noun].c
    with cloud.database.read() as tx:
        query = select(table.id).where(table.account == caller.account).order_by(table.id)
        found = list(tx.scalars(query))
    return dice.choice(found) if found else None


def _deploy_available(cloud: Cloud, caller: Caller, dice: Random) -> str:
    return _deploy(cloud, caller, dice, AVAILABLE)


def _deploy_shared(cloud: Cloud, caller: Caller, dice: Random) -> str:
    return _deploy(cloud, caller, dice, SHARED)


ASKS: tuple[tuple[str, Ask], ...] = (
    ("deploys", _deploy),
    ("deploys", _deploy),
    ("deploys", _deploy),
    ("starts", _on_machine(power.start)),
    ("stops", _on_machine(power.stop, StopIn())),
    ("stops by force", _on_machine(power.stop, StopIn(force=True))),
    ("reboots", _on_machine(power.reboot)),
    ("destroys", _on_machine(power.destroy, DestroyIn())),
    ("recovers", _on_machine(power.recover, RecoverIn())),
    ("expunges", _on_machine(power.expunge)),
    ("makes a network", _make_network),
    ("deletes a network", _delete_network),
    ("takes an address", _take_address),
    ("releases an address", _release_address),
    ("forwards a port", _forward),
    ("deletes a rule", _delete_rule),
)

SHARING: tuple[tuple[str, Ask], ...] = (
    ("deploys highly available ones", _deploy_available),
    ("deploys highly available ones", _deploy_available),
    ("deploys movable ones", _deploy_shared),
)
"""Where there are shared disks."""
