"""Two customers with the same addresses, on the same hosts and wires: each has a network of its own all the same."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from arable.drivers.namespaces import inside
from arable.lab import look
from arable.wire.rules import FirewallIn, ForwardIn
from drivers.frames import ARP, IPV4, Seen, Wiretap
from e2e.customers import ONLY_BLUES, Customer
from e2e.guest_terminal import Terminal
from e2e.lab_cloud import LabCloud
from e2e.patience import until
from lab.lab_traffic import reaches

pytestmark = pytest.mark.real

OUTSIDE = "http://198.51.100.1/"
GATEWAY = "10.1.1.1"
FOREIGN = "10.1.1.200"  # nobody was given this one
FOREIGN_MAC = "0a:de:ad:be:ef:01"


@pytest.fixture(scope="module", autouse=True)
def _lines_of_their_own(red: Customer, blue: Customer) -> None:
    """Terminals that others left open may have ended since, with an agent or a server that was killed."""
    for who in (red, blue):
        who.hang_up()


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
    at.run(f"ping -c 1 -W 1 {ONLY_BLUES}", fails=True)
    at.run(f"arping -I eth0 -c 1 -w 1 {ONLY_BLUES}", fails=True)
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


def heard_of_host(
    cloud: LabCloud, red: Customer, name: str, partner: str, *, prepare: str, lie: str, undo: str
) -> list[Seen]:
    """All that leaves the machine's host, from before the guest lies up to an honest word to its partner that follows.

    Not a word to the gateway: a guest that just claimed to be that may still answer itself.
    """
    host = cloud.whereabouts()[name]
    mac, at = red.machine(name).nics[0].mac, red.at(name)
    with wiretap(cloud, f"pod-{host[0]}", host) as tap:
        at.run(prepare)
        try:
            at.outcome(lie)
        finally:
            at.run(undo)
        at.run(f"ping -c 1 -w 30 -s 777 {red.address(partner)}")
        return tap.until(lambda seen: seen.source == mac and len(seen.payload) == 777 + 28)


def sender(seen: Seen) -> str:
    """Whose address a packet bears."""
    if seen.kind == ARP:
        return socket.inet_ntoa(seen.payload[14:18])
    return socket.inet_ntoa(seen.payload[12:16]) if seen.kind == IPV4 else ""


LIES = [
    pytest.param("ping -c 1 -W 1 -I {foreign} {partner}", id="packets"),
    pytest.param("arping -c 1 -w 1 -I eth0 -s {foreign} {partner}", id="arp questions"),
    pytest.param("arping -A -c 1 -w 1 -I eth0 -s {foreign} {foreign}", id="arp answers"),
]


@pytest.fixture
def far(cloud: LabCloud, red: Customer) -> tuple[str, str]:
    """The machine whose way to the appliance leads over the trunk, and its partner."""
    where = cloud.whereabouts()
    names = sorted(red.machines(), key=lambda name: where[name])
    return names[1], names[0]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("foreign", [FOREIGN, GATEWAY])
def test_a_machine_can_not_speak_for_an_address_it_was_not_given(
    cloud: LabCloud, red: Customer, far: tuple[str, str], lie: str, foreign: str
) -> None:
    name, partner = far
    heard = heard_of_host(
        cloud,
        red,
        name,
        partner,
        prepare=f"ip addr add {foreign}/32 dev eth0",
        lie=lie.format(foreign=foreign, partner=red.address(partner)),
        undo=f"ip addr del {foreign}/32 dev eth0",
    )
    from_guest = [seen for seen in heard if seen.source == red.machine(name).nics[0].mac]
    assert red.address(name) in {sender(seen) for seen in from_guest}
    assert foreign not in {sender(seen) for seen in from_guest}


def test_a_machine_can_not_speak_with_another_mac(
    cloud: LabCloud, red: Customer, far: tuple[str, str]
) -> None:
    name, partner = far
    mac = red.machine(name).nics[0].mac
    heard = heard_of_host(
        cloud,
        red,
        name,
        partner,
        prepare=f"ip link set eth0 address {FOREIGN_MAC}",
        lie=f"ping -c 1 -W 1 {red.address(partner)}; arping -c 1 -w 2 -I eth0 {GATEWAY}",
        undo=f"ip link set eth0 address {mac}",
    )
    macs = {seen.source for seen in heard}
    assert mac in macs
    assert FOREIGN_MAC not in macs
    asked = [seen for seen in heard if seen.kind == ARP]
    assert FOREIGN_MAC not in {seen.payload[8:14].hex(":") for seen in asked}


# -- the way out, and in --------------------------------------------------------------------------------------------


def test_each_network_goes_out_with_its_own_public_address(red: Customer, blue: Customer) -> None:
    for at, network in ((red.at("red-1"), red.network()), (blue.at("right"), blue.network())):
        told = json.loads(at.run(f"wget -q -O - {OUTSIDE}"))
        assert told["caller"] == network.source_nat


def test_nobody_gets_in_without_a_rule(cloud: LabCloud, blue: Customer) -> None:
    public = blue.network().source_nat
    assert public
    assert reaches(cloud.site, "internet", public, 80) == ""
    assert reaches(cloud.site, "internet", public, 22) == ""
    assert reaches(cloud.site, "internet", "203.0.113.1", 80) != ""  # the question itself works


@pytest.fixture
def way(red: Customer) -> Iterator[str]:
    """A public address of red's that leads to red-2."""
    address, rule = red.open_way("red-2")
    yield address
    red.wait(red.api.rules.delete(rule.id).id)


