"""The workflows of a customer's, each as short as it can be: for `breaks.py`."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from arable.domain.ids import AddressId, MachineId, NetworkId, RuleId
from arable.services import addresses, deployments, networks, power, rules
from arable.sim.breaks import Act, Story
from arable.sim.cloud import Cloud
from arable.sim.ground import IMAGE, OFFERING
from arable.wire.addresses import AddressIn, AssociateIn
from arable.wire.machines import DeployIn, DestroyIn, RecoverIn, StopIn
from arable.wire.networks import NetworkIn
from arable.wire.rules import FirewallIn, ForwardIn

End = Callable[[Cloud], bool]


def _says(query: str, *wanted: object) -> End:
    """Whether the rows are these."""
    return lambda cloud: _rows(cloud, query) == list(wanted)


def _rows(cloud: Cloud, query: str) -> list[Any]:
    with cloud.database.read() as tx:
        return list(tx.scalars(text(query)))


def _ask(cloud: Cloud, verb: Callable[..., Any], *args: object) -> None:
    cloud.ask(cloud.ground.callers[0], lambda call: verb(call, *args))


def _deploys(count: int) -> Act:
    def ask(cloud: Cloud) -> None:
        wish = DeployIn(name="web", count=count, offering=OFFERING, image=IMAGE)
        cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)

    return Act(ask, _some("machine"))


def _some(table: str) -> End:
    return lambda cloud: bool(_rows(cloud, f"select id from {table}"))  # noqa: S608 - our own word


def _to_machine(verb: Callable[..., Any], done: End, *args: object) -> Act:
    def ask(cloud: Cloud) -> None:
        for id_ in _rows(cloud, "select id from machine"):
            _ask(cloud, verb, MachineId(id_), *args)

    return Act(ask, done)


_STATES = "select state from machine"
_WISHES = "select wish from machine"
_HOSTS = "select count(*) from machine where host is not null"
_one, _running = _deploys(1), Act(lambda _cloud: None, _says(_STATES, "running"))
_up = (_one, _running)
_stopped = Act(lambda _cloud: None, _says(_STATES, "stopped"))
_down = (*_up, _to_machine(power.stop, _says(_WISHES, "stopped"), StopIn()), _stopped)
_gone = _to_machine(power.destroy, lambda c: _rows(c, _WISHES) != ["running"], DestroyIn())
_network = Act(
    lambda cloud: _ask(cloud, networks.create, NetworkIn(name="second", cidr="10.7.0.0/24")),
    _some("network"),
)
_address = Act(
    lambda cloud: _ask(cloud, addresses.acquire, AddressIn()),
    _some("address where account is not null and not source_nat"),
)


def _associate(cloud: Cloud) -> None:
    (address,) = _free_address(cloud)
    (network,) = _rows(cloud, "select id from network")
    wish = AssociateIn(network=NetworkId(network))
    _ask(cloud, addresses.associate, AddressId(address), wish)


def _free_address(cloud: Cloud) -> list[Any]:
    return _rows(cloud, "select id from address where account is not null and not source_nat")


_associated = Act(
    _associate,
    _some("address where network is not null and not source_nat"),
)


def _forward(cloud: Cloud) -> None:
    (machine,) = _rows(cloud, "select id from machine")
    (address,) = _free_address(cloud)
    _ask(cloud, rules.forward, ForwardIn(address=address, machine=machine, first_port=80))


def _open(cloud: Cloud) -> None:
    (address,) = _free_address(cloud)
    _ask(cloud, rules.firewall, FirewallIn(address=address, protocol="tcp", first_port=80))


def _close(cloud: Cloud) -> None:
    for rule in _rows(cloud, "select id from rule"):
        _ask(cloud, rules.delete, RuleId(rule))


def _release(cloud: Cloud) -> None:
    for address in _free_address(cloud):
        _ask(cloud, addresses.release, AddressId(address))


def _leave(cloud: Cloud) -> None:
    for network in _rows(cloud, "select id from network"):
        _ask(cloud, networks.delete, NetworkId(network))


def _none(table: str) -> End:
    some = _some(table)
    return lambda cloud: not some(cloud)


def _passes(forwards: int, openings: int) -> End:
    """What the routing appliance itself has."""

    def look(cloud: Cloud) -> bool:
        wishes = [
            held.wish for node in cloud.nodes.values() for held in node.hardware.appliances.values()
        ]
        has = [(len(wish.forwards), len(wish.firewall)) for wish in wishes]
        return has == [(forwards, openings)]

    return look


_forwarded = Act(_forward, _some("rule"))
_fronted = (*_up, _address, _associated)

STORIES = (
    Story("deploy", (), (_one,), _says(_STATES, "running")),
    Story("deploy three", (), (_deploys(3),), _says(_STATES, *["running"] * 3)),
    Story("stop", _up, (_down[2],), _says(_STATES, "stopped")),
    Story(
        "stop by force",
        _up,
        (_to_machine(power.stop, _says(_WISHES, "stopped"), StopIn(force=True)),),
        _says(_STATES, "stopped"),
    ),
    Story(
        "start",
        _down,
        (_to_machine(power.start, _says(_WISHES, "running")),),
        _says(_STATES, "running"),
    ),
    Story(
        "reboot",
        _up,
        (_to_machine(power.reboot, _says("select boots from machine", 2)),),
        _says("select boots from machine", 2),
    ),
    Story("destroy", _up, (_gone,), _none("machine")),
    Story(
        "recover",
        (*_up, _to_machine(power.destroy, _says(_STATES, "destroyed"), DestroyIn())),
        (_to_machine(power.recover, _says(_WISHES, "stopped"), RecoverIn()),),
        _says(_STATES, "stopped"),
        recoverable=120,
    ),
    Story("make a network", (), (_network,), _some("network")),
    Story("delete a network", (_network,), (Act(_leave, _none("network")),), _none("network")),
    Story("associate an address", (*_up, _address), (_associated,), _says(_STATES, "running")),
    Story("forward a port", _fronted, (_forwarded,), _passes(1, 0)),
    Story("open a port", _fronted, (Act(_open, _some("rule")),), _passes(0, 1)),
    Story(
        "close a port",
        (*_fronted, _forwarded),
        (Act(_close, _none("rule")),),
        _passes(0, 0),
    ),
    Story(
        "release an address",
        _fronted,
        (Act(_release, lambda cloud: not _free_address(cloud)),),
        lambda cloud: not _free_address(cloud),
    ),
)
