"""The Open vSwitch driver keeps the contract, and keeps guests apart: judged by frames on real switches."""

import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from arable.domain.errors import BadInput, Conflict, Unavailable
from arable.drivers.network import hostguard
from arable.drivers.network.links import Links
from arable.drivers.network.ovsdb import Ovsdb
from arable.drivers.network.switch import OvsDaemon
from arable.runtime.clock import RealClock
from drivers import frames as f
from drivers import make_drivers as make
from drivers.contract_network import NetworkContract
from drivers.emulated_hosts import (
    Host,
    cabled_hosts,
    is_alive,
    namespace,
    run,
)

pytestmark = pytest.mark.real

OTHER_MAC = "02:00:0a:01:01:63"


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Iterator[Host]:
    """One host, used by many tests; each leaves it empty."""
    with cabled_hosts(tmp_path_factory.mktemp("o"), 1) as (host,):
        yield host


@pytest.fixture
def host(machine) -> Iterator[Host]:
    yield machine
    for nic in everything_on(machine):
        machine.network.remove(nic)


def ports_in_database(host: Host) -> dict[str, dict[str, str]]:
    with Ovsdb(host.daemon.db, RealClock()) as db:
        (found,) = db.transact(
            {"op": "select", "table": "Port", "where": [], "columns": ["name", "external_ids"]}
        )
    return {row["name"]: dict(row["external_ids"][1]) for row in found["rows"]}


def everything_on(host: Host) -> list[str]:
    known = ports_in_database(host).values()
    return [facts["arable-nic"] for facts in known if "arable-nic" in facts]


def trunks(host: Host) -> set[int]:
    listed = run(
        host.netns, ["ovs-vsctl", f"--db={host.daemon.db}", "get", "port", "up0", "trunks"]
    )
    return {int(part) for part in listed.stdout.strip(" []\n").split(",")}


def rules(host: Host) -> str:
    to = f"unix:{host.daemon.directory}/br-int.mgmt"
    return run(
        host.netns,
        [
            "ovs-ofctl",
            "--no-stats",
            "dump-flows",
            to,
            "cookie=0xa7ab000000000000/0xffff000000000000",
        ],
    ).stdout


def meters(host: Host) -> str:
    to = f"unix:{host.daemon.directory}/br-int.mgmt"
    return run(host.netns, ["ovs-ofctl", "-O", "OpenFlow14", "dump-meters", to]).stdout


class TestOvsNetwork(NetworkContract):
    @pytest.fixture
    def network(self, host):
        self.host = host
        return host.network

    def reopened(self, network):
        return self.host.reopened()


def test_the_driver_says_which_datapath_it_found(host) -> None:
    assert host.network.name == "ovs (netdev)"


def test_a_device_belongs_to_one_port(host) -> None:
    first = make.tap()
    host.network.ensure(first)
    with pytest.raises(Conflict):
        host.network.ensure(make.tap(device=first.device))
    with pytest.raises(Conflict):
        host.network.ensure(make.tap(device="mgmt0"))
    assert list(host.network.ports()) == [first.nic]


@pytest.mark.parametrize(
    "bad",
    [
        {"vlan": 1},
        {"mac": "02:00:0a:01:01"},
        {"mac": "01:00:0a:01:01:0a"},
        {"mac": "02:00:0a:01:01:0a,actions=NORMAL"},
        {"address": "10.1.1.300"},
        {"address": "10.1.1.0/24"},
        {"address": "::1"},
        {"ipv6": "10.1.1.10"},
        {"ipv6": "2001:DB8::1"},
        {"ipv6": "2001:db8::1,actions=NORMAL"},
        {"device": ""},
        {"device": "up0"},
        {"device": "a b"},
        {"device": "../lo"},
        {"rate_kbps": -1},
    ],
    ids=str,
)
def test_what_no_port_can_be_is_refused_and_nothing_is_made(host, bad) -> None:
    with pytest.raises(BadInput):
        host.network.ensure(make.tap(**bad))
    assert not everything_on(host)


def test_the_uplink_carries_a_vlan_from_its_first_port_to_its_last(host) -> None:
    assert trunks(host) == {1}
    ports = [make.tap(vlan=101), make.tap(vlan=101), make.veth(vlan=102)]
    for port in ports:
        host.network.ensure(port)
    assert trunks(host) == {1, 101, 102}
    host.network.remove(ports[0].nic)
    assert trunks(host) == {1, 101, 102}
    host.network.remove(ports[1].nic)
    assert trunks(host) == {1, 102}
    host.network.remove(ports[2].nic)
    assert trunks(host) == {1}
    assert host.network.vlans() == frozenset()


