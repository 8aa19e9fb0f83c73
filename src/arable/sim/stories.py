"""The workflows of a customer's, each as short as it can be: for `breaks.py`."""

from collections.abc import Callable
from typing import Any

from arable.domain.ids import (
    AddressId,
    BalancerId,
    HostId,
    MachineId,
    NetworkId,
    NicId,
    RuleId,
    VolumeId,
)
from arable.drivers.network.protocol import PortKind
from arable.runtime.secret import Secret
from arable.services import (
    addresses,
    attachments,
    balancers,
    deployments,
    hosts,
    limiting,
    moving,
    networks,
    nics,
    password_resets,
    power,
    resizing,
    rules,
    volumes,
    zones,
)
from arable.services.passwords import Password
from arable.sim.acts import End, lead_away, leads_away, let_in, revoke, stay
from arable.sim.acts import ask as _ask
from arable.sim.acts import free_address as _free_address
from arable.sim.acts import none as _none
from arable.sim.acts import rows as _rows
from arable.sim.acts import says as _says
from arable.sim.acts import some as _some
from arable.sim.breaks import Act, Story
from arable.sim.cloud import Cloud
from arable.sim.ground import AVAILABLE, DISK, IMAGE, OFFERING, SHARED_DISK, Room
from arable.wire.addresses import AddressIn, AssociateIn
from arable.wire.balancers import BalancerIn, MemberChange, MemberIn
from arable.wire.hosts import HostChange
from arable.wire.machines import DeployIn, DestroyIn, MoveIn, PasswordResetIn, RecoverIn, StopIn
from arable.wire.networks import NetworkChange, NetworkIn
from arable.wire.nics import AttachIn, NicChange
from arable.wire.rules import BetweenIn, FirewallIn, ForwardIn, StaticNatIn
from arable.wire.volumes import (
    AttachVolumeIn,
    DetachVolumeIn,
    LimitVolumeIn,
    ResizeVolumeIn,
    VolumeIn,
)
from arable.wire.zones import ZoneChange


def _deploys(count: int) -> Act:
    def ask(cloud: Cloud) -> None:
        wish = DeployIn(name="web", count=count, offering=OFFERING, image=IMAGE)
        cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)

    return Act(ask, _some("machine"))


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


_associated = Act(
    _associate,
    _some("address where network is not null and not source_nat"),
)


def _forward(cloud: Cloud) -> None:
    (machine,) = _rows(cloud, "select id from machine")
    (address,) = _free_address(cloud)
    _ask(cloud, rules.forward, ForwardIn(address=address, machine=machine, first_port=80))


def _balance(cloud: Cloud) -> None:
    (machine,) = _rows(cloud, "select id from machine")
    (address,) = _free_address(cloud)
    members = (MemberIn(machine=machine, port=80),)
    ask = BalancerIn(name="shop", address=address, port=80, members=members)
    _ask(cloud, balancers.create, ask)


def _drain_member(cloud: Cloud) -> None:
    (machine,) = _rows(cloud, "select id from machine")
    (balancer,) = _rows(cloud, "select id from balancer")
    change = MemberChange(draining=True)
    _ask(cloud, balancers.update_member, BalancerId(balancer), MachineId(machine), change)


def _balances(*weights: int) -> End:
    """The members' weights, as the routing appliance itself has them and as it is heard of them."""

    def look(cloud: Cloud) -> bool:
        has = [
            [member.weight for member in balancer.members]
            for node in cloud.nodes.values()
            for held in node.hardware.appliances.values()
            for balancer in held.wish.balancers
        ]
        return has == [list(weights)] and len(_rows(cloud, "select balancer from balancer_seen")) == 1  # fmt: skip

    return look


def _own(cloud: Cloud) -> None:
    (machine,) = _rows(cloud, "select id from machine")
    (address,) = _free_address(cloud)
    _ask(cloud, rules.static_nat, StaticNatIn(address=address, machine=machine))


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


_reset = _to_machine(
    password_resets.reset,
    _some("operation where kind = 'machine.reset-password'"),
    PasswordResetIn(),
    Password(Secret("known"), "$6$salt$hash"),
)
_untold = _none("manifest_item where body like '%password%'")
_wiped = _none("machine_boot where password <> '' or resetting is not null")


def _has_password(cloud: Cloud) -> bool:
    guests = [guest for node in cloud.nodes.values() for guest in node.hardware.guests.values()]
    return [guest.passwords for guest in guests] == [{"root": "$6$salt$hash"}]


def _passes(forwards: int, openings: int) -> End:
    """What the routing appliance itself has."""

    def look(cloud: Cloud) -> bool:
        wishes = [
            held.wish for node in cloud.nodes.values() for held in node.hardware.appliances.values()
        ]
        has = [(len(wish.forwards), len(wish.firewall)) for wish in wishes]
        return has == [(forwards, openings)]

    return look


