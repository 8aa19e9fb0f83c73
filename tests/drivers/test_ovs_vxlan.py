"""What the Open vSwitch driver does between hosts with VXLAN: isolation by VNI, judged by frames on real switches."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pytest

from arable.drivers.network.links import Links
from arable.drivers.network.protocol import Port, Reach
from drivers import frames as f
from drivers import make_drivers as make
from drivers.emulated_hosts import Host, bound, cabled_hosts, is_silent, reaches, run, station

pytestmark = pytest.mark.real

RED, BLUE = 70_001, 16_000_000
MTU = 1450
_HEADERS = 20 + 8 + 8  # outer IPv4 and UDP, VXLAN


@dataclass(frozen=True)
class Wrapped:
    """A frame within VXLAN."""

    vni: int
    sender: str
    target: str
    inner: bytes

    @property
    def inner_target(self) -> str:
        return self.inner[:6].hex(":")


def unwrapped(seen: f.Seen) -> Wrapped | None:
    """What VXLAN carries in a frame of the underlay."""
    packet = seen.payload
    if seen.kind != f.IPV4 or packet[9] != f.UDP or packet[22:24] != (4789).to_bytes(2):
        return None
    ends = [".".join(map(str, packet[at : at + 4])) for at in (12, 16)]
    assert packet[28] == 0x08, "its VNI counts"
    return Wrapped(int.from_bytes(packet[32:35]), *ends, packet[_HEADERS:])


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[list[Host]]:
    with cabled_hosts(tmp_path_factory.mktemp("o")) as hosts:
        yield hosts


@contextmanager
def joined(pair: list[Host], *vnis: int) -> Iterator[None]:
    """Both hosts know that the other one has these VNIs."""
    here, there = pair
    for vni in vnis:
        here.network.reach(Reach(vni, frozenset({there.management}), MTU))
        there.network.reach(Reach(vni, frozenset({here.management}), MTU))
    try:
        yield
    finally:
        for host in pair:
            for vni in vnis:
                host.network.unreach(vni)


def guest(vni: int, last: int, **but: object) -> Port:
    mac = f"02:00:00:{vni % 251:02x}:01:{last:02x}"
    return make.tap(vlan=vni, address=f"10.1.1.{last}", mac=mac, **but)


def test_customers_with_the_same_addresses_meet_their_own_and_the_wire_has_their_vnis(pair) -> None:
    here, there = pair
    plans = [
        (here, guest(RED, 11)),
        (there, guest(RED, 12)),
        (here, guest(BLUE, 11)),
        (there, guest(BLUE, 12)),
        (there, guest(BLUE, 99)),
    ]
    with joined(pair, RED, BLUE), ExitStack() as stack:
        ends = [stack.enter_context(station(host, port)) for host, port in plans]
        wire = f.Wiretap(here.netns, "up0")
        stack.callback(wire.close)
        one, _, other, *_ = ends
        for client, vni, mac in ((one, RED, plans[1][1].mac), (other, BLUE, plans[3][1].mac)):
            assert reaches(client, "10.1.1.12")
            seen = wire.until(
                lambda frame, mac=mac: (
                    (it := unwrapped(frame)) is not None and it.inner_target == mac
                )
            )
            carried = unwrapped(seen[-1])
            assert carried is not None
            assert (carried.vni, seen[-1].tag) == (vni, None)
            assert (carried.sender, carried.target) == (here.management, there.management)
        assert reaches(other, "10.1.1.99")
        assert is_silent(one, "10.1.1.99")
        assert reaches(one, "10.1.1.12")
    for host in pair:
        assert host.network.vlans() == frozenset()
        assert not host.network.reaches()
        assert not [name for name in Links(host.netns).all() if name.startswith("vx")]


def test_guests_of_one_host_meet_their_own_without_a_word_on_the_wire(pair) -> None:
    here, _ = pair
    with ExitStack() as stack:
        near = stack.enter_context(station(here, guest(RED, 11)))
        stack.enter_context(station(here, guest(RED, 12)))
        foreign = stack.enter_context(station(here, guest(BLUE, 13)))
        wire = f.Wiretap(here.netns, "up0")
        stack.callback(wire.close)
        assert reaches(near, "10.1.1.12")
        assert is_silent(near, "10.1.1.13")
        assert is_silent(foreign, "10.1.1.12")
        assert reaches(here.netns, pair[1].management)  # which is on the wire, after all that
        seen = wire.until(lambda frame: frame.kind == f.IPV4)
        assert not [frame for frame in seen if unwrapped(frame)]


def test_what_was_sent_to_one_guest_reaches_no_other_of_its_network(pair) -> None:
    here, there = pair
    one, two, third = guest(RED, 11), guest(RED, 12), guest(RED, 13)
    with joined(pair, RED), ExitStack() as stack:
        sender = stack.enter_context(station(here, one))
        stack.enter_context(station(there, two))
        there.network.ensure(third)
        stack.callback(there.network.remove, third.nic)
        ear = f.GuestEnd(there.netns, third.device)
        stack.callback(ear.close)
        assert reaches(sender, two.address)
        wire = f.Wiretap(there.netns, "up0")
        stack.callback(wire.close)
        assert reaches(sender, two.address)
        mouth = bound(sender, ("0.0.0.0", 0), f.socket.SOCK_DGRAM)
        mouth.setsockopt(f.socket.SOL_SOCKET, f.socket.SO_BROADCAST, 1)
        stack.callback(mouth.close)
        mouth.sendto(b"to all", ("10.1.1.255", 9))
        heard = ear.until(lambda frame: b"to all" in frame.payload)
        assert not [frame for frame in heard if frame.target == two.mac]


def test_nobody_is_sent_anything_who_does_not_have_the_network(pair) -> None:
    here, there = pair
    with ExitStack() as stack:
        sender = stack.enter_context(station(here, guest(RED, 11)))
        wire = f.Wiretap(here.netns, "up0")
        stack.callback(wire.close)
        assert is_silent(sender, "10.1.1.12")
        assert reaches(here.netns, there.management)
        seen = wire.until(lambda frame: frame.kind == f.IPV4)
        assert not [frame for frame in seen if unwrapped(frame)]


def test_what_comes_from_a_host_that_was_not_named_is_not_taken_in(pair) -> None:
    here, there = pair
    with ExitStack() as stack:
        stack.enter_context(station(there, guest(RED, 12)))
        sender = stack.enter_context(station(here, guest(RED, 11)))
        here.network.reach(Reach(RED, frozenset({there.management}), MTU))
        there.network.reach(Reach(RED, frozenset({"172.31.0.77"}), MTU))
        stack.callback(here.network.unreach, RED)
        stack.callback(there.network.unreach, RED)
        wire = f.Wiretap(there.netns, "up0")
        stack.callback(wire.close)
        assert is_silent(sender, "10.1.1.12")
        assert wire.until(lambda frame: unwrapped(frame) is not None)  # it did come
        there.network.reach(Reach(RED, frozenset({here.management}), MTU))
        assert reaches(sender, "10.1.1.12")


def test_guests_of_a_vni_reach_neither_hosts_nor_the_wire_beside_their_tunnel(pair) -> None:
    here, there = pair
    near = replace(guest(RED, 50), address="172.31.0.50")
    far = replace(guest(RED, 51), address="172.31.0.51")
    tagged = guest(RED, 52)
    with joined(pair, RED), station(here, near) as end, station(there, far) as other:
        assert reaches(end, far.address)
        for address in (here.management, there.management):
            assert is_silent(end, address)
            assert is_silent(other, address)
        assert is_silent(here.netns, near.address)
        here.network.ensure(tagged)
        wire = f.Wiretap(here.netns, "up0")
        mouth = f.GuestEnd(here.netns, tagged.device)
        try:
            packet = f.ipv4(tagged.address, "10.1.1.255", f.UDP, f.udp(1, 1, b"tagged"))
            mouth.send(f.ethernet(tagged.mac, f.BROADCAST, f.IPV4, packet, (101,)))
            packet = f.ipv4(tagged.address, "10.1.1.255", f.UDP, f.udp(1, 1, b"plain"))
            mouth.send(f.ethernet(tagged.mac, f.BROADCAST, f.IPV4, packet))
            seen = wire.until(lambda frame: b"plain" in frame.payload)
            assert not [frame for frame in seen if b"tagged" in frame.payload]
            assert {it.vni for frame in seen if (it := unwrapped(frame))} == {RED}
        finally:
            mouth.close()
            wire.close()
            here.network.remove(tagged.nic)


def test_what_does_not_fit_is_not_sent_in_pieces(pair) -> None:
    with joined(pair, RED), ExitStack() as stack:
        one = stack.enter_context(station(pair[0], guest(RED, 11)))
        stack.enter_context(station(pair[1], guest(RED, 12)))
        for fits, size in ((True, MTU - 28), (False, MTU - 28 + 1)):
            words = ["busybox", "ping", "-c", "1", "-w", "10" if fits else "1", "-s", str(size)]
            assert (run(one, [*words, "10.1.1.12"]).returncode == 0) is fits


def test_a_switch_that_died_and_a_tunnel_that_was_removed_are_repaired(pair) -> None:
    here, there = pair
    port, partner = guest(RED, 11), guest(RED, 12)
    with joined(pair, RED), station(there, partner), station(here, port) as end:
        assert reaches(end, partner.address)
        for harm in (
            lambda: Links(here.netns).remove(f"vx{RED}"),
            lambda: (here.daemon.kill_switch(), here.daemon.start()),
        ):
            harm()
            anew = here.reopened()
            make.wait_until(lambda anew=anew: not anew.ports(), "the loss to be seen")
            anew.ensure(replace(port, peer=""))
            assert port.nic in anew.ports()
            assert anew.reaches()[RED].hosts == {there.management}
            assert reaches(end, partner.address)
