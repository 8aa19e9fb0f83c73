"""Remote access and its clients as customers ask for them: what is kept, refused, told hosts, and shown once."""

import msgspec
import pytest
from test_vpns import KEY, asked, farm, wish  # noqa: F401 - a fixture

from arable.appliance.router import router
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.manifest import ApplianceWish
from arable.runtime.secret import Secret
from arable.runtime.vpn_keys import public_of
from arable.services import addresses, networks, remote_accesses, rules, vpn_clients, vpns
from arable.wire.networks import NetworkIn
from arable.wire.remote_accesses import (
    RemoteAccessChange,
    RemoteAccessIn,
    RemoteAccessQuery,
    VpnClientIn,
    VpnClientQuery,
)
from arable.wire.rules import BetweenIn
from arable.wire.vpns import AllowIn


def access_in(address, **but) -> RemoteAccessIn:
    return RemoteAccessIn(**{"name": "staff", "address": address, "cidr": "172.29.0.0/24"} | but)


@pytest.fixture
def staff(farm):  # noqa: F811
    cloud, me, _machine, network, own = farm
    made = cloud.do(me, remote_accesses.create, access_in(own)).access
    return cloud, me, network, own, made


def test_a_client_gets_an_address_and_a_file_and_may_reach_all_of_the_network(staff):
    cloud, me, network, _own, access = staff
    made = cloud.do(me, vpn_clients.create, VpnClientIn(access=access.id, name="laptop"))
    said = dict(line.split(" = ") for line in made.configuration.splitlines() if " = " in line)
    assert said == {
        "PrivateKey": said["PrivateKey"],
        "Address": "172.29.0.2/32",
        "DNS": said["DNS"],
        "PublicKey": access.public_key,
        "AllowedIPs": said["AllowedIPs"],
        "Endpoint": f"{access.public}:51821",
        "PersistentKeepalive": "25",
    }
    shown = cloud.do(me, networks.get, network)
    assert said["AllowedIPs"] == shown.cidr
    assert said["DNS"] == f"{shown.gateway}, {shown.dns_domain}"
    assert public_of(Secret(said["PrivateKey"])) == made.client.public_key
    (told,) = wish(cloud, network, told=True).vpns
    assert (told.id, told.cidr, told.port) == (access.id, "172.29.0.0/24", 51821)
    assert [(p.id, p.cidrs) for p in told.peers] == [(made.client.id, ("172.29.0.2/32",))]
    assert [(o.protocol, o.cidr, o.last_port) for o in told.openings] == [("all", "0.0.0.0/0", 0)]
    assert said["PrivateKey"] not in repr(cloud.everything())
    assert told.key not in repr(cloud.everything())
    assert made.client.access_name == "staff"


def test_a_client_that_has_a_key_keeps_it_to_itself(staff):
    cloud, me, _network, _own, access = staff
    ask = VpnClientIn(access=access.id, name="laptop", public_key=KEY)
    made = cloud.do(me, vpn_clients.create, ask)
    assert "\nPrivateKey" not in made.configuration
    assert made.client.public_key == KEY
    for key in (KEY, access.public_key):
        again = VpnClientIn(access=access.id, name="phone", public_key=key)
        error = cloud.refused(me, vpn_clients.create, again)
        assert (type(error), error.field) == (Conflict, "public_key")
    empty = VpnClientIn(access=access.id, name="phone", public_key="A" * 43 + "=")
    assert type(cloud.refused(me, vpn_clients.create, empty)) is BadInput
    named = cloud.refused(me, vpn_clients.create, VpnClientIn(access=access.id, name="laptop"))
    assert (type(named), named.field) == (Conflict, "name")


def test_who_is_revoked_is_told_to_nobody_any_more_and_the_address_is_free(staff):
    cloud, me, network, _own, access = staff
    ids = [
        cloud.do(me, vpn_clients.create, VpnClientIn(access=access.id, name=name)).client.id
        for name in ("laptop", "phone")
    ]
    assert cloud.do(me, remote_accesses.get, access.id).clients == 2
    cloud.do(me, vpn_clients.delete, ids[0])
    assert [peer.id for peer in wish(cloud, network).vpns[0].peers] == [ids[1]]
    assert type(cloud.refused(me, vpn_clients.delete, ids[0])) is NotFound
    third = cloud.do(me, vpn_clients.create, VpnClientIn(access=access.id, name="laptop")).client
    assert third.address == "172.29.0.2"
    (found,) = cloud.do(me, vpn_clients.page, VpnClientQuery(name="laptop")).items
    assert found == cloud.do(me, vpn_clients.get, third.id)
    assert len(cloud.do(me, vpn_clients.page, VpnClientQuery(access=access.id)).items) == 2
    kinds = [row[0] for row in cloud.rows("select kind from event where kind like 'vpnclient%'")]
    assert kinds.count("vpnclient.deleted") == 1


