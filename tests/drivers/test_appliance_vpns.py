# ruff: noqa: F811 - fixtures of another module are named as arguments
"""VPNs of real routers: what passes, what of it can be read on the wire, who is cut off."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.errors import Unavailable
from arable.domain.ids import VpnPeerId
from arable.domain.protocols import Protocol
from arable.domain.vpn import VpnOpening, VpnPeerWish, VpnWish
from arable.drivers.appliance import filtering, jail
from arable.drivers.network.links import Links
from drivers import make_drivers as make
from drivers import services
from drivers.emulated_hosts import is_silent, reaches, route, station
from drivers.town import PUBLIC
from drivers.town_fixtures import WORLD, hosts, runtime, town, world  # noqa: F401 - fixtures
from drivers.tunnelling import client, end, keys, listening

pytestmark = pytest.mark.real

AWAY = "203.0.113.11"
SSH = VpnOpening(protocol=Protocol.TCP, first_port=22, last_port=22)


@pytest.fixture
def office(hosts, town, tmp_path) -> Iterator[tuple]:
    """A network elsewhere: its router is on the first host, and so is its machine."""
    routers = runtime(hosts[0], tmp_path / "office")
    there = replace(make.appliance(vlan=102), cidr="10.9.0.0/24", gateway="10.9.0.1")
    wish = replace(there, public=replace(there.public, address=AWAY))
    port = make.tap(address="10.9.0.20", mac="02:00:0a:09:00:14", vlan=102, rate_kbps=0)
    with station(hosts[0], port) as name:
        route(name, "10.9.0.1")
        routers.ensure(wish, [])
        yield routers, wish, name
        routers.remove(wish.network)


def seen(routers):
    """Whether each peer is there, by id."""
    return {peer.id: peer for vpn in routers.vpns() for peer in vpn.peers}


def test_two_networks_are_joined_and_nobody_on_the_way_reads_what_is_said(town, office) -> None:
    routers, wish, desk = office
    web = town.guest(10)
    here, there = end(PUBLIC, "10.1.1.0/24"), end(AWAY, "10.9.0.0/24")
    shared, _ = keys()
    town.program(vpns=(here.wish(there, openings=(SSH,), preshared=shared),))
    far = replace(wish, generation=2, vpns=(there.wish(here, preshared=shared),))
    routers.ensure(far, [])
    make.wait_until(lambda: seen(town.routers)[here.id].up, "the handshake")
    with (
        services.echo(web, "10.1.1.10", 22) as ssh,
        services.echo(web, "10.1.1.10", 23),
        listening(town.netns, "eth2") as outside,
        listening(town.netns, "eth0") as inside,
        services.call(desk, "10.1.1.10", 22) as line,
    ):
        assert services.says_back(line, b"nobody reads this")
        assert ssh.callers == ["10.9.0.20"], "nothing is translated"
        make.wait_until(lambda: inside.said(b"nobody reads this"), "that it was heard inside")
        make.wait_until(lambda: outside.to_port(51820) >= 4, "that something was heard outside")
        assert not outside.said(b"nobody reads this")
        # What is not allowed does not begin, this way or that; nor is there a way on.
        assert services.is_closed(desk, "10.1.1.10", 23)
        assert is_silent(desk, "10.1.1.10")
        assert is_silent(web, "10.9.0.20")
        assert reaches(desk, "10.1.1.1"), "the gateway itself says that the tunnel is there"
        # A peer that goes takes its connections along.
        before = seen(town.routers)[here.id]
        assert before.received_bytes > 0
        assert before.endpoint == f"{AWAY}:51820"
        closed = here.wish(there, preshared=shared)
        town.program(vpns=(closed,))
        line.settimeout(1)
        line.sendall(b"still there?")
        with pytest.raises(OSError):
            line.recv(100)
    after = seen(town.routers)[here.id]
    assert after.received_bytes > before.received_bytes, "the session itself went on"
    # It has no power but one, over its own namespace, and tells nobody its key.
    (pid,) = jail.running(town.netns, "wireguard-go")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "CapEff:\t0000000000001000" in status
    assert "Uid:\t0\t" not in status
    kept = [f.read_bytes() for f in town.folder.rglob("*") if f.is_file()]
    kept += [Path(f"/proc/{pid}/{each}").read_bytes() for each in ("cmdline", "environ")]
    for secret in (here.private, shared):
        assert not any(secret.encode() in each for each in kept)
    # It dies: seen, and mended. It is deleted: nothing is left.
    jail.end(pid)
    state = town.routers.appliances
    make.wait_until(lambda: not state()[town.wish.network].running, "that it is seen")
    assert "VPN" in state()[town.wish.network].told
    town.program(vpns=(here.wish(there, openings=(SSH,), preshared=shared),))
    assert state()[town.wish.network].running
    with services.echo(web, "10.1.1.10", 22):
        make.wait_until(lambda: services.answers(desk, "10.1.1.10", 22), "the tunnel again")
    town.program(vpns=())
    assert jail.running(town.netns, "wireguard-go") == []
    assert town.routers.vpns() == []


def test_a_laptop_is_let_in_until_it_is_revoked(town, world, tmp_path) -> None:
    web = town.guest(10)
    ours = end(PUBLIC, "172.29.0.0/24", "access")
    private, public = keys()
    _, another = keys()
    laptop, phone = (
        VpnPeerWish(id=VpnPeerId(make.fresh("vpnclient")), public_key=key, cidrs=(f"{own}/32",))
        for key, own in ((public, "172.29.0.2"), (another, "172.29.0.3"))
    )
    access = VpnWish(
        id=ours.id,
        public=PUBLIC,
        port=51820,
        cidr=ours.cidr,
        key=ours.private,
        peers=(laptop, phone),
        openings=(VpnOpening(),),
    )
    town.program(vpns=(access,))
    told = (
        f"[Interface]\nPrivateKey = {private}\nAddress = 172.29.0.2/32\n"
        f"[Peer]\nPublicKey = {ours.key}\nAllowedIPs = 10.1.1.0/24\nEndpoint = {PUBLIC}:51820\n"
    )
    with (
        services.echo(web, "10.1.1.10", 80) as server,
        client(world, told, tmp_path),
        services.call(world, "10.1.1.10", 80) as line,
    ):
        assert services.says_back(line)
        assert server.callers == ["172.29.0.2"]
        assert services.ask(world, "10.1.1.1", "web-10.farm.internal").addresses == ("10.1.1.10",)
        assert reaches(web, "172.29.0.2"), "the other way, too"
        assert seen(town.routers)[laptop.id].up
        assert not seen(town.routers)[phone.id].up
        # Revoked: what it has open ends, and nothing begins. Nobody else notices.
        (pid,) = jail.running(town.netns, "wireguard-go")
        town.program(vpns=(replace(access, peers=(phone,)),))
        line.settimeout(1)
        line.sendall(b"still there?")
        with pytest.raises(OSError):
            line.recv(100)
        assert services.is_closed(world, "10.1.1.10", 80)
        assert jail.running(town.netns, "wireguard-go") == [pid]
        assert seen(town.routers).keys() == {phone.id}


def test_what_can_not_start_says_why_and_holds_nobody_up(town) -> None:
    here, there = end(PUBLIC, "10.1.1.0/24"), end(AWAY, "10.9.0.0/24")
    town.program()
    name = f"v{here.id[-11:]}"
    Links(town.netns).make_veth(name, "in-the-way")
    with pytest.raises(Unavailable) as refused:
        town.program(vpns=(here.wish(there),))
    assert "Failed to create TUN device" in refused.value.detail
    assert town.routers.appliances()[town.wish.network].generation != town.wish.generation
    Links(town.netns).remove(name)
    town.program(vpns=(here.wish(there),))
    assert town.routers.appliances()[town.wish.network].running


def test_a_router_that_has_given_way_sends_nothing_more(hosts, town, world, tmp_path) -> None:
    """Or switches would learn from its handshakes that its MAC is there still."""
    here, there = end(PUBLIC, "10.1.1.0/24"), end(AWAY, "10.9.0.0/24")
    town.program(vpns=(here.wish(there),))
    heir = runtime(hosts[0], tmp_path / "heir")
    try:
        with listening(town.netns, "eth2") as before:
            assert reaches(town.netns, WORLD)
        assert before.sent
        heir.ensure(replace(town.wish, epoch=1), [])
        make.wait_until(lambda: filtering.yielded(town.netns), "the old one gives way")
        with listening(town.netns, "eth2") as after:
            assert is_silent(town.netns, WORLD)
        assert after.sent == []
    finally:
        heir.remove(town.wish.network)
