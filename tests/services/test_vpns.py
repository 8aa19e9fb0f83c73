"""VPNs to sites as customers ask for them: what is kept, what is refused, what hosts are told, what is seen."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import insert, update

from arable.controllers import appliances
from arable.controllers import vpns as controller
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.ids import HostId
from arable.domain.manifest import ApplianceWish, HostReport
from arable.domain.vpn import VpnPeerSeen, VpnSeen
from arable.runtime.ca import Authority
from arable.services import addresses, networks, rules, tunnels, vpns
from arable.services.opened import opened
from arable.store import routing
from arable.store import schema as t
from arable.wire.addresses import AddressIn, AddressQuery, AssociateIn
from arable.wire.networks import NetworkIn, NetworkQuery
from arable.wire.rules import BetweenIn, ForwardIn, StaticNatIn
from arable.wire.vpns import AllowIn, VpnChange, VpnIn, VpnQuery

KEY = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
SHARED = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBE="


@pytest.fixture
def farm(cloud, tmp_path):
    """A machine, its network, a further public address; and an authority that seals."""
    around = cloud.around
    authority = Authority.create(tmp_path, around.clock, around.entropy)
    cloud.around = replace(around, authority=authority)
    me = cloud.account("me")
    machine = cloud.deploy(me, name="web").machines[0].id
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    own = cloud.do(me, addresses.acquire, AddressIn()).id
    cloud.do(me, addresses.associate, own, AssociateIn(network=network.id))
    return cloud, me, machine, network.id, own


def asked(address, **but) -> VpnIn:
    usual = {"name": "office", "address": address, "peer_key": KEY, "peer_cidrs": ("10.9.0.0/24",)}
    return VpnIn(**usual | but)


def wish(cloud, network, *, told: bool = False) -> ApplianceWish:
    """What the network's host would be told; `told`: on its way to it."""
    with cloud.database.write() as tx:
        (row,) = routing.networks_by_id(tx, [network])
        row = row._replace(appliance_host=HostId("host-a"))
        rows = routing.addresses(tx, [network]), routing.rules(tx, [network])
        tunnelled = controller.wished(tx, [network]).get(network, ())
        body = appliances.item(row, HostId("host-a"), *rows, (), (), tunnelled).body
    if told:
        body = opened(cloud.around.authority, body)
    return msgspec.json.decode(body, type=ApplianceWish)


def test_a_vpn_is_kept_told_changed_and_deleted(farm):
    cloud, me, _machine, network, own = farm
    allow = (AllowIn(protocol="tcp", first_port=22),)
    ask = asked(own, peer_endpoint="198.51.100.7:51820", allow=allow)
    made = cloud.do(me, vpns.create, ask).vpn
    assert (made.peer_key, made.peer_cidrs, made.status) == (KEY, ["10.9.0.0/24"], None)
    assert [(a.protocol, a.first_port, a.last_port) for a in made.allow] == [("tcp", 22, None)]
    (told,) = wish(cloud, network).vpns
    assert (told.id, told.port, told.public) == (made.id, 51820, made.public)
    assert [(p.endpoint, p.cidrs) for p in told.peers] == [("198.51.100.7:51820", ("10.9.0.0/24",))]
    change = VpnChange(name="shop", peer_key=None, peer_endpoint=None, allow=())
    changed = cloud.do(me, vpns.update, made.id, change).vpn
    assert (changed.name, changed.peer_key, changed.peer_endpoint, changed.allow) == ("shop", None, None, [])  # fmt: skip
    assert wish(cloud, network).vpns[0].peers == (), "nobody is there yet"
    (listed,) = cloud.do(me, vpns.page, VpnQuery(name="shop")).items
    assert listed == cloud.do(me, vpns.get, made.id)
    assert type(cloud.refused(me, addresses.release, own)) is Conflict
    cloud.do(me, vpns.delete, made.id)
    assert wish(cloud, network).vpns == ()
    assert cloud.rows("select count(*) from vpn_peer") == [(0,)]
    cloud.do(me, addresses.release, own)