def _statics(count: int) -> End:
    """Of how many machines a routing appliance knows an own address."""

    def look(cloud: Cloud) -> bool:
        return count == sum(
            len(held.wish.statics)
            for node in cloud.nodes.values()
            for held in node.hardware.appliances.values()
        )

    return look


def _link(cloud: Cloud) -> None:
    source, network = _rows(cloud, "select id from network order by name = 'second'")
    _ask(cloud, rules.between, BetweenIn(source=source, network=network, first_port=5432))


def _links(*counts: int) -> End:
    """How many passages each router knows, and whether it has a port to the other. Nobody holds a VLAN for nothing."""

    def look(cloud: Cloud) -> bool:
        wishes = [
            held.wish for node in cloud.nodes.values() for held in node.hardware.appliances.values()
        ]
        ports = [
            nic
            for node in cloud.nodes.values()
            for nic in node.hardware.ports
            if nic.startswith("lnk-")
        ]
        has = sorted(len(wish.passages) for wish in wishes)
        known = _rows(cloud, "select 1 from vlan join farm on farm.id = vlan.network")
        wanted = len([count for count in counts if count])
        return (has, len(ports), len(known)) == (list(counts), wanted, min(1, wanted))

    return look


_away = Act(lead_away, _some("vpn"))
_let_in = Act(let_in, _some("vpn_peer"))
_joined = Act(_link, _some("rule where source is not null"))
_forwarded = Act(_forward, _some("rule"))
_balanced = Act(_balance, _some("balancer"))
_owned = Act(_own, _some("rule"))
_fronted = (*_up, _address, _associated)


def _attach(cloud: Cloud) -> None:
    for machine in _rows(cloud, "select id from machine"):
        _ask(cloud, nics.attach, AttachIn(machine=machine, network="second"))


def _detach(cloud: Cloud) -> None:
    for nic in _rows(cloud, "select id from nic where not is_default"):
        _ask(cloud, nics.detach, NicId(nic))


def _readdress(cloud: Cloud) -> None:
    for nic in _rows(cloud, "select id from nic where not leaving"):
        _ask(cloud, nics.update, NicId(nic), NicChange(address="10.1.1.77"))


def _plugged(*places: int) -> End:
    """What its guest has, and that it was never restarted for it."""

    def look(cloud: Cloud) -> bool:
        guests = [g for node in cloud.nodes.values() for g in node.hardware.guests.values()]
        held = [(tuple(port.place for port in g.runs.ports), g.starts) for g in guests if g.runs]
        return held == [(places, 1)] and not _rows(cloud, "select id from nic where leaving")

    return look


def _guarded(cloud: Cloud) -> bool:
    """Its port speaks for the new address, and nothing keeps the old one."""
    ports = [port for node in cloud.nodes.values() for port in node.hardware.ports.values()]
    taps = [port.address for port in ports if port.kind is PortKind.TAP]
    return taps == ["10.1.1.77"] == _rows(cloud, "select address from nic")


def _restart(cloud: Cloud) -> None:
    for network in _rows(cloud, "select id from network"):
        _ask(cloud, networks.restart, NetworkId(network))


def _made(times: int) -> End:
    """How often the one router was; its leases are as they were."""

    def look(cloud: Cloud) -> bool:
        held = [r for node in cloud.nodes.values() for r in node.hardware.appliances.values()]
        return [(r.made, r.seen.running, len(r.leases)) for r in held] == [(times, True, 1)]

    return look


def _pair(two: bool) -> Act:
    def act(cloud: Cloud) -> None:
        change = NetworkChange(redundant=two)
        for network in _rows(cloud, "select id from network"):
            _ask(cloud, networks.update, NetworkId(network), change)

    wanted = "redundant" if two else "not redundant"
    return Act(act, _some(f"network where {wanted}"))


def _routed_by(hosts: int) -> End:
    """How many have its router, and that one leads."""

    def look(cloud: Cloud) -> bool:
        held = [(n, r) for n in cloud.nodes.values() for r in n.hardware.appliances.values()]
        leading = [r for n, r in held if n.hardware.leads(r.wish)]
        return [r.seen.running for _, r in held] == [True] * hosts and len(leading) == 1

    return look


_RESTARTED = "network where restarts > 0"
_MACHINE = "network where appliance_runtime = 'vm'"
_chosen = Act(
    lambda cloud: _operate(cloud, zones.update, cloud.ground.zone, ZoneChange(router_runtime="vm")),
    _some("zone where router_runtime = 'vm'"),
)
_attached = Act(_attach, _some("nic where not is_default"))
_detached = Act(_detach, lambda cloud: not _rows(cloud, _INNER))
_NOT_DEFAULT = "select id from nic where not is_default"
_INNER = "select id from nic where not is_default and not leaving"