def test_a_removed_port_leaves_no_device_rule_meter_or_row(host) -> None:
    before = set(Links(host.netns).all()), rules(host), meters(host)
    port, pair = make.tap(), make.veth()
    for made in (port, pair):
        host.network.ensure(made)
    assert {port.device, pair.device, pair.peer} <= set(Links(host.netns).all())
    for made in (port, pair):
        host.network.remove(made.nic)
    assert (set(Links(host.netns).all()), rules(host), meters(host)) == before
    assert not everything_on(host)


def test_a_limit_that_is_lifted_leaves_no_meter(host) -> None:
    port = make.tap(rate_kbps=10_000)
    host.network.ensure(port)
    assert "rate=10000" in meters(host)
    host.network.ensure(replace(port, rate_kbps=20_000))
    assert "rate=20000" in meters(host)
    assert "rate=10000" not in meters(host)
    host.network.ensure(replace(port, rate_kbps=0))
    assert "rate=" not in meters(host)
    assert "meter" not in rules(host)


def test_all_that_is_known_of_a_port_stands_in_the_switch(host) -> None:
    port = make.tap(vlan=123)
    host.network.ensure(port)
    facts = ports_in_database(host)[port.device]
    assert facts["arable-nic"] == port.nic
    assert facts["arable-address"] == port.address


def test_a_port_whose_device_vanished_is_incomplete_and_made_anew(host) -> None:
    port = make.tap()
    host.network.ensure(port)
    Links(host.netns).remove(port.device)
    assert not host.network.ports()
    assert host.network.vlans() == {port.vlan}
    host.network.ensure(port)
    assert list(host.network.ports()) == [port.nic]
    echo_passes(host, port)


def test_a_port_whose_rules_were_lost_is_incomplete_and_guarded_again(host) -> None:
    port = make.tap()
    host.network.ensure(port)
    to = f"unix:{host.daemon.directory}/br-int.mgmt"
    assert run(host.netns, ["ovs-ofctl", "del-flows", to, "ip"]).returncode == 0
    assert not host.network.ports()
    host.network.ensure(port)
    assert list(host.network.ports()) == [port.nic]


def test_a_switch_that_died_gets_its_rules_back(host) -> None:
    port = make.tap()
    host.network.ensure(port)
    known = rules(host)
    host.daemon.kill_switch()
    with pytest.raises(Unavailable):
        replace_patience(host).ports()
    host.daemon.start()
    assert "in_port" not in rules(host)
    assert not host.network.ports()
    assert "NORMAL" in rules(host)  # management is back as soon as somebody looks
    host.network.ensure(port)
    assert list(host.network.ports()) == [port.nic]
    assert sorted(rules(host).splitlines()[1:]) == sorted(known.splitlines()[1:])
    echo_passes(host, port)


def replace_patience(host: Host):
    network = host.reopened()
    network._patience = network._openflow._patience = 1.0
    return network


def test_a_switch_without_rules_carries_nothing(host) -> None:
    port = make.tap()
    host.network.ensure(port)
    host.daemon.kill_switch()
    wire = f.Wiretap(host.netns, "up1")
    guest = f.GuestEnd(host.netns, port.device)
    try:
        host.daemon.start()
        make.wait_until(lambda: port_number(host, port.device) > 0, "the switch to have its port")
        for _ in range(20):
            guest.send(greeting(port, b"too early"))
        host.network.ensure(port)
        guest.send(greeting(port, b"in time"))
        seen = wire.until(lambda frame: b"in time" in frame.payload)
        assert not [frame for frame in seen if b"too early" in frame.payload]
    finally:
        guest.close()
        wire.close()


def port_number(host: Host, device: str) -> int:
    told = run(
        host.netns, ["ovs-vsctl", f"--db={host.daemon.db}", "get", "interface", device, "ofport"]
    )
    return int(told.stdout.strip("[]\n ") or 0)