def test_keys_are_open_nowhere_but_on_their_way_to_the_host(farm):
    cloud, me, _machine, network, own = farm
    made = cloud.do(me, vpns.create, asked(own, preshared_key=SHARED))
    assert made.vpn.preshared
    (kept,) = wish(cloud, network).vpns
    assert kept.sealed
    assert not kept.key
    (told,) = wish(cloud, network, told=True).vpns
    assert told.key
    assert (told.sealed, told.peers[0].preshared, told.peers[0].sealed) == ("", SHARED, "")
    everything = repr((cloud.everything(), made))
    assert told.key not in everything
    assert SHARED not in everything
    body = msgspec.json.encode(wish(cloud, network)).decode()
    elsewhere = opened(cloud.around.authority, body.replace(made.vpn.id, "vpn-0"))
    (foreign,) = msgspec.json.decode(elsewhere, type=ApplianceWish).vpns
    assert foreign.key == "", "it opens for no other VPN"
    swapped = body.replace(kept.peers[0].sealed, kept.sealed)
    (other,) = msgspec.json.decode(opened(cloud.around.authority, swapped), type=ApplianceWish).vpns
    assert other.peers[0].preshared == "lost", "it opens as nothing else, and is not left out"
    without = cloud.do(me, vpns.update, made.vpn.id, VpnChange(preshared_key=None)).vpn
    assert not without.preshared
    assert wish(cloud, network, told=True).vpns[0].peers[0].preshared == ""
    rotated = cloud.do(me, vpns.rotate, made.vpn.id).vpn
    assert rotated.public_key != made.vpn.public_key
    assert wish(cloud, network, told=True).vpns[0].key != told.key


@pytest.mark.parametrize(
    ("but", "kind", "field"),
    [
        ({"peer_cidrs": ("10.1.1.0/25",)}, Conflict, "peer_cidrs"),
        ({"peer_cidrs": ("10.0.0.0/8",)}, Conflict, "peer_cidrs"),
        ({"peer_cidrs": ("10.9.0.0/24", "10.9.0.128/25")}, Conflict, "peer_cidrs"),
        ({"peer_cidrs": ("0.0.0.0/0",)}, BadInput, "peer_cidrs.0"),
        ({"peer_cidrs": ("10.9.0.1/24",)}, BadInput, "peer_cidrs.0"),
        ({"peer_cidrs": ("169.254.64.0/24",)}, BadInput, "peer_cidrs.0"),
        ({"peer_endpoint": "10.9.0.7:51820"}, BadInput, "peer_endpoint"),
        ({"peer_endpoint": "127.0.0.1:51820"}, BadInput, "peer_endpoint"),
        ({"peer_endpoint": "198.51.100.7:70000"}, BadInput, "peer_endpoint"),
        ({"peer_endpoint": "198.51.100.700:7000"}, BadInput, "peer_endpoint"),
        ({"preshared_key": "A" * 43 + "="}, BadInput, "preshared_key"),
        ({"peer_key": "A" * 43 + "="}, BadInput, "peer_key"),
        ({"allow": (AllowIn(protocol="icmp", first_port=1),)}, BadInput, "allow.0.first_port"),
        ({"allow": (AllowIn(), AllowIn(cidr="10.9.0.1/24"))}, BadInput, "allow.1.cidr"),
        ({"allow": (AllowIn(first_port=2, last_port=1),)}, BadInput, "allow.0.last_port"),
        ({"allow": (AllowIn(last_port=1),)}, BadInput, "allow.0.first_port"),
    ],
    ids=str,
)
def test_what_can_not_be_is_refused_and_leaves_nothing(farm, but, kind, field):
    cloud, me, _machine, _network, own = farm
    before = cloud.everything()
    error = cloud.refused(me, vpns.create, asked(own, **but))
    assert (type(error), error.field) == (kind, field), error
    assert cloud.everything() == before


def test_public_addresses_of_the_zone_are_behind_no_tunnel(farm):
    cloud, me, _machine, _network, own = farm
    public = cloud.do(me, addresses.get, own).address
    error = cloud.refused(me, vpns.create, asked(own, peer_cidrs=(f"{public}/32",)))
    assert (type(error), error.field) == (Conflict, "peer_cidrs")


