# ruff: noqa: F811 - fixtures of another module are named as arguments
"""The namespace runtime keeps the contract, and is a router: judged by clients on both sides of it."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from arable.domain.manifest import Direction, FirewallRule, Protocol, PublicPort
from arable.drivers import namespaces
from arable.drivers.appliance import filtering
from arable.drivers.appliance.namespace import (
    APPLIANCE_END,
    NamespaceAppliances,
    mac_of,
)
from arable.runtime.clock import RealClock
from drivers import frames as f
from drivers import make_drivers as make
from drivers import services
from drivers.contract_appliance import ApplianceContract
from drivers.emulated_hosts import (
    Host,
    cabled_hosts,
    configure,
    is_silent,
    reaches,
    run,
)
from drivers.town import PUBLIC, Town
from drivers.town_fixtures import (  # noqa: F401 - fixtures
    WORLD,
    dnsmasq_of,
    hosts,
    runtime,
    town,
    world,
)

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Host]:
    with cabled_hosts(tmp_path_factory.mktemp("a"), 1) as (host,):
        yield host


@pytest.fixture
def routers(machine, tmp_path) -> Iterator[NamespaceAppliances]:
    made = runtime(machine, tmp_path)
    yield made
    for network in made.appliances():
        made.remove(network)
    assert not namespaces.names(made._prefix)
    assert not machine.network.vlans()


class TestNamespaceAppliances(ApplianceContract):
    @pytest.fixture
    def network(self, machine):
        return machine.network

    @pytest.fixture
    def appliances(self, machine, routers):
        self.host = machine
        return routers

    def reopened(self, appliances):
        return NamespaceAppliances(
            appliances._directory, self.host.reopened(), RealClock(), netns=self.host.netns
        )

    def break_a_part(self, appliances, network):
        os.kill(dnsmasq_of(appliances, network), signal.SIGKILL)


# -- what clients on both sides find --------------------------------------------------------------


def test_a_machine_gets_its_lease_and_all_that_goes_with_it(town) -> None:
    guest = town.guest(10, addressed=False)
    town.program(mtu=1400)
    told = services.lease(guest, town.folder, "-O", "mtu")
    assert told["ip"] == "10.1.1.10"
    assert told["subnet"] == "255.255.255.0"
    assert told["router"] == told["dns"] == "10.1.1.1"
    assert told["domain"] == "farm.internal"
    assert told["mtu"] == "1400"
    assert told["hostname"] == "web-10"


def test_a_stranger_gets_no_lease(town) -> None:
    known = town.guest(10, addressed=False)
    stranger = town.guest(11, addressed=False)
    town.leases.pop()
    town.program()
    assert services.lease(known, town.folder)
    assert not services.lease(stranger, town.folder, tries=2)


def test_machines_find_each_other_by_name_and_nobody_can_take_a_name(town) -> None:
    guest = town.guest(10, addressed=False)
    town.guest(11)
    town.program()
    assert services.lease(guest, town.folder, "-x", "hostname:gateway")["ip"] == "10.1.1.10"
    configure(guest, "eth0", "10.1.1.10")
    for name in ("web-11.farm.internal", "WEB-11.farm.internal", "web-11"):
        assert services.ask(guest, "10.1.1.1", name) == services.Answer(0, ("10.1.1.11",))
    assert services.ask(guest, "10.1.1.1", "gateway.farm.internal").code == 3
    assert services.ask(guest, "10.1.1.1", "web-12.farm.internal").code == 3


def test_other_names_are_asked_where_the_wish_says_and_nowhere_else(town, world) -> None:
    guest = town.guest(10)
    town.program()
    assert services.ask(guest, "10.1.1.1", "example.org") == services.Answer(5, ())
    with services.name_server(world, WORLD, "192.0.2.80") as askers:
        town.program(resolvers=(WORLD,))
        assert services.ask(guest, "10.1.1.1", "example.org") == services.Answer(0, ("192.0.2.80",))
        asked = len(askers)
        assert set(askers) == {PUBLIC}
        assert services.ask(guest, "10.1.1.1", "nobody.farm.internal").code == 3
        assert len(askers) == asked  # our own names are nobody else's business


def test_a_machine_reaches_the_world_as_its_networks_public_address(town, world) -> None:
    guest = town.guest(10)
    town.program()
    with services.echo(world, WORLD, 7000) as server:
        assert services.answers(guest, WORLD, 7000)
        assert server.callers == [PUBLIC]
    assert reaches(guest, WORLD)


def test_the_world_reaches_a_machine_through_its_forward_alone(town, world) -> None:
    guest = town.guest(10)
    town.opened()
    with services.echo(guest, "10.1.1.10", 80) as server, services.echo(guest, "10.1.1.10", 81):
        assert services.answers(world, PUBLIC, 8080)
        assert server.callers == [WORLD]
        assert services.is_closed(world, PUBLIC, 8081)
        assert services.is_closed(world, PUBLIC, 80)
        assert is_silent(world, PUBLIC)


def test_a_forward_without_an_opening_stays_shut_and_so_does_the_reverse(town, world) -> None:
    guest = town.guest(10)
    town.opened()
    kept_forwards, kept_firewall = town.wish.forwards, town.wish.firewall
    with services.echo(guest, "10.1.1.10", 80):
        assert services.answers(world, PUBLIC, 8080)
        town.program(firewall=())
        assert services.is_closed(world, PUBLIC, 8080)
        town.program(forwards=(), firewall=kept_firewall)
        assert services.is_closed(world, PUBLIC, 8080)
        town.program(
            forwards=kept_forwards, firewall=(replace(kept_firewall[0], cidr="192.0.2.0/24"),)
        )
        assert services.is_closed(world, PUBLIC, 8080)
        town.program(firewall=kept_firewall)
        assert services.answers(world, PUBLIC, 8080)


def test_a_range_of_ports_leads_to_a_shifted_range(town, world) -> None:
    guest = town.guest(10)
    town.opened(first_port=6000, last_port=6005, to_port=7000)
    town.opened(first_port=5000, last_port=5005, to_port=5000)
    with services.echo(guest, "10.1.1.10", 7003), services.echo(guest, "10.1.1.10", 5004):
        assert services.answers(world, PUBLIC, 6003)
        assert services.answers(world, PUBLIC, 5004)
        assert services.is_closed(world, PUBLIC, 6004)
        assert services.is_closed(world, PUBLIC, 5003)


def test_a_machine_can_call_its_own_networks_public_address(town) -> None:
    guest, neighbour = town.guest(10), town.guest(11)
    town.opened()
    with services.echo(guest, "10.1.1.10", 80):
        assert services.answers(neighbour, PUBLIC, 8080)
        assert services.answers(guest, PUBLIC, 8080)


def test_with_an_outbound_rule_nothing_else_leaves(town, world) -> None:
    guest = town.guest(10)
    rule = FirewallRule(
        direction=Direction.OUT,
        protocol=Protocol.TCP,
        cidr=f"{WORLD}/32",
        first_port=7000,
        last_port=7001,
    )
    town.program(firewall=(rule,))
    with services.echo(world, WORLD, 7000), services.echo(world, WORLD, 7002):
        assert services.answers(guest, WORLD, 7000)
        assert services.is_closed(guest, WORLD, 7002)
        assert is_silent(guest, WORLD)
        town.program(firewall=())
        assert services.answers(guest, WORLD, 7002)


def test_the_world_may_ask_for_an_echo_when_a_rule_says_so(town, world) -> None:
    rule = FirewallRule(
        direction=Direction.IN, protocol=Protocol.ICMP, cidr="0.0.0.0/0", public=PUBLIC
    )
    town.program(firewall=(rule,))
    assert reaches(world, PUBLIC)
    town.program(firewall=())
    assert is_silent(world, PUBLIC)


def test_guests_find_nothing_on_the_router_but_what_it_is_for(town, world) -> None:
    """A forgotten server in the appliance is reachable from nowhere."""
    guest = town.guest(10)
    town.program()
    with services.echo(town.netns, "0.0.0.0", 22):
        assert services.answers(town.netns, "127.0.0.1", 22)
        assert reaches(guest, "10.1.1.1")
        assert services.ask(guest, "10.1.1.1", "web-10").code == 0
        assert services.is_closed(guest, "10.1.1.1", 22)
        assert services.is_closed(guest, PUBLIC, 22)
        assert services.is_closed(world, PUBLIC, 22)
        assert services.is_closed(world, PUBLIC, 53)
        assert is_silent(guest, PUBLIC)


def test_the_private_line_leads_from_the_host_to_the_router_and_not_back(town, hosts) -> None:
    town.program()
    host = hosts[1]
    line = f"r1{town.wish.network[-11:]}"
    assert reaches(host.netns, f"{APPLIANCE_END}%{line}")
    assert is_silent(town.netns, "fe80::1%eth1")
    # A router that was taken over and has no rules any more does not reach its host either.
    assert run(town.netns, ["nft", "flush", "ruleset"]).returncode == 0
    assert reaches(host.netns, f"{APPLIANCE_END}%{line}")
    assert is_silent(town.netns, "fe80::1%eth1")


def test_guests_do_not_reach_the_private_line(town) -> None:
    """IPv4 only, and nothing forwarded: a packet for the host's end dies in the router."""
    guest = town.guest(10)
    town.program()
    ear = f.Wiretap(town.netns, "eth1")
    try:
        target = mac_of(town.wish.network, "eth0")
        with f_socket(guest) as mouth:
            for address in ("169.254.1.1", town.host.management, "127.0.0.1", "224.0.0.1"):
                packet = f.ipv4("10.1.1.10", address, f.UDP, f.udp(1, 22, b"let me in"))
                mouth.send(f.ethernet("02:00:0a:01:01:0a", target, f.IPV4, packet))
        assert reaches(guest, "10.1.1.1")
        while frame := ear.receive(0):
            assert b"let me in" not in frame.payload
    finally:
        ear.close()