VERBS = {
    "make": lambda network, port: network.ensure(port),
    "move": lambda network, port: network.ensure(replace(port, vlan=109)),
    "change": lambda network, port: network.ensure(replace(port, rate_kbps=0)),
    "remove": lambda network, port: network.remove(port.nic),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_port_is_finished_or_removed_wherever_a_change_stopped(host, monkeypatch, verb) -> None:
    """Each transaction, change of rules and touch of a device is once the last thing that happened."""
    for place in range(30):
        port = make.tap(vlan=107)
        if verb != "make":
            host.network.ensure(port)
        network = host.reopened()
        with monkeypatch.context() as patch:
            done = count_steps(network, patch, stop_after=place)
            with suppress(Stopped):
                VERBS[verb](network, port)
                assert place >= 6, done
                host.network.remove(port.nic)
                return
        anew = host.reopened()
        assert set(anew.ports()) <= {port.nic}
        anew.ensure(port)
        assert dict(anew.ports()) == {port.nic: port}
        assert (anew.vlans(), trunks(host)) == ({107}, {1, 107})
        echo_passes(host, port)
        anew.remove(port.nic)
        assert (anew.ports(), anew.vlans(), trunks(host)) == ({}, frozenset(), {1})
        assert port.device not in Links(host.netns).all()
        assert "in_port=1000" not in rules(host)
        assert "rate=" not in meters(host)
    raise AssertionError(f"more steps than were tried: {done}")


class Stopped(Exception):
    """The agent was killed here."""


def count_steps(network, monkeypatch, stop_after: int) -> list[str]:
    """Every effect counts itself; after `stop_after` of them the next one is not reached any more."""
    done: list[str] = []

    def counted(owner, name):
        act = getattr(owner, name)

        def step(*words, **named):
            if len(done) == stop_after:
                raise Stopped(name)
            outcome = act(*words, **named)
            done.append(name)
            return outcome

        monkeypatch.setattr(owner, name, step)

    for name in ("make_tap", "make_quiet", "raise_up", "remove"):
        counted(network._links, name)
    for name in ("_run", "_set_meters", "remove_meters"):
        counted(network._openflow, name)
    counted(Ovsdb, "transact")
    counted(Ovsdb, "until")
    return done


def test_what_a_crash_left_behind_can_be_removed_by_the_next_agent(host, monkeypatch) -> None:
    port = make.tap(vlan=108)
    network = host.reopened()

    def stopped(*_):
        raise Stopped

    monkeypatch.setattr(network._links, "make_tap", stopped)
    with pytest.raises(Stopped):
        network.ensure(port)
    anew = host.reopened()
    assert not anew.ports()
    assert anew.vlans() == {108}  # rule 3: not free yet
    anew.remove(port.nic)
    assert anew.vlans() == frozenset()


def test_a_tap_that_is_still_open_is_removed_and_made_again(host) -> None:
    port = make.tap()
    host.network.ensure(port)
    guest = f.GuestEnd(host.netns, port.device)
    try:
        host.network.remove(port.nic)
        assert port.device not in Links(host.netns).all()
        host.network.ensure(port)
        echo_passes(host, port)
    finally:
        guest.close()


def test_somebody_elses_device_is_guarded_while_plugged_and_left_at_the_end(host) -> None:
    port = make.tap()
    Links(host.netns).make_veth(port.device, "elses")
    host.network.ensure(port)
    assert dict(host.reopened().ports()) == {port.nic: port}
    host.reopened().remove(port.nic)
    assert port.device in Links(host.netns).all()
    Links(host.netns).remove(port.device)


def test_ports_of_an_operator_are_left_alone(host) -> None:
    Links(host.netns).make_veth("store0", "store1")
    host.daemon.plug_access("br-int", "store0", 20)
    try:
        port = make.tap(vlan=101)
        host.network.ensure(port)
        assert trunks(host) == {1, 20, 101}
        assert host.network.vlans() == {101}
        host.network.remove(port.nic)
        assert trunks(host) == {1, 20}
        assert host.network.vlans() == frozenset()
    finally:
        run(host.netns, ["ovs-vsctl", f"--db={host.daemon.db}", "del-port", "store0"])
        Links(host.netns).remove("store0")
    host.network.prepare()


# -- what frames do -------------------------------------------------------------------------------


def greeting(port, note: bytes, **but) -> bytes:
    """An honest frame of that port's guest, or one that lies where `but` says so."""
    usual = {"mac": port.mac, "address": port.address, "target": f.BROADCAST, "tags": ()}
    said = usual | but
    return f.ethernet(
        said["mac"],
        said["target"],
        f.IPV4,
        f.ipv4(said["address"], "10.1.1.255", f.UDP, f.udp(5000, 5001, note)),
        said["tags"],
    )


def echo_passes(host: Host, port) -> None:
    """A frame of the guest gets out to the trunk with its VLAN's tag."""
    wire = f.Wiretap(host.netns, "up1")
    guest = f.GuestEnd(host.netns, port.device)
    try:
        guest.send(greeting(port, b"can you hear me"))
        *_, heard = wire.until(lambda frame: b"can you hear me" in frame.payload)
        assert (heard.tag, heard.source) == (port.vlan, port.mac)
    finally:
        guest.close()
        wire.close()


LIES = {
    "another MAC": lambda p, n: greeting(p, n, mac=OTHER_MAC),
    "another address": lambda p, n: greeting(p, n, address="10.1.1.99"),
    "the gateway's address": lambda p, n: greeting(p, n, address="10.1.1.1"),
    "a tag of its own VLAN": lambda p, n: greeting(p, n, tags=(p.vlan,)),
    "a tag of another VLAN": lambda p, n: greeting(p, n, tags=(102,)),
    "a tag of the management VLAN": lambda p, n: greeting(p, n, tags=(1,)),
    "a priority tag": lambda p, n: greeting(p, n, tags=(0xE000,)),
    "two tags": lambda p, n: greeting(p, n, tags=(p.vlan, 102)),
    "a provider's tag": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.QINQ, struct.pack(">HH", 102, f.IPV4) + b"\x45" + n
    ),
    "ARP with another MAC inside": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.ARP, f.arp(2, OTHER_MAC, p.address, p.address) + n
    ),
    "ARP with another address inside": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.ARP, f.arp(2, p.mac, "10.1.1.1", "10.1.1.1") + n
    ),
    "ARP from another MAC": lambda p, n: f.ethernet(
        OTHER_MAC, f.BROADCAST, f.ARP, f.arp(1, p.mac, p.address, "10.1.1.1") + n
    ),
    "ARP without a sender for a foreign address": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.ARP, f.arp(1, p.mac, "0.0.0.0", "10.1.1.99") + n
    ),
    "an offer of a DHCP server": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.IPV4, f.ipv4(p.address, "255.255.255.255", f.UDP, f.udp(67, 68, n))
    ),
    "an offer from an odd port": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.IPV4, f.ipv4(p.address, "255.255.255.255", f.UDP, f.udp(1067, 68, n))
    ),
    "an ICMP redirect": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.IPV4, f.ipv4(p.address, "10.1.1.12", f.ICMP, b"\x05\x01\0\0" + n)
    ),
    "a sender that has no address yet": lambda p, n: greeting(p, n, address="0.0.0.0"),
    "IPv6": lambda p, n: f.ethernet(p.mac, "33:33:00:00:00:01", f.IPV6, b"\x60" + bytes(39) + n),
    "a router advertisement": lambda p, n: f.ethernet(
        p.mac,
        "33:33:00:00:00:01",
        f.IPV6,
        struct.pack(">IHBB", 6 << 28, 16 + len(n), 58, 255) + bytes(32) + b"\x86" + bytes(15) + n,
    ),
    "spanning tree": lambda p, n: f.ethernet(
        p.mac, "01:80:c2:00:00:00", 0x0027, b"\x42\x42\x03" + n
    ),
    "LLDP": lambda p, n: f.ethernet(p.mac, "01:80:c2:00:00:0e", 0x88CC, n),
    "CDP": lambda p, n: f.ethernet(p.mac, "01:00:0c:cc:cc:cc", 0x0020, b"\xaa\xaa\x03\0\0\x0c" + n),
    "an unknown protocol": lambda p, n: f.ethernet(p.mac, f.BROADCAST, 0x9000, n),
}