def test_a_port_has_one_use_whichever_was_there_first(farm):
    cloud, me, machine, network, own = farm
    udp = ForwardIn(address=own, machine=machine, protocol="udp", first_port=51000, last_port=52000)
    made = cloud.do(me, vpns.create, asked(own)).vpn
    assert cloud.refused(me, rules.forward, udp).why == {"vpn": made.id}
    static = StaticNatIn(address=own, machine=machine)
    assert cloud.refused(me, rules.static_nat, static).why == {"vpn": made.id}
    again = cloud.refused(me, vpns.create, asked(own, name="b", peer_cidrs=("10.10.0.0/24",)))
    assert (type(again), again.field) == (Conflict, "port")
    meets = cloud.refused(me, vpns.create, asked(own, name="b", port=5000))
    assert (type(meets), meets.field) == (Conflict, "peer_cidrs")
    named = cloud.refused(me, vpns.create, asked(own, port=5000, peer_cidrs=("10.10.0.0/24",)))
    assert (type(named), named.field) == (Conflict, "name")
    cloud.do(me, vpns.delete, made.id)
    rule = cloud.do(me, rules.forward, udp).rule.id
    assert cloud.refused(me, vpns.create, asked(own)).why == {"rule": rule}
    cloud.do(me, vpns.create, asked(own, port=50999))
    assert wish(cloud, network).vpns[0].port == 50999


def test_a_vpn_keeps_its_own_subnets_when_it_is_changed(farm):
    cloud, me, _machine, _network, own = farm
    made = cloud.do(me, vpns.create, asked(own)).vpn
    wider = VpnChange(peer_cidrs=("10.8.0.0/15",))
    assert cloud.do(me, vpns.update, made.id, wider).vpn.peer_cidrs == ["10.8.0.0/15"]
    itself = cloud.refused(me, vpns.update, made.id, VpnChange(peer_key=made.public_key))
    assert (type(itself), itself.field) == (Conflict, "peer_key")


def test_a_tier_and_what_is_behind_a_tunnel_do_not_overlap_whichever_was_there_first(farm):
    cloud, me, _machine, network, own = farm
    tier = cloud.do(me, networks.create, NetworkIn(name="app", cidr="10.9.0.0/24")).id
    lead = BetweenIn(source=network, network=tier)
    made = cloud.do(me, vpns.create, asked(own)).vpn.id
    assert cloud.refused(me, rules.between, lead).why == {"vpn": made}
    assert cloud.refused(me, rules.between, BetweenIn(source=tier, network=network)).why
    cloud.do(me, vpns.delete, made)
    cloud.do(me, rules.between, lead)
    assert cloud.refused(me, vpns.create, asked(own)).field == "peer_cidrs"


def test_what_is_anothers_is_not_there(farm):
    cloud, me, _machine, _network, own = farm
    made = cloud.do(me, vpns.create, asked(own)).vpn.id
    you = cloud.account("you")
    for verb, *more in ((vpns.get,), (vpns.delete,), (vpns.rotate,), (vpns.update, VpnChange(allow=()))):  # fmt: skip
        assert type(cloud.refused(you, verb, made, *more)) is NotFound
    assert type(cloud.refused(you, vpns.create, asked(own))) is NotFound


def test_a_deleted_network_takes_its_vpns_along(lone_cloud, tmp_path):
    cloud = lone_cloud
    authority = Authority.create(tmp_path, cloud.around.clock, cloud.around.entropy)
    cloud.around = replace(cloud.around, authority=authority)
    me = cloud.account("me")
    network = cloud.do(me, networks.create, NetworkIn(name="app", cidr="10.7.0.0/24")).id
    (way_out,) = cloud.do(me, addresses.page, AddressQuery(network=network)).items
    cloud.do(me, vpns.create, asked(way_out.id))
    cloud.do(me, networks.delete, network)
    for table in ("vpn", "vpn_peer"):
        assert cloud.rows(f"select count(*) from {table}") == [(0,)]