SHARING = Room(pods=1, hosts=3, storage=1)
_TWO = Room(pods=1, hosts=2)


def _steady(cloud: Cloud) -> None:
    wish = DeployIn(name="web", offering=AVAILABLE, image=IMAGE)
    cloud.ask_batch(cloud.ground.callers[0], deployments.deploy_batch, wish, None)


def _operate(cloud: Cloud, verb: Callable[..., Any], *args: object) -> None:
    cloud.ask(cloud.ground.operator, lambda call: verb(call, *args))


def _move(cloud: Cloud) -> None:
    (id_,) = _rows(cloud, "select id from machine")
    _operate(cloud, moving.move, MachineId(id_), MoveIn())


def _maintain(cloud: Cloud) -> None:
    (host,) = _rows(cloud, "select host from machine")
    _operate(cloud, hosts.update, HostId(host), HostChange(maintenance=True))


def _elsewhere(cloud: Cloud) -> bool:
    """It runs on its second host, by its second lease or a later one."""
    return _rows(cloud, "select state from machine where epoch > 1") == ["running"]


def _emptied(cloud: Cloud) -> bool:
    return _rows(cloud, "select machines from host where maintenance") == [0]


def _makes_volume(offering: str) -> Act:
    def ask(cloud: Cloud) -> None:
        _ask(cloud, volumes.create, VolumeIn(name="data", offering=offering, mib=64))

    return Act(ask, _some("volume where name = 'data'"))


def _attach_volume(cloud: Cloud) -> None:
    (machine,) = _rows(cloud, "select id from machine")
    (volume,) = _data(cloud)
    _ask(cloud, attachments.attach, VolumeId(volume), AttachVolumeIn(machine=machine))


def _detach_volume(cloud: Cloud, *, force: bool = False) -> None:
    for volume in _data(cloud):
        _ask(cloud, attachments.detach, VolumeId(volume), DetachVolumeIn(force=force))


def _cut(cloud: Cloud) -> None:
    _detach_volume(cloud, force=True)


def _delete(cloud: Cloud) -> None:
    for volume in _data(cloud):
        _ask(cloud, volumes.delete, VolumeId(volume))


def _grow(cloud: Cloud) -> None:
    for volume in _data(cloud):
        _ask(cloud, resizing.resize, VolumeId(volume), ResizeVolumeIn(mib=512))


def _slow_down(cloud: Cloud) -> None:
    for volume in _data(cloud):
        _operate(cloud, limiting.limit, VolumeId(volume), LimitVolumeIn(iops=77))


def _data(cloud: Cloud) -> list[Any]:
    return _rows(cloud, "select id from volume where name = 'data'")


_mine = "volume where name = 'data' and machine is not null and change = ''"
_nobodys = "volume where name = 'data' and machine is null and not erasing"
_has_volume = Act(_attach_volume, _some("volume where name = 'data' and machine is not null"))
_large = "volume where name = 'data' and mib = 512 and machine is not null and change = ''"
_grown = Act(_grow, _some("volume where name = 'data' and mib = 512"))
_slow = "volume where name = 'data' and iops = 77 and machine is not null and change = ''"
_slowed = Act(_slow_down, _some("volume where name = 'data' and iops = 77"))
_lacks_volume = Act(
    _detach_volume, _some("volume where name = 'data' and (machine is null or change <> '')")
)