@pytest.fixture(scope="module")
def liar(machine) -> Iterator[tuple]:
    """A guest on a tap, a wiretap on the trunk, and one at a neighbour in the same VLAN on the same host."""
    port, near = (
        make.tap(vlan=101),
        make.tap(vlan=101, address="10.1.1.11", mac="02:00:0a:01:01:0b"),
    )
    with ExitStack() as stack:
        for made in (port, near):
            machine.network.ensure(made)
            stack.callback(machine.network.remove, made.nic)
        guest, neighbour = (f.GuestEnd(machine.netns, made.device) for made in (port, near))
        wire = f.Wiretap(machine.netns, "up1")
        for end in (guest, neighbour, wire):
            stack.callback(end.close)
        yield port, guest, neighbour, wire


@pytest.mark.parametrize("lie", LIES)
def test_a_guest_that_lies_is_not_heard(liar, lie) -> None:
    port, guest, neighbour, wire = liar
    for _ in range(3):
        guest.send(LIES[lie](port, b"a lie"))
    truth = f"the truth beside {lie}".encode()
    guest.send(greeting(port, truth))
    for ear in (wire, neighbour):
        heard = ear.until(lambda frame: truth in frame.payload)
        assert not [frame for frame in heard if b"a lie" in frame.payload]


TRUTHS = {
    "an ARP question": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.ARP, f.arp(1, p.mac, p.address, "10.1.1.1") + n
    ),
    "an ARP answer": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.ARP, f.arp(2, p.mac, p.address, "10.1.1.1") + n
    ),
    "a probe for its own address": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.ARP, f.arp(1, p.mac, "0.0.0.0", p.address) + n
    ),
    "a DHCP question": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.IPV4, f.ipv4("0.0.0.0", "255.255.255.255", f.UDP, f.udp(68, 67, n))
    ),
    "an echo request": lambda p, n: f.ethernet(
        p.mac, f.BROADCAST, f.IPV4, f.ipv4(p.address, "8.8.8.8", f.ICMP, f.echo_request(n))
    ),
}


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_guest_that_speaks_for_itself_is_heard(liar, truth) -> None:
    port, guest, neighbour, wire = liar
    note = f"{truth}!".encode()
    guest.send(TRUTHS[truth](port, note))
    *_, heard = wire.until(lambda frame: note in frame.payload)
    assert heard.tag == port.vlan
    neighbour.until(lambda frame: note in frame.payload)