def test_a_forward_leads_from_the_internet_to_the_machine(
    cloud: LabCloud, way: str, red: Customer, blue: Customer
) -> None:
    told = look.fetch(cloud.site, f"http://{way}/").text.splitlines()
    assert told[:2] == ["hostname=red-2", f"ip={red.address('red-2')}"]
    public = blue.network().source_nat
    assert public
    assert reaches(cloud.site, "internet", public, 80) == ""


def test_a_change_of_rules_leaves_connections_alone(
    cloud: LabCloud, way: str, red: Customer
) -> None:
    with half_a_question(cloud, way) as line:
        public = next(one.id for one in red.api.addresses.all() if one.address == way)
        other = red.api.rules.firewall(FirewallIn(address=public, protocol="icmp"))
        red.wait(other.operation)
        machine = red.machine("red-1").id
        more = red.api.rules.forward(
            ForwardIn(address=public, first_port=8022, machine=machine, to_port=22, open=True)
        )
        red.wait(more.operation)
        assert ssh_greets(cloud, way, 8022)
        red.wait(*[red.api.rules.delete(made.rule.id).id for made in (other, more)])
        until(lambda: not ssh_greets(cloud, way, 8022), "the rules are gone")
        line.sendall(b"\r\n")
        told = line.recv(4096)
        while piece := line.recv(4096):
            told += piece
    assert b"hostname=red-2" in told


@contextmanager
def half_a_question(cloud: LabCloud, address: str) -> Iterator[socket.socket]:
    """A connection to a web server that waits for the rest."""

    def ask() -> socket.socket:
        line = socket.create_connection((address, 80), timeout=60)
        line.sendall(b"GET / HTTP/1.0\r\n")
        return line

    with inside(cloud.netns("internet"), ask) as line:
        yield line


def ssh_greets(cloud: LabCloud, address: str, port: int) -> bool:
    def ask() -> bool:
        try:
            with socket.create_connection((address, port), timeout=2) as line:
                line.settimeout(30)
                return line.recv(64).startswith(b"SSH-2.0")
        except ConnectionRefusedError:
            return False
        except TimeoutError:
            return False

    return inside(cloud.netns("internet"), ask)