@contextmanager
def f_socket(netns: str) -> Iterator[f.Wiretap]:
    wire = f.Wiretap(netns, "eth0")
    try:
        yield wire
    finally:
        wire.close()


class Chatter:
    """A connection that never stops talking, and notices when it is not answered."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.rounds, self.broke = connection, 0, ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        try:
            while not self._stop.is_set():
                assert services.says_back(self.connection, os.urandom(2000))
                self.rounds += 1
        except (OSError, AssertionError) as error:
            self.broke = f"{error!r}"

    def goes_on(self) -> bool:
        """Whether ten more rounds pass."""
        wanted = self.rounds + 10
        make.wait_until(lambda: self.rounds >= wanted or bool(self.broke), "the talk to go on", 60)
        return not self.broke

    def end(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self.connection.close()


def test_connections_survive_every_change_that_still_allows_them(town, world) -> None:
    guest = town.guest(10)
    town.opened()
    with ExitStack() as stack:
        stack.enter_context(services.echo(guest, "10.1.1.10", 80))
        stack.enter_context(services.echo(world, WORLD, 7000))
        inward = Chatter(services.call(world, PUBLIC, 8080))
        outward = Chatter(services.call(guest, WORLD, 7000))
        for chatter in (inward, outward):
            stack.callback(chatter.end)
        process = dnsmasq_of(town.routers, town.wish.network)
        changes: list[Callable[[], None]] = [
            lambda: town.opened(first_port=9000, last_port=9001, to_port=9000),
            lambda: town.program(forwards=town.wish.forwards[:1]),
            lambda: town.leases.append(
                make.lease(town.wish.network, mac="02:00:00:00:00:77", address="10.1.1.77")
            ),
            town.program,
            lambda: town.program(public=replace(town.wish.public, further=("203.0.113.11",))),
            lambda: town.program(public=replace(town.wish.public, further=())),
            lambda: town.program(firewall=town.wish.firewall[:1]),
        ]
        for change in changes:
            change()
            assert inward.goes_on(), inward.broke
            assert outward.goes_on(), outward.broke
        assert dnsmasq_of(town.routers, town.wish.network) == process
        town.program(domain="other.internal")
        assert inward.goes_on()
        assert dnsmasq_of(town.routers, town.wish.network) != process
        anew = NamespaceAppliances(
            town.routers._directory, town.routers._network, RealClock(), netns=town.routers._netns
        )
        anew.ensure(town.wish, town.leases)
        assert inward.goes_on()
        assert outward.goes_on()


def test_a_connection_ends_when_its_rule_is_taken_back(town, world) -> None:
    guest = town.guest(10)
    town.opened()
    town.opened(first_port=8081, last_port=8081)
    with services.echo(guest, "10.1.1.10", 80):
        kept, lost = (services.call(world, PUBLIC, port) for port in (8080, 8081))
        with kept, lost:
            assert services.says_back(kept)
            assert services.says_back(lost)
            town.program(forwards=town.wish.forwards[:1], firewall=town.wish.firewall[:1])
            assert services.says_back(kept)
            lost.settimeout(3)
            lost.sendall(b"still there?")
            with pytest.raises(OSError):
                lost.recv(100)


def test_a_new_machine_is_known_without_a_restart_and_a_removed_one_forgotten(town) -> None:
    first, second = (town.guest(n, addressed=False) for n in (10, 11))
    newcomer = town.leases.pop()
    town.program()
    process = dnsmasq_of(town.routers, town.wish.network)
    assert services.lease(first, town.folder)["ip"] == "10.1.1.10"
    configure(first, "eth0", "10.1.1.10")
    assert services.ask(first, "10.1.1.1", "web-11").addresses == ()
    town.leases.append(newcomer)
    town.program()
    make.wait_until(
        lambda: services.ask(first, "10.1.1.1", "web-11").addresses == ("10.1.1.11",), "the name"
    )
    assert services.lease(second, town.folder)["ip"] == "10.1.1.11"
    town.leases.pop()
    town.program()
    make.wait_until(
        lambda: services.ask(first, "10.1.1.1", "web-11").addresses == (), "the name to go"
    )
    assert not services.lease(second, town.folder, tries=2)
    assert dnsmasq_of(town.routers, town.wish.network) == process


def test_an_address_that_changes_hands_is_given_to_its_new_owner_at_once(town) -> None:
    old = town.guest(10, addressed=False)
    town.program()
    assert services.lease(old, town.folder)["ip"] == "10.1.1.10"
    town.leases.clear()
    new = town.guest(10, addressed=False, mac="02:00:0a:01:01:ff")
    town.program()
    assert services.lease(new, town.folder)["ip"] == "10.1.1.10"


def test_a_further_public_address_is_announced_and_answered_for(town, world) -> None:
    guest = town.guest(10)
    town.program()
    ear = f.Wiretap(world, "eth0")
    further = "203.0.113.77"
    try:
        town.program(public=replace(town.wish.public, further=(further,)))
        announced = f.arp(1, mac_of(town.wish.network, "eth2"), further, further, f.BROADCAST)
        ear.until(lambda frame: frame.payload.startswith(announced))
    finally:
        ear.close()
    town.opened(public=further)
    with services.echo(guest, "10.1.1.10", 80):
        assert services.answers(world, further, 8080)
        assert services.is_closed(world, PUBLIC, 8080)
    kept = town.wish.public
    town.program(public=replace(kept, further=()), forwards=(), firewall=())
    assert is_silent(world, further)


def test_a_router_that_nobody_can_end_gives_way_to_the_one_that_takes_its_place(
    town, hosts, world, tmp_path
) -> None:
    """Its host was given up, and yet it runs: no agent is there that could be told."""
    guest = town.guest(10)
    town.opened()
    old = namespaces.inode(town.netns)
    with services.echo(guest, "10.1.1.10", 80):
        assert services.answers(world, PUBLIC, 8080)
        heir = runtime(hosts[0], tmp_path / "heir")
        heir.ensure(replace(town.wish, epoch=1), town.leases)
        try:
            assert services.answers(world, PUBLIC, 8080)
            assert filtering.yielded(town.netns)
            assert not filtering.yielded(heir.namespace(town.wish.network))
            for _ in range(3):  # whatever the old one is made to do, it answers nobody
                town.routers.announce()
                heir.announce()
                assert reaches(guest, "10.1.1.1")
                assert services.answers(world, PUBLIC, 8080)
            assert namespaces.inode(town.netns) == old
        finally:
            heir.remove(town.wish.network)
        assert is_silent(guest, "10.1.1.1"), "the old one answers again"


def test_two_customers_with_the_same_addresses_have_routers_of_their_own(
    hosts, world, town
) -> None:
    mine = town.guest(10)
    town.program()
    other = Town(town.host, town.routers, town.folder, town.stack)
    public = PublicPort(vlan=50, address="203.0.113.20", prefix=24, gateway="203.0.113.1")
    other.wish = replace(other.wish, vlan=102, public=public)
    town.stack.callback(town.routers.remove, other.wish.network)
    theirs = other.guest(10)
    other.leases[-1] = replace(other.leases[-1], name="theirs")
    other.program()
    with services.echo(world, WORLD, 7000) as server:
        assert services.answers(mine, WORLD, 7000)
        assert services.answers(theirs, WORLD, 7000)
        assert server.callers == [PUBLIC, "203.0.113.20"]
    assert services.ask(mine, "10.1.1.1", "web-10").code == 0
    assert services.ask(mine, "10.1.1.1", "theirs.farm.internal").code == 3
    assert services.ask(theirs, "10.1.1.1", "theirs").addresses == ("10.1.1.10",)
    town.routers.remove(other.wish.network)
    assert services.ask(mine, "10.1.1.1", "web-10").addresses == ("10.1.1.10",)
