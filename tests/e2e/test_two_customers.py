"""Two customers with the same addresses, on the same hosts and wires: each has a network of its own all the same."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from arable.drivers.namespaces import inside
from arable.lab import look
from arable.wire.networks import NetworkOut
from arable.wire.rules import FirewallIn, ForwardIn
from drivers.frames import ARP, IPV4, Seen, Wiretap
from e2e.conftest import ONLY_BLUES
from e2e.customers import Customer
from e2e.guest_terminal import Terminal
from e2e.lab_cloud import LabCloud
from e2e.patience import until
from lab.lab_traffic import reaches

pytestmark = pytest.mark.real

OUTSIDE = "http://198.51.100.1/"
GATEWAY = "10.1.1.1"
FOREIGN = "10.1.1.200"  # nobody was given this one
FOREIGN_MAC = "0a:de:ad:be:ef:01"


def page(at: Terminal, url: str) -> list[str]:
    """What a machine's web server says to another machine."""
    return at.run(f"wget -q -O - {url}").splitlines()


@contextmanager
def wiretap(cloud: LabCloud, device: str, interface: str) -> Iterator[Wiretap]:
    tap = Wiretap(cloud.netns(device), interface)
    try:
        yield tap
    finally:
        tap.close()


def test_their_machines_share_hosts_and_addresses(
    cloud: LabCloud, red: Customer, blue: Customer
) -> None:
    pods = {pod.id: pod.name for pod in cloud.operator.pods.all()}
    assert {host.name: pods[host.pod] for host in cloud.operator.hosts.all()} == {
        "a1": "pod-a",
        "b1": "pod-b",
    }
    where = cloud.whereabouts()
    assert {where["red-1"], where["red-2"]} == {"a1", "b1"}
    assert (where["left"], where["right"]) == ("a1", "b1")
    networks = [red.network(), blue.network()]
    assert {network.cidr for network in networks} == {"10.1.1.0/24"}
    assert len({cloud.vlan(network.id) for network in networks}) == 2
    assert blue.address("left") == red.address("red-1") == "10.1.1.2"


def test_a_machine_reaches_its_partner_in_the_other_pod(red: Customer, blue: Customer) -> None:
    assert page(red.at("red-1"), f"http://{red.address('red-2')}/")[0] == "hostname=red-2"
    assert page(red.at("red-2"), f"http://{red.address('red-1')}/")[0] == "hostname=red-1"
    assert page(blue.at("left"), f"http://{ONLY_BLUES}/")[0] == "hostname=right"
    assert page(blue.at("right"), "http://10.1.1.2/")[0] == "hostname=left"


def test_names_lead_to_the_customers_own_machines(red: Customer, blue: Customer) -> None:
    assert page(red.at("red-1"), "http://red-2/")[0] == "hostname=red-2"
    assert page(blue.at("left"), "http://right.internal/")[0] == "hostname=right"
    assert "10.1.1.2" in blue.at("right").run("nslookup left")
    red.at("red-1").run("nslookup right", fails=True)
    blue.at("left").run("nslookup red-2", fails=True)


def test_a_machine_reaches_nothing_of_the_other_customer(red: Customer, blue: Customer) -> None:
    at = red.at("red-1")
    at.run(f"ping -c 2 -w 3 {ONLY_BLUES}", fails=True)
    at.run(f"arping -I eth0 -c 2 -w 3 {ONLY_BLUES}", fails=True)
    assert red.network().source_nat != blue.network().source_nat
    at.run(f"ping -c 1 -w 20 {red.address('red-2')}")
    # The same question from where the address belongs has an answer, so silence means something.
    blue.at("left").run(f"arping -I eth0 -c 2 -w 20 {ONLY_BLUES}")


def test_the_trunk_carries_each_customers_tag(
    cloud: LabCloud, red: Customer, blue: Customer
) -> None:
    tags = {
        nic.mac: cloud.vlan(who.network().id)
        for who in (red, blue)
        for machine in who.machines().values()
        for nic in machine.nics
    }
    with wiretap(cloud, "pod-a", "up0") as trunk:
        red.at("red-1").run("ping -c 2 red-2")
        blue.at("left").run("ping -c 2 right")
        waiting = set(tags)
        heard: list[Seen] = []
        while waiting:
            heard += trunk.until(lambda seen: seen.source in waiting and seen.kind == IPV4)
            waiting.discard(heard[-1].source)
    between = [seen for seen in heard if seen.source in tags or seen.target in tags]
    assert len(between) >= len(tags)
    for seen in between:
        assert seen.tag == tags.get(seen.source, seen.tag), seen
        assert seen.tag == tags.get(seen.target, seen.tag), seen


# -- lies -----------------------------------------------------------------------------------------------------------


def heard_of_host(cloud: LabCloud, tap: Wiretap, guest: Terminal, mac: str, lie: str) -> list[Seen]:
    """All that leaves the host while the guest lies, up to an honest word that follows."""
    guest.run("ip neigh flush dev eth0; ping -c 1 -w 30 red-2 || ping -c 1 -w 30 right")
    guest.outcome(lie)
    honest = "ping -c 1 -w 30 -s 777 10.1.1.1"
    guest.run(honest)
    return tap.until(lambda seen: seen.source == mac and len(seen.payload) == 777 + 28)


def sender(seen: Seen) -> str:
    """Who says to have sent a packet."""
    if seen.kind == ARP:
        return socket.inet_ntoa(seen.payload[14:18])
    return socket.inet_ntoa(seen.payload[12:16]) if seen.kind == IPV4 else ""


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(f"ping -c 2 -w 3 -I {FOREIGN} {{partner}}", id="packets"),
        pytest.param(f"arping -c 2 -w 3 -I eth0 -s {FOREIGN} {{partner}}", id="arp questions"),
        pytest.param(f"arping -A -c 2 -w 3 -I eth0 -s {FOREIGN} {FOREIGN}", id="arp answers"),
    ],
)
def test_a_machine_can_not_send_with_an_address_it_was_not_given(
    cloud: LabCloud, red: Customer, lie: str
) -> None:
    name, partner = on(cloud, red, "b1"), on(cloud, red, "a1")
    at = red.at(name)
    mac = red.machine(name).nics[0].mac
    at.run(f"ip addr add {FOREIGN}/32 dev eth0")
    try:
        with wiretap(cloud, "pod-b", "b1") as tap:
            heard = heard_of_host(cloud, tap, at, mac, lie.format(partner=red.address(partner)))
    finally:
        at.run(f"ip addr del {FOREIGN}/32 dev eth0")
    assert FOREIGN not in {sender(seen) for seen in heard}
    assert red.address(name) in {sender(seen) for seen in heard}
