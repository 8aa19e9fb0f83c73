# ruff: noqa: F811 - fixtures of another module are named as arguments
"""Two appliances of one network on two hosts: one leads, the other follows and takes its place, and nothing is answered twice."""

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pyroute2 import Conntrack

from arable.domain.pair import Pair
from arable.drivers import namespaces
from arable.drivers.appliance import filtering, jail
from arable.drivers.appliance.namespace import NamespaceAppliances, mac_of, nic
from arable.runtime.clock import RealClock
from drivers import frames as f
from drivers import make_drivers as make
from drivers import services
from drivers.emulated_hosts import reaches
from drivers.test_namespace_ipv6 import GATEWAY, NET, UPSTREAM, dual, way_out  # noqa: F401 - fixture
from drivers.town import PUBLIC, Town
from drivers.town_fixtures import hosts, runtime, town, world  # noqa: F401 - fixtures

pytestmark = pytest.mark.real


class Two:
    """The router of a town on its own host, the other one where its guests are."""

    def __init__(self, town: Town, other: NamespaceAppliances) -> None:
        self.town, self.both = town, (town.routers, other)
        self.network = town.wish.network

    def program(self, which: int) -> None:
        wish = replace(self.town.wish, pair=Pair(number=1 + which, other=2 - which))
        self.both[which].ensure(wish, self.town.leases)

    def leading(self) -> list[int]:
        """Those that lead, by their own word."""
        for one in self.both:
            one.announce()
        seen = [one.appliances().get(self.network) for one in self.both]
        return [at for at, one in enumerate(seen) if one and one.running and not one.standby]

    def led_by(self, which: int) -> None:
        make.wait_until(lambda: self.leading() == [which], f"number {which} to lead alone", 60)

    def hears_of(self, port: int) -> bool:
        self.both[0].announce()
        return knows(self.netns(1), port)

    def hears_of6(self, port: int) -> bool:
        self.both[0].announce()
        return knows(self.netns(1), port, socket.AF_INET6)

    def netns(self, which: int) -> str:
        return self.both[which].namespace(self.network)

    def die(self, which: int) -> None:
        """Its host loses power: nothing of it sends another frame."""
        for end in ("e0", "e2"):
            self.both[which]._network.remove(nic(self.network, end))
        for pid in namespaces.inhabitants(self.netns(which)):
            os.kill(pid, signal.SIGKILL)
        namespaces.remove(self.netns(which))

    def keepalived(self, which: int) -> list[int]:
        return jail.running(self.netns(which), "keepalived")


@pytest.fixture
def two(town, hosts, tmp_path) -> Iterator[Two]:
    other = runtime(hosts[0], tmp_path / "other")
    made = Two(town, other)
    yield made
    for pid in (p for at in (0, 1) for p in made.keepalived(at)):
        os.kill(pid, signal.SIGCONT)
    other.remove(made.network)


def knows(netns: str, port: int, family: int = socket.AF_INET) -> bool:
    """Whether that kernel knows of a connection to a port."""

    def look() -> bool:
        with Conntrack(nfgen_family=family) as table:
            return any(entry.tuple_orig.dport == port for entry in table.dump_entries())

    return namespaces.inside(netns, look)


def test_when_the_one_that_leads_dies_connections_go_on_through_the_other(two, world) -> None:
    guest, clock = two.town.guest(10), RealClock()
    two.town.opened()
    two.program(0)
    two.led_by(0)
    with services.echo(guest, "10.1.1.10", 80):
        talk = services.call(world, PUBLIC, 8080, 60)
        with talk:
            assert services.says_back(talk)
            two.program(1)
            two.led_by(0)
            assert reaches(guest, "10.1.1.1")
            make.wait_until(lambda: two.hears_of(8080), "the other one to hear of it", 60)
            two.die(0)
            begun = clock.monotonic()
            assert services.says_back(talk, b"still there?")
            gone = clock.monotonic() - begun
        assert services.answers(world, PUBLIC, 8080)
    two.led_by(1)
    assert reaches(guest, "10.1.1.1")
    print(f"an established connection stood still for {gone:.2f} s")


def test_one_whose_election_froze_gives_way_and_stands_by_from_then_on(two, world) -> None:
    guest = two.town.guest(10)
    two.town.opened()
    two.program(0)
    two.led_by(0)
    two.program(1)
    two.led_by(0)
    for pid in two.keepalived(0):
        os.kill(pid, signal.SIGSTOP)
    other = two.both[1]

    def took_over() -> bool:
        other.announce()
        return not other.appliances()[two.network].standby

    make.wait_until(took_over, "the other one to lead", 60)
    other.announce()
    assert filtering.yielded(two.netns(0)), "two lead"
    with services.echo(guest, "10.1.1.10", 80):
        assert services.answers(world, PUBLIC, 8080)
        for pid in two.keepalived(0):
            os.kill(pid, signal.SIGCONT)
        two.led_by(1)
        assert not filtering.yielded(two.netns(0)), "it could never lead again"
        assert services.answers(world, PUBLIC, 8080)
        two.die(1)
        two.led_by(0)
        assert services.answers(world, PUBLIC, 8080)


def test_a_guest_has_no_word_in_the_election(two) -> None:
    guest = two.town.guest(10)
    two.program(0)
    two.led_by(0)
    two.program(1)
    forged = bytes((0x31, 51, 255, 1, 0, 50)) + bytes(2) + bytes((10, 1, 1, 1))
    wire = f.Wiretap(guest, "eth0")
    try:
        for source, mac in (
            ("10.1.1.10", "02:00:0a:01:01:0a"),
            ("169.254.80.2", mac_of(two.network, "eth0")),
        ):
            packet = f.ipv4(source, "224.0.0.18", 112, forged)
            for _ in range(20):
                wire.send(f.ethernet("01:00:5e:00:00:12", mac, 0x0800, packet))
    finally:
        wire.close()
    two.led_by(0)
    assert reaches(guest, "10.1.1.1")


def test_by_ipv6_connections_go_on_too_and_only_one_is_heard(two, dual, world) -> None:
    guest, _other = dual
    two.town.wish = replace(two.town.wish, ipv6=NET)
    two.program(0)
    two.led_by(0)
    two.program(1)
    two.led_by(0)
    assert reaches(guest, GATEWAY)
    with services.echo(world, UPSTREAM, 8081):
        talk = services.call(guest, UPSTREAM, 8081, 60)
        with talk:
            assert services.says_back(talk)
            make.wait_until(lambda: two.hears_of6(8081), "the other one to hear of it", 60)
            two.die(0)
            assert services.says_back(talk, b"still there?")
        assert services.answers(guest, UPSTREAM, 8081)
    two.led_by(1)
    assert reaches(guest, GATEWAY)
    assert way_out(guest), "the other one's advertisements say another way"
