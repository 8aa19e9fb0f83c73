"""Two customers in a zone whose networks are in VXLAN: two pods, layer 3 between them, real guests on both.

One story, since each step needs what the one before left: bringing guests up is most of what it costs.
"""

import pytest

from arable.agent.network import device
from arable.domain.ids import NicId
from arable.drivers.network.links import Links
from arable.processes import up
from arable.processes.up import Wanted
from arable.wire.hosts import HostQuery
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkIn
from arable.wire.rules import BetweenIn
from drivers.frames import ARP, IPV4
from drivers.test_ovs_vxlan import unwrapped
from e2e.conftest import HERE, lab_cloud
from e2e.customers import ONLY_BLUES, READY, Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import until
from e2e.test_two_customers import OUTSIDE, wiretap

pytestmark = pytest.mark.real

BACK = "10.12.0.0/24"


def test_customers_in_vxlan_have_their_own_across_pods_and_nobody_elses(tmp_path) -> None:
    topology = up.topology_of(HERE / "two-pods-vxlan.yaml")
    wanted = Wanted(data=tmp_path / "cloud", topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as cloud:
        red, blue = (customer(cloud.operator, cloud.url, name) for name in ("red", "blue"))
        try:
            _deployed(cloud, red, blue)
            _hear_their_own_alone(cloud, red, blue)
            _know_what_fits(red)
            _tiers_meet(cloud, red)
            _leave_nothing(cloud, red, blue)
        finally:
            for who in (red, blue):
                who.close()


def _deployed(cloud: LabCloud, red: Customer, blue: Customer) -> None:
    """red: one on each host, and one on another network. blue: one beside those, at an address that red has not."""
    red.api.networks.create(NetworkIn(name="back", cidr=BACK))
    reds = [
        red.deploy("one", tags=("left",)),
        red.deploy("two", tags=("right",)),
        red.deploy("back", tags=("right",), networks=(NicIn(network="back"),)),
    ]
    blues = blue.deploy("three", tags=("right",), networks=(NicIn(address=ONLY_BLUES),))
    red.wait(*reds)
    blue.wait(blues)
    assert cloud.whereabouts() == {"one": "c1", "two": "d1", "back": "d1", "three": "d1"}
    for who in (red, blue):
        for name in who.machines():
            who.at(name).run(READY)
    vnis = {network.vlan for network in cloud.operator.networks.all()}
    assert len(vnis) == 3
    assert all(vni and 70_000 <= vni <= 70_019 for vni in vnis)


def _hear_their_own_alone(cloud: LabCloud, red: Customer, blue: Customer) -> None:
    near, far = red.machine("one").nics[0], red.machine("two").nics[0]
    vni = cloud.vlan(near.network)
    foreign = device(NicId(blue.machine("three").nics[0].id))
    with (
        wiretap(cloud, "pod-c", "c1") as wire,
        wiretap(cloud, "d1", foreign) as ear,
    ):
        red.at("one").run(f"ping -c 1 -w 60 {far.address}")
        red.at("one").run(f"arping -c 1 -w 1 -I eth0 {ONLY_BLUES} || true")
        red.at("one").run(f"ping -c 1 -w 2 {ONLY_BLUES}", fails=True)
        seen = wire.until(
            lambda frame: (
                (it := unwrapped(frame)) is not None
                and it.inner_target == far.mac
                and it.inner[12:14] == IPV4.to_bytes(2)
            )
        )
        carried = unwrapped(seen[-1])
        assert carried is not None
        assert (carried.vni, seen[-1].tag) == (vni, None)
        assert (carried.sender, carried.target) == ("172.29.1.11", "172.29.2.11")
        # blue's own question to its gateway, after all that, is the first that its machine's host heard of it.
        blue.at("three").run("arping -c 1 -w 30 -I eth0 10.1.1.1")
        heard = ear.until(lambda frame: frame.kind == ARP and frame.payload[6:8] == b"\x00\x02")
        assert not {frame.source for frame in heard} & {near.mac, far.mac}
    for who, name in ((red, "one"), (red, "two"), (blue, "three")):
        who.at(name).run(f"wget -q -O /dev/null {OUTSIDE}")


def _know_what_fits(red: Customer) -> None:
    """The wrapping takes 50 of 1,500 bytes."""
    far = red.address("two")
    assert "mtu 1450" in red.at("one").run("ip link show eth0")
    red.at("one").run(f"ping -c 1 -w 30 -s 1422 {far}")


def _tiers_meet(cloud: LabCloud, red: Customer) -> None:
    """Routers of a farm meet in a VNI of their own."""
    networks = {network.name: network.id for network in red.api.networks.all()}
    back = red.address("back")
    red.at("one").run(f"ping -c 1 -w 2 {back}", fails=True)
    ask = BetweenIn(source=networks["default"], network=networks["back"], protocol="icmp")
    red.wait(red.api.rules.between(ask).operation)
    red.at("one").run(f"ping -c 1 -w 60 -s 1422 {back}")
    taken = cloud.operator.zones.capacity(next(cloud.operator.zones.all()).id).vlans
    assert taken.total - taken.free == 4


def _leave_nothing(cloud: LabCloud, red: Customer, blue: Customer) -> None:
    for who in (red, blue):
        who.hang_up()
        who.destroy(who.machines())
    until(lambda: not _tunnels(cloud, "d1"), "the host without routers to have no tunnels")
    assert all(host.state == "up" for host in cloud.operator.hosts.all(HostQuery()))


def _tunnels(cloud: LabCloud, host: str) -> list[str]:
    return [name for name in Links(cloud.netns(host)).all() if name.startswith("vx")]
