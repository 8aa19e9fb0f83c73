"""What customers in the simulated world ask for: every verb, at any time, sensible or not."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from arable.domain.access import Caller
from arable.domain.ids import MachineId, NetworkId
from arable.runtime.entropy import Random
from arable.services import deployments, networks, power
from arable.sim.cloud import Cloud
from arable.sim.ground import IMAGE, OFFERING
from arable.wire.machines import DeployIn, DestroyIn, NicIn, RecoverIn, StopIn
from arable.wire.networks import NetworkIn

Ask = Callable[[Cloud, Caller, Random], str]


def _deploy(cloud: Cloud, caller: Caller, dice: Random) -> str:
    network = _network(cloud, caller, dice) if dice.random() < 0.4 else None
    ask = DeployIn(
        name=f"m{dice.randrange(10**6)}",
        count=dice.choice((1, 1, 2, 3)),
        offering=OFFERING,
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


def _machine(cloud: Cloud, caller: Caller, dice: Random) -> MachineId | None:
    with cloud.database.read() as tx:
        query = text("select id from machine where account = :account order by id")
        found = list(tx.scalars(query, {"account": caller.account}))
    return MachineId(dice.choice(found)) if found else None


def _network(cloud: Cloud, caller: Caller, dice: Random) -> NetworkId | None:
    with cloud.database.read() as tx:
        query = text("select id from network where account = :account order by id")
        found = list(tx.scalars(query, {"account": caller.account}))
    return NetworkId(dice.choice(found)) if found else None


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
)