def test_what_a_router_sees_is_shown_and_only_what_the_right_one_says(farm):
    cloud, me, _machine, _network, own = farm
    made = cloud.do(me, vpns.create, asked(own)).vpn.id
    now = cloud.around.clock.now()
    common = {"zone": "zone-here", "name": "h1", "created_at": now}
    with cloud.database.write() as tx:
        tx.execute(insert(t.pod).values(id="pod-a", cidr="10.0.0.0/24", **common))
        tx.execute(insert(t.host).values(id="host-a", pod="pod-a", state="up", **common))
        tx.execute(update(t.network).values(appliance_host="host-a", appliance_state="running"))

    def said(host, up, received):
        """A minute later."""
        cloud.around.clock.wait(timedelta(minutes=1))
        peer = VpnPeerSeen(id=made, up=up, heard_at=100, received_bytes=received)
        report = HostReport(host=host, generation=1, vpns=(VpnSeen(id=made, peers=(peer,)),))
        with cloud.database.write() as tx:
            controller.settle(tx, [report], cloud.around.clock.now())
        return cloud.do(me, vpns.get, made).status

    assert said("host-stranger", True, 1) is None
    first = said("host-a", True, 5)
    assert (first.up, first.received_bytes, first.since) == (True, 5, first.at)
    later = said("host-a", True, 7)
    assert (later.received_bytes, later.since) == (7, first.since)
    assert later.at > first.at
    cloud.run("update network set appliance_state = 'absent'")
    assert not cloud.do(me, vpns.get, made).status.up, "nothing runs that would be there"
    cloud.run("update network set appliance_state = 'running'")
    down = said("host-a", False, 7)
    assert (down.up, down.since) == (False, down.at)
    kinds = cloud.rows(
        "select kind from event where kind in ('vpn.up', 'vpn.down') order by number"
    )
    assert kinds == [("vpn.up",), ("vpn.down",)]
    cloud.do(me, vpns.delete, made)
    assert cloud.rows("select count(*) from vpn_seen") == [(0,)]


def test_a_network_has_not_endlessly_many_vpns(farm, monkeypatch):
    cloud, me, _machine, _network, own = farm
    monkeypatch.setattr(tunnels, "MOST", 1)
    cloud.do(me, vpns.create, asked(own))
    more = asked(own, name="b", port=5000, peer_cidrs=("10.10.0.0/24",))
    assert "no network has more" in str(cloud.refused(me, vpns.create, more))


def test_no_tunnel_leads_to_the_end_of_another(farm):
    cloud, me, _, _, own = farm
    first = cloud.do(me, vpns.create, asked(own, peer_endpoint="198.51.100.9:51820")).vpn
    ring = asked(own, name="b", port=51821, peer_cidrs=("198.51.100.0/24",))
    refused = cloud.refused(me, vpns.create, ring)
    assert isinstance(refused, Conflict)
    assert refused.field == "peer_cidrs"
    other = asked(own, name="b", port=51821, peer_cidrs=("10.8.0.0/24",), peer_endpoint="198.51.100.7:51820")  # fmt: skip
    cloud.do(me, vpns.create, other)
    refused = cloud.refused(me, vpns.update, first.id, VpnChange(peer_endpoint="10.8.0.5:51820"))
    assert isinstance(refused, Conflict)
    assert refused.field == "peer_endpoint"


def test_what_was_seen_of_a_peer_is_forgotten_with_its_key_alone(farm):
    cloud, me, _, _, own = farm
    made = cloud.do(me, vpns.create, asked(own)).vpn
    now = cloud.around.clock.now()
    common = {"zone": "zone-here", "name": "h1", "created_at": now}
    with cloud.database.write() as tx:
        tx.execute(insert(t.pod).values(id="pod-a", cidr="10.0.0.0/24", **common))
        tx.execute(insert(t.host).values(id="host-a", pod="pod-a", state="up", **common))
        tx.execute(update(t.network).values(appliance_host="host-a", appliance_state="running"))
    seen = VpnPeerSeen(id=made.id, up=True, heard_at=1, endpoint="198.51.100.9:1", received_bytes=1, sent_bytes=1)  # fmt: skip
    with cloud.database.write() as tx:
        said = HostReport(host=HostId("host-a"), generation=1, vpns=(VpnSeen(id=made.id, peers=(seen,)),))  # fmt: skip
        controller.settle(tx, [said], cloud.around.clock.now())
    assert cloud.rows("select up from vpn_seen") != []
    cloud.do(me, vpns.update, made.id, VpnChange(peer_endpoint="198.51.100.8:51820"))
    assert cloud.rows("select up from vpn_seen") != []
    cloud.do(me, vpns.update, made.id, VpnChange(peer_key=SHARED))
    assert cloud.rows("select up from vpn_seen") == []