def test_it_is_changed_and_deleted_with_its_clients(staff):
    cloud, me, network, own, access = staff
    cloud.do(me, vpn_clients.create, VpnClientIn(access=access.id, name="laptop"))
    less = RemoteAccessChange(name="people", allow=(AllowIn(protocol="tcp", first_port=22),))
    changed = cloud.do(me, remote_accesses.update, access.id, less).access
    assert (changed.name, changed.allow[0].first_port, changed.clients) == ("people", 22, 1)
    assert wish(cloud, network).vpns[0].openings[0].first_port == 22
    (listed,) = cloud.do(me, remote_accesses.page, RemoteAccessQuery(network=network)).items
    assert listed == changed
    assert type(cloud.refused(me, addresses.release, own)) is Conflict
    cloud.do(me, remote_accesses.delete, access.id)
    assert wish(cloud, network).vpns == ()
    assert cloud.rows("select count(*) from vpn_peer") == [(0,)]


@pytest.mark.parametrize(
    ("but", "kind", "field"),
    [
        ({"cidr": "10.1.1.0/24"}, Conflict, "cidr"),
        ({"cidr": "172.29.0.0/16", "port": 5001}, Conflict, "cidr"),
        ({"cidr": "172.28.0.0/30"}, BadInput, "cidr"),
        ({"cidr": "8.8.8.0/24"}, BadInput, "cidr"),
        ({"port": 51821}, Conflict, "port"),
        ({"port": 5002, "cidr": "172.28.0.0/24", "name": "staff"}, Conflict, "name"),
    ],
    ids=str,
)
def test_what_can_not_be_is_refused(staff, but, kind, field):
    cloud, me, _network, own, _access = staff
    ask = access_in(own, **{"name": "b", "port": 5000} | but)
    error = cloud.refused(me, remote_accesses.create, ask)
    assert (type(error), error.field) == (kind, field), error


def test_ranges_sites_and_tiers_are_apart_whichever_was_there_first(staff):
    cloud, me, network, own, _access = staff
    site = cloud.refused(me, vpns.create, asked(own, peer_cidrs=("172.29.0.128/25",)))
    assert (type(site), site.field) == (Conflict, "peer_cidrs")
    tier = cloud.do(me, networks.create, NetworkIn(name="app", cidr="172.29.0.0/24")).id
    assert type(cloud.refused(me, rules.between, BetweenIn(source=tier, network=network))) is Conflict  # fmt: skip


def test_a_range_that_is_full_takes_nobody(staff, monkeypatch):
    cloud, me, _network, own, _access = staff
    ask = access_in(own, name="few", port=5000, cidr="172.28.0.0/29")
    few = cloud.do(me, remote_accesses.create, ask).access.id
    names = [f"laptop-{number}" for number in range(6)]
    given = [
        cloud.do(me, vpn_clients.create, VpnClientIn(access=few, name=name)).client.address
        for name in names[:5]
    ]
    assert given == [f"172.28.0.{number}" for number in range(2, 7)]
    full = cloud.refused(me, vpn_clients.create, VpnClientIn(access=few, name=names[5]))
    assert "all addresses" in str(full)
    monkeypatch.setattr(vpn_clients, "MOST", 5)
    most = cloud.refused(me, vpn_clients.create, VpnClientIn(access=few, name=names[5]))
    assert "no remote access has more" in str(most)


def test_what_is_anothers_is_not_there(staff):
    cloud, me, _network, _own, access = staff
    client = cloud.do(me, vpn_clients.create, VpnClientIn(access=access.id, name="laptop")).client
    site = cloud.refused(me, vpns.get, access.id)
    assert type(site) is NotFound, "nor is it a VPN to a site"
    you = cloud.account("you")
    for verb, *words in (
        (remote_accesses.get, access.id),
        (remote_accesses.delete, access.id),
        (vpn_clients.get, client.id),
        (vpn_clients.delete, client.id),
        (vpn_clients.create, VpnClientIn(access=access.id, name="mine")),
    ):
        assert type(cloud.refused(you, verb, *words)) is NotFound
    assert cloud.do(you, vpn_clients.page, VpnClientQuery()).items == []


def test_a_wish_is_one_that_a_router_can_be_made_of(staff):
    cloud, me, network, own, access = staff
    cloud.do(me, vpn_clients.create, VpnClientIn(access=access.id, name="laptop"))
    cloud.do(me, vpns.create, asked(own, peer_endpoint="198.51.100.7:51820"))
    told = wish(cloud, network, told=True)
    assert isinstance(told, ApplianceWish)
    again = msgspec.json.decode(msgspec.json.encode(told), type=ApplianceWish)
    assert [each.id for each in router(again).tunnels] == sorted(each.id for each in told.vpns)
