"""What customers in the simulated world ask for: every verb, at any time, sensible or not."""

from collections.abc import Callable
from typing import Any, Literal

from sqlalchemy import select, text

from arable.domain.access import Caller
from arable.domain.ids import (
    AddressId,
    BalancerId,
    MachineId,
    NetworkId,
    NicId,
    RuleId,
    SnapshotId,
    VolumeId,
    VpnId,
    VpnPeerId,
)
from arable.runtime.entropy import Random
from arable.services import (
    addresses,
    attachments,
    balancers,
    bringing,
    copies,
    deployments,
    networks,
    nics,
    power,
    remote_accesses,
    resizing,
    rules,
    snapshots,
    volumes,
    vpn_clients,
    vpns,
    zones,
)
from arable.sim.cloud import Cloud
from arable.sim.ground import AVAILABLE, DISK, IMAGE, OFFERING, REPLICATED, SHARED, SHARED_DISK
from arable.store import schema
from arable.wire.addresses import AddressIn, AssociateIn
from arable.wire.balancers import BalancerIn, MemberIn, RemoveMemberQuery
from arable.wire.images import ImageIn
from arable.wire.machines import DeployIn, DestroyIn, NicIn, RecoverIn, StopIn
from arable.wire.networks import NetworkChange, NetworkIn
from arable.wire.nics import AttachIn, NicChange
from arable.wire.remote_accesses import RemoteAccessIn, VpnClientIn
from arable.wire.rules import BetweenIn, ForwardIn, StaticNatIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import (
    AttachVolumeIn,
    DetachVolumeIn,
    ResizeVolumeIn,
    VolumeChange,
    VolumeIn,
)
from arable.wire.vpns import VpnIn
from arable.wire.zones import ZoneChange

PEER_KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
"""Of a gateway elsewhere."""

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
    ask = NetworkIn(
        name=f"n{dice.randrange(10**6)}",
        cidr=f"10.{dice.randrange(2, 200)}.0.0/24",
        redundant=dice.random() < 0.4,
        ipv6=dice.random() < 0.3,  # refused where the range has no room left
    )
    return str(cloud.ask(caller, lambda call: networks.create(call, ask)).id)


def _delete_network(cloud: Cloud, caller: Caller, dice: Random) -> str:
    network = _network(cloud, caller, dice)
    if network is None:
        return "nothing"
    cloud.ask(caller, lambda call: networks.delete(call, network))
    return network