def test_a_port_that_changes_its_address_may_not_use_the_old_one(host) -> None:
    port = make.tap()
    host.network.ensure(port)
    changed = replace(port, address="10.1.1.20")
    host.network.ensure(changed)
    echo_passes(host, changed)
    guest, wire = f.GuestEnd(host.netns, port.device), f.Wiretap(host.netns, "up1")
    try:
        guest.send(greeting(port, b"as ever"))
        guest.send(greeting(changed, b"anew"))
        seen = wire.until(lambda frame: b"anew" in frame.payload)
        assert not [frame for frame in seen if b"as ever" in frame.payload]
    finally:
        guest.close()
        wire.close()


def test_the_host_itself_does_not_hear_its_guests(host) -> None:
    """A userspace switch reads beside the kernel: without care the host answers ARP on its guests' taps."""
    port, near = make.tap(address="172.31.0.99"), make.tap(address="172.31.0.98", mac=OTHER_MAC)
    for made in (port, near):
        host.network.ensure(made)
    guest, neighbour = (f.GuestEnd(host.netns, made.device) for made in (port, near))
    ask = f.arp(1, port.mac, port.address, host.management)
    words = f.ipv4(near.address, port.address, f.UDP, f.udp(1, 1, b"fence"))

    def send() -> None:
        guest.send(f.ethernet(port.mac, f.BROADCAST, f.ARP, ask))
        neighbour.send(f.ethernet(OTHER_MAC, port.mac, f.IPV4, words))

    try:
        send()
        seen = guest.until(lambda frame: b"fence" in frame.payload, again=send)
        assert [frame.kind for frame in seen] == [f.IPV4]  # no ARP answer, no IPv6 chatter
        assert "counter packets 0" not in guard_of(host, "arp")
    finally:
        guest.close()
        neighbour.close()


def guard_of(host: Host, family: str) -> str:
    return run(host.netns, ["nft", "list", "table", family, hostguard.TABLE]).stdout


def test_a_flushed_host_guard_is_raised_again(host) -> None:
    assert run(host.netns, ["nft", "flush", "ruleset"]).returncode == 0
    host.network.ports()
    assert hostguard.stands(host.netns)


def test_all_that_a_private_switch_started_ends_with_it(tmp_path) -> None:
    with namespace("lone") as name:
        daemon = OvsDaemon(tmp_path / "ovs", RealClock(), name)
        daemon.start()
        daemon.start()
        assert daemon.running()
        pids = [int(path.read_text()) for path in (tmp_path / "ovs").glob("*.pid")]
        assert len(pids) == 2
        OvsDaemon(tmp_path / "ovs", RealClock(), name).stop()
        assert not daemon.running()
        daemon.stop()
        for pid in pids:
            assert not is_alive(pid)


def test_a_switch_in_a_deep_folder_answers_all_the_same(tmp_path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with namespace("deep") as name:
        daemon = OvsDaemon(deep, RealClock(), name)
        try:
            daemon.start()
            with Ovsdb(daemon.db, RealClock()) as db:
                assert db.transact({"op": "select", "table": "Bridge", "where": []}) == [
                    {"rows": []}
                ]
        finally:
            daemon.stop()
