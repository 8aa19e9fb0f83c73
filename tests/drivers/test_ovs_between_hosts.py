"""What the Open vSwitch driver does between hosts: isolation by 802.1Q, and limits, judged by frames on real switches.

The driver's contract, and what it does on one host, is in `test_ovs.py`.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from arable.runtime.clock import RealClock
from drivers import frames as f
from drivers import make_drivers as make
from drivers.emulated_hosts import (
    Host,
    bound,
    cabled_hosts,
    configure,
    is_silent,
    reaches,
    station,
)

pytestmark = pytest.mark.real

STRANGER_MAC = "02:00:0a:01:01:63"


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[list[Host]]:
    with cabled_hosts(tmp_path_factory.mktemp("o")) as hosts:
        yield hosts


def test_customers_with_the_same_addresses_meet_their_own_across_the_trunk(pair) -> None:
    here, there = pair
    plans = [
        (here, 101, "10.1.1.11", "02:00:00:00:01:11"),
        (there, 101, "10.1.1.12", "02:00:00:00:01:12"),
        (here, 102, "10.1.1.11", "02:00:00:00:02:11"),
        (there, 102, "10.1.1.12", "02:00:00:00:02:12"),
        (there, 102, "10.1.1.99", "02:00:00:00:02:99"),
    ]
    with ExitStack() as stack:
        ends = [
            stack.enter_context(station(host, make.tap(vlan=vlan, address=address, mac=mac)))
            for host, vlan, address, mac in plans
        ]
        wire = f.Wiretap(here.netns, "up0")
        stack.callback(wire.close)
        one, _, other, *_ = ends
        tags = {}
        for client, mac in ((one, "02:00:00:00:01:12"), (other, "02:00:00:00:02:12")):
            assert reaches(client, "10.1.1.12")
            echoes = wire.until(
                lambda frame, mac=mac: frame.target == mac and frame.payload[9:10] == b"\x01"
            )
            tags[mac] = echoes[-1].tag
        assert tags == {"02:00:00:00:01:12": 101, "02:00:00:00:02:12": 102}
        assert reaches(other, "10.1.1.99")
        assert is_silent(one, "10.1.1.99")
        assert reaches(one, "10.1.1.12")
    for host in pair:
        assert host.network.vlans() == frozenset()


def test_management_passes_untagged_and_out_of_the_guests_reach(pair) -> None:
    here, there = pair
    assert reaches(here.netns, there.management)
    wire = f.Wiretap(here.netns, "up0")
    guest = make.tap(vlan=101, address="172.31.0.50", mac="02:00:00:00:05:50")
    near = make.tap(vlan=101, address="172.31.0.51", mac="02:00:00:00:05:51")
    try:
        assert reaches(here.netns, there.management)
        echo = wire.until(lambda frame: frame.kind == f.IPV4 and frame.payload[9] == f.ICMP)[-1]
        assert echo.tag is None
        with station(here, guest) as end, station(there, near) as neighbour:
            assert reaches(end, near.address)
            for address in (here.management, there.management):
                assert is_silent(end, address)
                assert is_silent(neighbour, address)
            assert is_silent(here.netns, guest.address)
    finally:
        wire.close()


def test_a_vlan_that_is_not_here_does_not_come_in(pair) -> None:
    here, there = pair
    port = make.tap(vlan=101)
    here.network.ensure(port)
    stranger = f.Wiretap(there.netns, "up0")
    guest = f.GuestEnd(here.netns, port.device)
    try:
        for vlan, note in ((102, b"foreign"), (101, b"own")):
            stranger.send(
                f.ethernet(
                    STRANGER_MAC,
                    f.BROADCAST,
                    f.IPV4,
                    f.ipv4("10.1.1.9", "10.1.1.255", f.UDP, f.udp(1, 1, note)),
                    (vlan,),
                )
            )
        seen = guest.until(lambda frame: b"own" in frame.payload)
        assert not [frame for frame in seen if b"foreign" in frame.payload]
    finally:
        guest.close()
        stranger.close()
        here.network.remove(port.nic)


RATE_KBPS = 8_000
SPAN = 3.0


@pytest.mark.parametrize("direction", ["from", "to"])
@pytest.mark.parametrize("across", [True, False], ids=["between hosts", "within a host"])
def test_a_port_is_limited_in_each_direction(pair, direction, across) -> None:
    here, there = pair
    limited = make.tap(address="10.1.1.11", mac="02:00:00:00:01:11", rate_kbps=RATE_KBPS)
    free = make.tap(address="10.1.1.12", mac="02:00:00:00:01:12", rate_kbps=0)
    with station(here, limited) as one, station(there if across else here, free) as other:
        assert reaches(one, free.address)
        sender, receiver, to = (one, other, free) if direction == "from" else (other, one, limited)
        measured: list[float] = []
        while len(measured) < 5 and max(measured, default=0.0) < 0.88 * RATE_KBPS:
            # When others had the processor, what was never sent shows no limit.
            measured.append(flood(sender, receiver, to.address))
    assert 0.88 * RATE_KBPS <= max(measured) <= 1.12 * RATE_KBPS


def flood(sender: str, receiver: str, address: str) -> float:
    """Three times the limit as UDP; kbit/s of frames that arrive, by the receiver's clock."""
    payload, overhead = 1200, 42
    ear = bound(receiver, (address, 7000), socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    ear.settimeout(30)
    mouth = bound(sender, ("0.0.0.0", 0), socket.SOCK_DGRAM)
    clock = RealClock()
    pace = 3 * RATE_KBPS * 1000 / 8 / (payload + overhead)  # frames a second
    began, sent, arrivals = clock.monotonic(), 0, []
    try:
        while (now := clock.monotonic() - began) < SPAN + 1:
            while sent < now * pace:
                mouth.sendto(bytes(payload), (address, 7000))
                sent += 1
            ear.settimeout(0.002)
            try:
                while True:
                    ear.recv(2048)
                    arrivals.append(clock.monotonic())
            except TimeoutError:
                continue
    finally:
        mouth.close()
        ear.close()
    start = arrivals[0] + 1.0  # the burst is over
    counted = [at for at in arrivals if start <= at < start + SPAN - 0.5]
    return len(counted) * (payload + overhead) * 8 / 1000 / (SPAN - 0.5)


def test_a_guest_asks_for_its_lease_before_it_has_an_address(pair) -> None:
    """The DHCP question gets through the guard to a trusted port on the other host, and the offer comes back."""
    here, there = pair
    port, server = make.tap(vlan=103), make.veth(vlan=103)
    here.network.ensure(port)
    there.network.ensure(server)
    guest = f.GuestEnd(here.netns, port.device)
    configure(there.netns, server.peer)
    wire = f.Wiretap(there.netns, server.peer)
    try:
        question = f.ipv4("0.0.0.0", "255.255.255.255", f.UDP, f.udp(68, 67, b"who am I"))
        guest.send(f.ethernet(port.mac, f.BROADCAST, f.IPV4, question))
        wire.until(lambda frame: b"who am I" in frame.payload)
        offer = f.ipv4("10.1.1.1", "255.255.255.255", f.UDP, f.udp(67, 68, b"you are"))
        wire.send(f.ethernet("0a:00:00:00:00:01", port.mac, f.IPV4, offer))
        guest.until(lambda frame: b"you are" in frame.payload)
    finally:
        guest.close()
        wire.close()
        here.network.remove(port.nic)
        there.network.remove(server.nic)