def _leave_balancer(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """It is waited for, or not."""
    query = """select m.balancer, n.machine from balancer_member m join nic n on n.id = m.nic
        join balancer b on b.id = m.balancer where b.account = :account order by m.balancer, m.nic"""
    with cloud.database.read() as tx:
        found = tx.execute(text(query), {"account": caller.account}).all()
    if not found:
        return "nothing"
    balancer, machine = dice.choice(found)
    how = RemoveMemberQuery(drain_seconds=dice.choice((None, 0, 5)))
    cloud.ask(caller, lambda call: balancers.remove_member(call, balancer, machine, how))
    return f"{machine} leaves {balancer}"


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


def _own_address(cloud: Cloud, caller: Caller, dice: Random) -> str:
    address, machine = _one(cloud, caller, dice, "address"), _machine(cloud, caller, dice)
    if address is None or machine is None:
        return "nothing"
    ask = StaticNatIn(address=address, machine=machine)
    return cloud.ask(caller, lambda call: rules.static_nat(call, ask)).rule.id


def _lead_between(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """Mostly refused: a rule of the same network, or one that is there."""
    source, network = _network(cloud, caller, dice), _network(cloud, caller, dice)
    if source is None or network is None:
        return "nothing"
    ask = BetweenIn(source=source, network=network, first_port=dice.randrange(1, 4))
    return cloud.ask(caller, lambda call: rules.between(call, ask)).rule.id


def _balance(cloud: Cloud, caller: Caller, dice: Random) -> str:
    address, machine = _one(cloud, caller, dice, "address"), _machine(cloud, caller, dice)
    if address is None or machine is None:
        return "nothing"
    port = dice.randrange(1, 9)
    ask = BalancerIn(
        name=f"b{dice.randrange(10**6)}",
        address=address,
        port=port,
        members=(MemberIn(machine=machine, port=port),),
    )
    return cloud.ask(caller, lambda call: balancers.create(call, ask)).balancer.id


def _delete_balancer(cloud: Cloud, caller: Caller, dice: Random) -> str:
    balancer = _one(cloud, caller, dice, "balancer")
    if balancer is None:
        return "nothing"
    cloud.ask(caller, lambda call: balancers.delete(call, BalancerId(balancer)))
    return balancer


def _join_balancer(cloud: Cloud, caller: Caller, dice: Random) -> str:
    balancer, machine = _one(cloud, caller, dice, "balancer"), _machine(cloud, caller, dice)
    if balancer is None or machine is None:
        return "nothing"
    ask = MemberIn(machine=machine, port=80)
    cloud.ask(caller, lambda call: balancers.add_member(call, BalancerId(balancer), ask))
    return f"{machine} joins {balancer}"


def _make_vpn(cloud: Cloud, caller: Caller, dice: Random) -> str:
    address = _one(cloud, caller, dice, "address")
    if address is None:
        return "nothing"
    ask = VpnIn(
        name=f"v{dice.randrange(10**6)}",
        address=address,
        port=dice.randrange(2000, 2005),
        peer_key=PEER_KEY,
        peer_cidrs=(f"10.{dice.randrange(2, 250)}.0.0/24",),
    )
    return cloud.ask(caller, lambda call: vpns.create(call, ask)).vpn.id


def _let_in(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """A client, where there is remote access already; or else that."""
    address, access = _one(cloud, caller, dice, "address"), _one(cloud, caller, dice, "vpn")
    if access is not None and access.startswith("access-"):
        client = VpnClientIn(access=access, name=f"c{dice.randrange(10**6)}")
        return cloud.ask(caller, lambda call: vpn_clients.create(call, client)).client.id
    if address is None:
        return "nothing"
    ask = RemoteAccessIn(
        name=f"a{dice.randrange(10**6)}",
        address=address,
        port=dice.randrange(2000, 2005),
        cidr=f"172.{dice.randrange(16, 32)}.0.0/24",
    )
    return cloud.ask(caller, lambda call: remote_accesses.create(call, ask)).access.id


def _revoke(cloud: Cloud, caller: Caller, dice: Random) -> str:
    client = _one(cloud, caller, dice, "vpn_peer")
    if client is None:
        return "nothing"
    cloud.ask(caller, lambda call: vpn_clients.delete(call, VpnPeerId(client)))
    return client


def _delete_vpn(cloud: Cloud, caller: Caller, dice: Random) -> str:
    vpn = _one(cloud, caller, dice, "vpn")
    if vpn is None:
        return "nothing"
    cloud.ask(caller, lambda call: vpns.delete(call, VpnId(vpn)))
    return vpn


def _delete_rule(cloud: Cloud, caller: Caller, dice: Random) -> str:
    rule = _one(cloud, caller, dice, "rule")
    if rule is None:
        return "nothing"
    cloud.ask(caller, lambda call: rules.delete(call, RuleId(rule)))
    return rule


def _make_volume(cloud: Cloud, caller: Caller, dice: Random, offering: str = DISK) -> str:
    ask = VolumeIn(name=f"v{dice.randrange(10**6)}", offering=offering, mib=dice.choice((64, 512)))
    return cloud.ask(caller, lambda call: volumes.create(call, ask)).id


def _make_shared_volume(cloud: Cloud, caller: Caller, dice: Random) -> str:
    return _make_volume(cloud, caller, dice, SHARED_DISK)


def _attach_volume(cloud: Cloud, caller: Caller, dice: Random) -> str:
    volume, machine = _volume(cloud, caller, dice), _machine(cloud, caller, dice)
    if volume is None or machine is None:
        return "nothing"
    ask = AttachVolumeIn(machine=machine)
    cloud.ask(caller, lambda call: attachments.attach(call, volume, ask))
    return f"{volume} to {machine}"


def _grow_volume(cloud: Cloud, caller: Caller, dice: Random) -> str:
    volume = _volume(cloud, caller, dice)
    if volume is None:
        return "none"
    ask = ResizeVolumeIn(mib=dice.choice((128, 1024, 4096, 16384)))
    cloud.ask(caller, lambda call: resizing.resize(call, volume, ask))
    return f"{volume} to {ask.mib}"


def _detach_volume(cloud: Cloud, caller: Caller, dice: Random) -> str:
    volume = _volume(cloud, caller, dice, views=True)
    if volume is None:
        return "nothing"
    ask = DetachVolumeIn(force=dice.random() < 0.2)
    cloud.ask(caller, lambda call: attachments.detach(call, volume, ask))
    return volume


def _delete_volume(cloud: Cloud, caller: Caller, dice: Random) -> str:
    volume = _volume(cloud, caller, dice)
    if volume is None:
        return "nothing"
    cloud.ask(caller, lambda call: volumes.delete(call, volume))
    return volume


def _give_volume(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """To another farm, or out of where it is: for whoever has it next."""
    volume, farm = _volume(cloud, caller, dice), _one(cloud, caller, dice, "farm")
    if volume is None:
        return "nothing"
    zone = farm if dice.random() < 0.5 else None
    change = VolumeChange(storage_zone=zone)
    cloud.ask(caller, lambda call: volumes.update(call, volume, change))
    return f"{volume} to {zone}"


def _share_volume(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """Many may read it, or one may have it again."""
    volume = _volume(cloud, caller, dice)
    if volume is None:
        return "nothing"
    share: Literal["none", "read-only"] = "read-only" if dice.random() < 0.7 else "none"
    cloud.ask(caller, lambda call: volumes.update(call, volume, VolumeChange(share=share)))
    return f"{volume} {share}"


def _take_snapshot(cloud: Cloud, caller: Caller, dice: Random) -> str:
    volume = _one(cloud, caller, dice, "volume")
    if volume is None:
        return "nothing"
    ask = SnapshotIn(name=f"s{dice.randrange(10**6)}", volume=volume)
    return cloud.ask(caller, lambda call: snapshots.create(call, ask)).snapshot.id


def _copy_snapshot(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """Of a shared disk it is refused half of the time, as of a local one."""
    snapshot = _one(cloud, caller, dice, "snapshot")
    if snapshot is None:
        return "nothing"
    offering = dice.choice((DISK, SHARED_DISK))
    ask = VolumeIn(name=f"v{dice.randrange(10**6)}", offering=offering, snapshot=snapshot)
    return cloud.ask(caller, lambda call: copies.create(call, ask)).id


def _image_of_snapshot(cloud: Cloud, caller: Caller, dice: Random) -> str:
    snapshot = _one(cloud, caller, dice, "snapshot")
    if snapshot is None:
        return "nothing"
    ask = ImageIn(name=f"i{dice.randrange(10**6)}", snapshot=snapshot)
    return cloud.ask(caller, lambda call: bringing.create(call, ask)).id


def _on_snapshot(verb: Callable[..., Any]) -> Ask:
    def ask(cloud: Cloud, caller: Caller, dice: Random) -> str:
        snapshot = _one(cloud, caller, dice, "snapshot")
        if snapshot is None:
            return "nothing"
        cloud.ask(caller, lambda call: verb(call, SnapshotId(snapshot)))
        return snapshot

    return ask


def _volume(cloud: Cloud, caller: Caller, dice: Random, *, views: bool = False) -> VolumeId | None:
    """One that came by itself, or whatever else stays."""
    table = schema.volume.c
    with cloud.database.read() as tx:
        there = table.stays | table.view_of.is_not(None) if views else table.stays
        query = select(table.id).where(table.account == caller.account, there)
        found = list(tx.scalars(query.order_by(table.id)))
    return VolumeId(dice.choice(found)) if found else None


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


def _attach(cloud: Cloud, caller: Caller, dice: Random) -> str:
    machine, network = _machine(cloud, caller, dice), _network(cloud, caller, dice)
    if machine is None or network is None:
        return "nothing"
    ask = AttachIn(machine=machine, network=network, default=dice.random() < 0.3)
    return cloud.ask(caller, lambda call: nics.attach(call, ask)).nic.id


def _detach(cloud: Cloud, caller: Caller, dice: Random) -> str:
    nic = _one(cloud, caller, dice, "nic")
    if nic is None:
        return "nothing"
    cloud.ask(caller, lambda call: nics.detach(call, NicId(nic)))
    return nic


def _change_nic(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """Another address in the same subnet, and perhaps the way out."""
    nic = _one(cloud, caller, dice, "nic")
    if nic is None:
        return "nothing"
    found = cloud.ask(caller, lambda call: nics.get(call, NicId(nic)))
    address = f"{found.address.rpartition('.')[0]}.{dice.randrange(2, 12)}"
    change = NicChange(address=address)
    if dice.random() < 0.3:
        change = NicChange(address=address, default=True)
    cloud.ask(caller, lambda call: nics.update(call, NicId(nic), change))
    return f"{nic} to {address}"


def _pair_network(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """One with two routers has one from now on, or the other way round."""
    network = _network(cloud, caller, dice)
    if network is None:
        return "nothing"
    two = dice.random() < 0.6
    change = NetworkChange(redundant=two)
    cloud.ask(caller, lambda call: networks.update(call, network, change))
    return f"{network} {two}"


def _six_network(cloud: Cloud, caller: Caller, dice: Random) -> str:
    """A network has IPv6 from now on, as have the machines that it has already."""
    network = _network(cloud, caller, dice)
    if network is None:
        return "nothing"
    cloud.ask(caller, lambda call: networks.update(call, network, NetworkChange(ipv6=True)))
    return network


def _choose_routers(cloud: Cloud, _caller: Caller, dice: Random) -> str:
    """The operator does, for the zone: they are machines from now on, or namespaces."""
    change = ZoneChange(router_runtime="vm" if dice.random() < 0.5 else "namespace")
    cloud.ask(cloud.ground.operator, lambda call: zones.update(call, cloud.ground.zone, change))
    return str(change.router_runtime)


def _restart_network(cloud: Cloud, caller: Caller, dice: Random) -> str:
    network = _network(cloud, caller, dice)
    if network is None:
        return "nothing"
    cloud.ask(caller, lambda call: networks.restart(call, network))
    return network


def _deploy_available(cloud: Cloud, caller: Caller, dice: Random) -> str:
    return _deploy(cloud, caller, dice, AVAILABLE)


def _deploy_shared(cloud: Cloud, caller: Caller, dice: Random) -> str:
    return _deploy(cloud, caller, dice, SHARED)


def _deploy_replicated(cloud: Cloud, caller: Caller, dice: Random) -> str:
    return _deploy(cloud, caller, dice, REPLICATED)


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
    ("attaches", _attach),
    ("attaches", _attach),
    ("detaches", _detach),
    ("changes a port", _change_nic),
    ("restarts a network", _restart_network),
    ("wants two routers, or one", _pair_network),
    ("has routers be machines, or not", _choose_routers),
    ("gives a network IPv6", _six_network),
    ("takes an address", _take_address),
    ("releases an address", _release_address),
    ("forwards a port", _forward),
    ("gives a machine an address", _own_address),
    ("leads to another network", _lead_between),
    ("spreads a port", _balance),
    ("adds a member", _join_balancer),
    ("removes a member", _leave_balancer),
    ("deletes a balancer", _delete_balancer),
    ("deletes a rule", _delete_rule),
    ("joins a network to one elsewhere", _make_vpn),
    ("deletes a VPN", _delete_vpn),
    ("lets a computer in", _let_in),
    ("revokes a computer", _revoke),
    ("makes a volume", _make_volume),
    ("attaches a volume", _attach_volume),
    ("attaches a volume", _attach_volume),
    ("detaches a volume", _detach_volume),
    ("grows a volume", _grow_volume),
    ("gives a volume to a farm", _give_volume),
    ("shares a volume", _share_volume),
    ("deletes a volume", _delete_volume),
)

SHARING: tuple[tuple[str, Ask], ...] = (
    ("deploys highly available ones", _deploy_available),
    ("deploys highly available ones", _deploy_available),
    ("deploys movable ones", _deploy_shared),
    ("makes a shared volume", _make_shared_volume),
    ("makes a shared volume", _make_shared_volume),
    ("takes a snapshot", _take_snapshot),
    ("takes a snapshot", _take_snapshot),
    ("goes back to a snapshot", _on_snapshot(snapshots.restore)),
    ("copies a snapshot", _copy_snapshot),
    ("makes an image of a snapshot", _image_of_snapshot),
    ("deletes a snapshot", _on_snapshot(snapshots.delete)),
)
"""Where there are shared disks, beside local ones."""

REPLICATED_ASKS: tuple[tuple[str, Ask], ...] = (
    ("deploys replicated ones", _deploy_replicated),
) * 6
"""Where there are several storage hosts."""