_shared = (Act(_steady, _some("machine")), _running)
_moved = Act(_move, _some("move where stage <> 'waiting'"))

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
    Story(
        "reset a password",
        _up,
        (_reset,),
        lambda cloud: _has_password(cloud) and _wiped(cloud) and _untold(cloud),
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
    Story("attach a port", (_network, *_up), (_attached,), _plugged(0, 1)),
    Story("detach a port", (_network, *_up, _attached), (_detached,), _plugged(0)),
    Story(
        "detach a port, and stop meanwhile",
        (_network, *_up, _attached),
        (_detached, _down[2]),
        lambda cloud: _rows(cloud, _STATES) == ["stopped"] and not _rows(cloud, _NOT_DEFAULT),
    ),
    Story(
        "change an address",
        _up,
        (Act(_readdress, _some("nic where address = '10.1.1.77'")),),
        _guarded,
    ),
    Story("have two routers", _up, (_pair(True),), _routed_by(2), room=_TWO),
    Story("have one again", (*_up, _pair(True)), (_pair(False),), _routed_by(1), room=_TWO),
    Story("restart a network", _up, (Act(_restart, _some(_RESTARTED)),), _made(2)),
    Story("have routers be machines", _up, (_chosen, Act(_restart, _some(_MACHINE))), _made(2)),
    Story("lead to another network", (_network, *_up, _attached), (_joined,), _links(1, 1)),
    Story(
        "lead to another network no more",
        (_network, *_up, _attached, _joined),
        (Act(_close, _none("rule")),),
        _links(0, 0),
    ),
    Story("associate an address", (*_up, _address), (_associated,), _says(_STATES, "running")),
    Story("forward a port", _fronted, (_forwarded,), _passes(1, 0)),
    Story("open a port", _fronted, (Act(_open, _some("rule")),), _passes(0, 1)),
    Story(
        "close a port",
        (*_fronted, _forwarded),
        (Act(_close, _none("rule")),),
        _passes(0, 0),
    ),
    Story("attach a volume", (*_up, _makes_volume(DISK)), (_has_volume,), _some(_mine)),
    Story(
        "detach a volume",
        (*_up, _makes_volume(DISK), _has_volume),
        (_lacks_volume,),
        _some(_nobodys),
    ),
    Story(
        "delete a volume",
        (*_up, _makes_volume(DISK), _has_volume, _lacks_volume),
        (Act(_delete, _none("volume where name = 'data' and not erasing")),),
        _none("volume where name = 'data'"),
    ),
    Story(
        "attach a shared volume",
        (*_shared, _makes_volume(SHARED_DISK)),
        (_has_volume,),
        _some(_mine),
        room=SHARING,
    ),
    Story(
        "detach a shared volume",
        (*_shared, _makes_volume(SHARED_DISK), _has_volume),
        (_lacks_volume,),
        _some(_nobodys),
        room=SHARING,
    ),
    Story(
        "detach a shared volume by force",
        (*_shared, _makes_volume(SHARED_DISK), _has_volume),
        (Act(_cut, _some("volume where name = 'data' and (machine is null or change = 'cut')")),),
        _some(_nobodys),
        room=SHARING,
    ),
    Story(
        "grow a volume",
        (*_up, _makes_volume(DISK), _has_volume),
        (_grown,),
        _some(_large),
    ),
    Story(
        "grow a volume, and stop meanwhile",
        (*_up, _makes_volume(DISK), _has_volume),
        (_grown, _down[2]),
        lambda cloud: _some(_large)(cloud) and _rows(cloud, _STATES) == ["stopped"],
    ),
    Story(
        "grow a shared volume",
        (*_shared, _makes_volume(SHARED_DISK), _has_volume),
        (_grown,),
        _some(_large),
        room=SHARING,
    ),
    Story("limit a volume", (*_up, _makes_volume(DISK), _has_volume), (_slowed,), _some(_slow)),
    Story(
        "limit a shared volume",
        (*_shared, _makes_volume(SHARED_DISK), _has_volume),
        (_slowed,),
        _some(_slow),
        room=SHARING,
    ),
    Story("spread a port over machines", _fronted, (_balanced,), _balances(1)),
    Story(
        "drain a member of a balancer",
        (*_fronted, _balanced),
        (Act(_drain_member, _says("select count(*) from balancer_member where draining", 1)),),
        _balances(0),
    ),
    Story("join a network to one elsewhere", _fronted, (_away,), leads_away(1)),
    Story("delete a VPN", (*_fronted, _away), (Act(stay, _none("vpn")),), leads_away(0)),
    Story(
        "revoke a client", (*_fronted, _let_in), (Act(revoke, _none("vpn_peer")),), leads_away(0)
    ),
    Story("give a machine an address", _fronted, (_owned,), _statics(1)),
    Story(
        "take a machine's address back",
        (*_fronted, _owned),
        (Act(_close, _none("rule")),),
        _statics(0),
    ),
    Story(
        "expunge a machine that has an address",
        (*_fronted, _owned),
        (_gone,),
        lambda cloud: _none("machine")(cloud) and _statics(0)(cloud),
    ),
    Story("move", _shared, (_moved,), _some("move where stage = 'over'"), room=SHARING),
    Story(
        "move, and stop meanwhile",
        _shared,
        (_moved, _to_machine(power.stop, _says(_WISHES, "stopped"), StopIn())),
        _says(_STATES, "stopped"),
        room=SHARING,
    ),
    Story(
        "drain",
        _shared,
        (Act(_maintain, _some("host where maintenance")),),
        lambda cloud: _emptied(cloud) and _elsewhere(cloud),
        room=SHARING,
    ),
    Story(
        "release an address",
        _fronted,
        (Act(_release, lambda cloud: not _free_address(cloud)),),
        lambda cloud: not _free_address(cloud),
    ),
)
