"""A machine on several networks, one of them plugged in and pulled out while it runs, seen from within."""

from collections.abc import Iterator

import pytest

from arable.agent.network import device
from arable.domain.ids import NicId
from arable.drivers.network.links import Links
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkIn
from arable.wire.nics import AttachIn, NicChange, NicQuery
from drivers.frames import ARP
from e2e.customers import Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.test_two_customers import OUTSIDE, sender, wiretap

pytestmark = pytest.mark.real

FRONT, BACK, LATE = "10.11.0", "10.12.0", "10.13.0"


@pytest.fixture
def green(cloud: LabCloud) -> Iterator[Customer]:
    """A customer with three networks; one has no way out."""
    made = customer(cloud.operator, cloud.url, "green")
    try:
        for name, prefix, isolated in (
            ("front", FRONT, False),
            ("back", BACK, True),
            ("late", LATE, False),
        ):
            ask = NetworkIn(name=name, cidr=f"{prefix}.0/24", isolated=isolated)
            made.api.networks.create(ask)
        yield made
        made.destroy(made.machines())
        for network in made.api.networks.all():
            made.wait(made.api.networks.delete(network.id).id)
    finally:
        made.close()


def test_a_machine_has_several_networks_and_gets_and_loses_one_while_it_runs(
    cloud: LabCloud, green: Customer
) -> None:
    networks = (NicIn(network="front"), NicIn(network="back", address=f"{BACK}.9"))
    green.wait(green.deploy("web", networks=networks, tags=("right",)))
    at = green.at("web")
    at.run(f"until ip route | grep -q default && ip addr show eth1 | grep -q {BACK}.9; do sleep 0.1; done")  # fmt: skip
    # It answers on both, and finds its way out by the first alone.
    for card, gateway in (("eth0", f"{FRONT}.1"), ("eth1", f"{BACK}.1")):
        at.run(f"ping -c 1 -w 30 -I {card} {gateway}")
    assert [line.split()[2:5:2] for line in at.run("ip route | grep default").splitlines()] == [
        [f"{FRONT}.1", "eth0"]
    ]
    at.run(f"wget -q -O /dev/null {OUTSIDE}")
    for server, address in ((f"{FRONT}.1", f"{FRONT}.2"), (f"{BACK}.1", f"{BACK}.9")):
        assert address in at.run(f"nslookup web.internal {server}")
        assert "web.internal" in at.run(f"nslookup {address} {server}")

    machine = green.machine("web").id
    made = green.api.nics.attach(AttachIn(machine=machine, network="late"))
    green.wait(made.operation)
    there = Links(cloud.netns("b1"))
    assert device(NicId(made.nic.id)) in there.all()
    at.run(f"until ip addr show eth2 2>/dev/null | grep -q {made.nic.address}; do sleep 0.1; done")
    at.run(f"ping -c 1 -w 30 -I eth2 {LATE}.1")
    assert at.run("ip route | grep default").count("\n") == 1
    heard = lies_told_by(cloud, green, made.nic.mac)
    assert heard == {made.nic.address}

    green.wait(green.api.nics.update(made.nic.id, NicChange(address=f"{LATE}.77")).id)
    at.run("udhcpc -i eth2 -n -q -s /lib/arable/dhcp")  # as it would by itself, hours later
    at.run(f"until ip addr show eth2 | grep -q {LATE}.77; do sleep 0.1; done")
    at.run(f"ping -c 1 -w 30 -I eth2 {LATE}.1")

    green.wait(green.api.nics.detach(made.nic.id).id)
    at.run("[ ! -e /sys/class/net/eth2 ] && [ -e /sys/class/net/eth1 ]")
    assert len(list(green.api.nics.all(NicQuery(machine=machine)))) == 2
    assert device(NicId(made.nic.id)) not in there.all()


def lies_told_by(cloud: LabCloud, who: Customer, mac: str) -> set[str]:
    """Whose addresses leave the host of a guest that claims two that are not its own, and its own at the end."""
    at = who.at("web")
    with wiretap(cloud, "pod-b", "b1") as tap:
        for lie in (f"{LATE}.200", f"{LATE}.1"):
            at.outcome(
                f"ip addr add {lie}/32 dev eth2; arping -c 1 -w 1 -I eth2 -s {lie} {LATE}.1;"
                f" ip addr del {lie}/32 dev eth2"
            )
        at.run(f"arping -c 1 -w 30 -I eth2 {LATE}.1")
        seen = tap.until(lambda seen: seen.source == mac and sender(seen).endswith(".2"))
    return {sender(each) for each in seen if each.source == mac and each.kind == ARP} - {"0.0.0.0"}
