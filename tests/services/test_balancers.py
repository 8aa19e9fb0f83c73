"""Load balancers as customers ask for them: what is kept, what is refused, what hosts are told, what is seen."""

from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import insert, update

from arable.controllers import appliances
from arable.domain.balancer import BalancerSeen, Band, Calm, MemberSeen
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound
from arable.domain.ids import BalancerId, HostId
from arable.domain.manifest import ApplianceWish
from arable.runtime.ca import Authority
from arable.services import addresses, balancers, networks, rules
from arable.services.opened import opened
from arable.store import attention, routing
from arable.store import balancers as kept
from arable.store import schema as t
from arable.wire.addresses import AddressIn, AssociateIn
from arable.wire.balancers import (
    BalancerChange,
    BalancerIn,
    BalancerQuery,
    CheckIn,
    MemberChange,
    MemberIn,
)
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkIn, NetworkQuery
from arable.wire.rules import BetweenIn, ForwardIn, StaticNatIn
from drivers.web import certificate

CHAIN, KEY = certificate("shop.example.org")
SECRET = KEY.splitlines()[1]


@pytest.fixture
def shop(cloud, tmp_path):
    return shop_of(cloud, tmp_path)


def shop_of(cloud, tmp_path):
    """Two machines, their network, its way out, and a further public address; and an authority that seals."""
    around = cloud.around
    authority = Authority.create(tmp_path, around.clock, around.entropy)
    cloud.around = replace(around, authority=authority)
    me = cloud.account("me")
    machines = [cloud.deploy(me, name=f"web-{n}").machines[0].id for n in (1, 2)]
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    own = cloud.do(me, addresses.acquire, AddressIn()).id
    cloud.do(me, addresses.associate, own, AssociateIn(network=network.id))
    return cloud, me, machines, network.id, own


def asked(address, *machines, **but) -> BalancerIn:
    members = tuple(MemberIn(machine=each, port=80) for each in machines)
    return BalancerIn(**{"name": "shop", "address": address, "port": 80, "members": members} | but)


def wish(cloud, network, *, told: bool = False) -> ApplianceWish:
    """What the network's host would be told; `told`: on its way to it."""
    with cloud.database.write() as tx:
        (row,) = routing.networks_by_id(tx, [network])
        row = row._replace(appliance_host=HostId("host-a"))
        rows = routing.addresses(tx, [network]), routing.rules(tx, [network])
        balanced = appliances.balancers.wished(tx, [network]).get(network, ())
        body = appliances.item(row, HostId("host-a"), *rows, balanced).body
    if told:
        body = opened(cloud.around.authority, body)
    return msgspec.json.decode(body, type=ApplianceWish)


def test_a_balancer_with_its_members_is_kept_told_changed_and_deleted(shop):
    cloud, me, (one, two), network, own = shop
    made = cloud.do(me, balancers.create, asked(own, one, "web-2")).balancer
    assert [m.machine_name for m in made.members] == ["web-1", "web-2"]
    (told,) = wish(cloud, network).balancers
    assert (told.id, told.port, [m.weight for m in told.members]) == (made.id, 80, [1, 1])
    change = BalancerChange(algorithm="least-connections", check=CheckIn(kind="http", path="/up"))
    changed = cloud.do(me, balancers.update, made.id, change).balancer
    assert (changed.algorithm, changed.check.path, changed.generation) == ("least-connections", "/up", 2)  # fmt: skip
    cloud.do(me, balancers.update_member, made.id, two, MemberChange(draining=True))
    assert [m.weight for m in wish(cloud, network).balancers[0].members] == [1, 0]
    cloud.do(me, balancers.update_member, made.id, two, MemberChange(draining=False, weight=7))
    assert [m.weight for m in wish(cloud, network).balancers[0].members] == [1, 7]
    cloud.do(me, balancers.remove_member, made.id, one)
    assert [m.nic for m in wish(cloud, network).balancers[0].members] == [made.members[1].nic]
    assert type(cloud.refused(me, balancers.remove_member, made.id, one)) is NotFound
    assert type(cloud.refused(me, addresses.release, own)) is Conflict
    cloud.do(me, balancers.delete, made.id)
    assert wish(cloud, network).balancers == ()
    assert cloud.rows("select count(*) from balancer_member") == [(0,)]
    cloud.do(me, addresses.release, own)


def test_a_private_key_is_open_nowhere_but_on_its_way_to_the_host(shop):
    cloud, me, (one, _two), network, own = shop
    ask = asked(own, one, port=443, certificate=CHAIN, private_key=KEY, stickiness="cookie")
    made = cloud.do(me, balancers.create, ask)
    assert SECRET not in repr(made)
    assert made.balancer.certificate == CHAIN
    (kept_so,) = wish(cloud, network).balancers
    assert kept_so.sealed
    assert not kept_so.key
    (told,) = wish(cloud, network, told=True).balancers
    assert (told.certificate, told.key, told.sealed) == (CHAIN, KEY, "")
    everything = repr(cloud.everything())
    assert SECRET not in everything
    assert "PRIVATE" not in everything
    elsewhere = msgspec.json.encode(wish(cloud, network)).decode().replace(made.balancer.id, "balancer-0")  # fmt: skip
    foreign = msgspec.json.decode(opened(cloud.around.authority, elsewhere), type=ApplianceWish)
    assert foreign.balancers[0].key == "", "it opens for no other balancer"
    plain = cloud.do(me, balancers.update, made.balancer.id, BalancerChange(certificate=None))
    assert not plain.balancer.tls
    assert wish(cloud, network).balancers[0].sealed == ""


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({"certificate": CHAIN}, "private_key"),
        ({"private_key": KEY}, "certificate"),
        ({"certificate": "x", "private_key": KEY}, "certificate"),
        ({"certificate": CHAIN, "private_key": "x"}, "private_key"),
        ({"certificate": CHAIN, "private_key": certificate("other")[1]}, "private_key"),
        ({"protocol": "tcp", "stickiness": "cookie"}, "stickiness"),
        ({"cidr": "10.0.0.1/8"}, "cidr"),
        ({"check": CheckIn(lowest_status=400, highest_status=399)}, "check.lowest_status"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(shop, ask, field):
    cloud, me, (one, _two), _network, own = shop
    error = cloud.refused(me, balancers.create, asked(own, one, **ask))
    assert (type(error), error.field) == (BadInput, field)
    assert SECRET not in str(error)
    assert cloud.rows("select count(*) from balancer") == [(0,)]


def test_a_port_of_an_address_has_one_use(shop):
    cloud, me, (one, two), _network, own = shop
    forward = ForwardIn(address=own, machine=one, first_port=79, last_port=81, to_port=1)
    rule = cloud.do(me, rules.forward, forward).rule.id
    assert cloud.refused(me, balancers.create, asked(own, two)).why == {"rule": rule}
    cloud.do(me, rules.delete, rule)
    udp = ForwardIn(address=own, machine=one, first_port=80, protocol="udp")
    cloud.do(me, rules.forward, udp)
    made = cloud.do(me, balancers.create, asked(own, two)).balancer
    for verb, ask in (
        (rules.forward, forward),
        (rules.static_nat, StaticNatIn(address=own, machine=one)),
        (balancers.create, asked(own, one, name="other")),
    ):
        assert type(cloud.refused(me, verb, ask)) is Conflict, verb
    assert type(cloud.refused(me, balancers.create, asked(own, one, port=81))) is Conflict
    cloud.do(me, balancers.delete, made.id)
    for rule in cloud.rows("select id from rule"):
        cloud.do(me, rules.delete, rule[0])
    cloud.do(me, rules.static_nat, StaticNatIn(address=own, machine=one))
    assert cloud.refused(me, balancers.create, asked(own, two)).field == "port"


def test_members_are_ones_own_machines_of_the_same_network(shop):
    cloud, me, (one, _two), _network, own = shop
    cloud.do(me, networks.create, NetworkIn(name="back", cidr="10.9.0.0/24"))
    elsewhere = cloud.deploy(me, name="b", networks=(NicIn(network="back"),)).machines[0].id
    you = cloud.account("you")
    theirs = cloud.deploy(you, name="theirs").machines[0].id
    made = cloud.do(me, balancers.create, asked(own, one)).balancer.id
    for machine, kind in ((elsewhere, BadInput), (theirs, NotFound), ("theirs", NotFound), (one, Conflict)):  # fmt: skip
        error = cloud.refused(me, balancers.add_member, made, MemberIn(machine=machine, port=80))
        assert type(error) is kind, machine
    for verb, *args in (
        (balancers.get,),
        (balancers.stats,),
        (balancers.delete,),
        (balancers.update, BalancerChange(algorithm="source")),
        (balancers.add_member, MemberIn(machine=theirs, port=80)),
        (balancers.remove_member, one),
    ):
        assert type(cloud.refused(you, verb, made, *args)) is NotFound, verb
    assert cloud.do(you, balancers.page, BalancerQuery()).items == []
    reader = cloud.account("reader", role="read-only")
    assert type(cloud.refused(reader, balancers.create, asked(own, one))) is Forbidden


def test_an_inner_balancer_is_at_its_networks_gateway_and_a_probe_nowhere(shop):
    cloud, me, (one, two), network, own = shop
    gateway = cloud.do(me, networks.get, network).gateway
    outer = cloud.do(me, balancers.create, asked(own, one)).balancer
    inner = cloud.do(me, balancers.create, asked(None, one, name="in", network=network)).balancer
    assert (inner.kind, inner.called_at, inner.port, inner.address, inner.public) == ("inner", gateway, 80, None, None)  # fmt: skip
    ask = asked(None, two, name="probe", network=network, port=None, probe=True)
    probe = cloud.do(me, balancers.create, ask).balancer
    assert (probe.kind, probe.called_at, probe.port) == ("probe", None, None)
    assert (outer.kind, outer.called_at) == ("public", outer.public)
    told = wish(cloud, network)
    assert [each.id for each in told.balancers] == [outer.id]
    assert {each.id: (each.public, each.port) for each in told.inners} == {inner.id: ("", 80), probe.id: ("", 0)}  # fmt: skip
    refused = cloud.refused(me, balancers.create, asked(None, name="other", network=network))
    assert (type(refused), refused.field, refused.why) == (Conflict, "port", {"balancer": inner.id})
    again = asked(None, name="other", network=network, port=None, probe=True)
    assert cloud.do(me, balancers.create, again).balancer.kind == "probe"
    other = cloud.account("other")
    assert type(cloud.refused(other, balancers.create, asked(None, name="x", network=network))) is NotFound  # fmt: skip
    for each in (inner, probe):
        cloud.do(me, balancers.delete, each.id)
    assert wish(cloud, network).inners[0].port == 0


def test_an_inner_balancer_has_a_name_where_it_may_be_called_and_nowhere_else(shop):
    cloud, me, (one, _two), network, own = shop
    front, back, other = (
        cloud.do(me, networks.create, NetworkIn(name=name, cidr=f"10.{number}.0.0/24")).id
        for number, name in enumerate(("front", "back", "other"), start=7)
    )
    everywhere = [network, front, back, other]

    def names():
        with cloud.database.write() as tx:
            told = appliances.balancers.names(tx, everywhere)
        at = {network: "here", front: "front", back: "back", other: "other"}
        return {at[each]: [(n.name, n.address) for n in found] for each, found in told.items()}

    def unrest():
        """Whose routers are to be told since this was asked last."""
        found = {n for (n,) in cloud.rows("select name from network where attention")}
        with cloud.database.write() as tx:
            tx.execute(update(t.network).values(attention=False))
        return found

    leads = BetweenIn(source=front, network=back, protocol="tcp", first_port=80, last_port=90)
    cloud.do(me, rules.between, leads)
    cloud.do(
        me, rules.between, BetweenIn(source=other, network=back, protocol="tcp", first_port=81)
    )
    unrest()
    app = asked(None, name="default-app", network=back, port=80)
    made = cloud.do(me, balancers.create, app).balancer
    assert unrest() == {"back", "front", "other"}
    cloud.do(me, balancers.create, asked(own, one, name="outer"))
    cloud.do(me, balancers.create, asked(None, name="probe", network=back, port=None, probe=True))
    assert unrest() == {"back", "default"}
    gateway = cloud.do(me, networks.get, back).gateway
    assert names() == {"back": [("app.default", gateway)], "front": [("app.default", gateway)]}
    cloud.do(me, balancers.update, made.id, BalancerChange(name="orders"))
    assert names()["front"] == [("orders.default", gateway)]
    assert unrest() == {"back", "front", "other"}
    cloud.do(me, balancers.update, made.id, BalancerChange(algorithm="source"))
    assert unrest() == {"back"}
    cloud.do(me, balancers.delete, made.id)
    assert (names(), unrest()) == ({}, {"back", "front", "other"})


def test_an_inner_balancers_key_is_opened_on_its_way_too(shop):
    cloud, me, (one, _two), network, _own = shop
    ask = asked(None, one, network=network, port=443, certificate=CHAIN, private_key=KEY)
    cloud.do(me, balancers.create, ask)
    assert wish(cloud, network, told=True).inners[0].key == KEY


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ({}, "address"),
        ({"network": "n", "port": None}, "port"),
        ({"network": "n", "port": 53}, "port"),
        ({"network": "n", "probe": True}, "port"),
        ({"address": "a", "port": None}, "port"),
        ({"address": "a", "network": "n"}, "network"),
        ({"address": "a", "port": None, "probe": True}, "probe"),
    ],
)
def test_a_balancer_is_in_one_place(shop, where, field):
    cloud, me, _machines, network, own = shop
    known = {"a": own, "n": network}
    where = {name: known.get(value, value) for name, value in where.items()}
    error = cloud.refused(me, balancers.create, BalancerIn(**{"name": "shop", "port": 80} | where))
    assert (type(error), error.field) == (BadInput, field)
    assert cloud.rows("select count(*) from balancer") == [(0,)]


def test_members_are_put_and_dropped_in_one_change(shop, monkeypatch):
    cloud, me, (one, two), network, own = shop
    made = cloud.do(me, balancers.create, asked(own, one)).balancer
    three = cloud.deploy(me, name="web-3").machines[0].id

    def now():
        found = cloud.do(me, balancers.get, made.id)
        return found.generation, [(m.machine_name, m.port, m.draining) for m in found.members]

    def operations():
        return cloud.rows("select count(*) from operation where kind = 'balancer.update'")[0][0]

    both = [MemberIn(machine=each, port=81) for each in (two, "web-3")]
    cloud.do(me, balancers.put_members, made.id, both, {one, two})
    assert now() == (2, [("web-1", 80, True), ("web-2", 81, True), ("web-3", 81, False)])
    assert [m.weight for m in wish(cloud, network).balancers[0].members] == [0, 0, 1]
    assert operations() == 1
    cloud.do(me, balancers.put_members, made.id, [MemberIn(machine=one, port=80, weight=2)])
    assert now()[1][0] == ("web-1", 80, False)
    cloud.do(me, balancers.drop_members, made.id, {one, three})
    assert now() == (4, [("web-2", 81, True)])
    assert operations() == 3
    assert type(cloud.refused(me, balancers.put_members, made.id, [], {one})) is NotFound
    wrong = [MemberIn(machine=one, port=80), MemberIn(machine="web-9", port=80)]
    assert cloud.refused(me, balancers.put_members, made.id, wrong).field == "members.1.machine"
    monkeypatch.setattr(balancers, "MOST_MEMBERS", 1)
    assert type(cloud.refused(me, balancers.put_members, made.id, wrong[:1])) is Conflict
    assert now() == (4, [("web-2", 81, True)])


def test_a_machine_that_goes_leaves_its_balancers_and_the_router_hears_of_it(shop):
    cloud, me, (one, _two), network, own = shop
    cloud.do(me, balancers.create, asked(own, one, "web-2"))
    cloud.run("update network set attention = false")
    with cloud.database.write() as tx:
        attention.remove_machines(tx, [one], cloud.around.clock.now())
    assert cloud.rows("select count(*) from network where attention") == [(1,)]
    assert len(wish(cloud, network).balancers[0].members) == 1


def test_what_the_present_host_tells_is_shown_and_nobody_elses_word_counts(shop):
    cloud, me, (one, two), _network, own = shop
    made = cloud.do(me, balancers.create, asked(own, one, two)).balancer
    assert type(cloud.refused(me, balancers.stats, made.id)) is NotFound
    assert [m.up for m in made.members] == [None, None]
    nics = [m.nic for m in made.members]
    seen = BalancerSeen(
        id=BalancerId(made.id),
        requests=9,
        members=(
            MemberSeen(nic=nics[0], up=True, all_sessions=9, weight=0, well=True, errors=2),
            MemberSeen(nic=nics[1], up=False, told="Connection refused"),
        ),
    )
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        kept.keep_seen(tx, [(HostId("host-stranger"), seen)], now)
        assert kept.seen(tx, [seen.id]) == {}
        common = {"zone": "zone-here", "name": "h1", "created_at": now}
        tx.execute(insert(t.pod).values(id="pod-a", cidr="10.0.0.0/24", **common))
        tx.execute(insert(t.host).values(id="host-a", pod="pod-a", state="up", **common))
        tx.execute(update(t.network).values(appliance_host="host-a"))
        for requests in (8, 9):
            kept.keep_seen(tx, [(HostId("host-a"), replace(seen, requests=requests))], now)
    stats = cloud.do(me, balancers.stats, made.id)
    assert (stats.requests, [m.up for m in stats.members]) == (9, [True, False])
    drained, silent = stats.members
    assert (drained.weight, drained.well, drained.errors) == (0, True, 2)
    assert (silent.weight, silent.well, silent.errors) == (None, None, 0)
    shown = cloud.do(me, balancers.get, made.id).members
    assert [(m.up, m.told) for m in shown] == [(True, ""), (False, "Connection refused")]


def test_who_waits_for_news_has_it_told_and_is_woken_by_it(shop):
    cloud, me, (one, two), network, own = shop
    made = cloud.do(me, balancers.create, asked(own, one, two)).balancer
    calm = Calm(request_rate=Band(least=10, most=50))
    told = BalancerSeen(
        id=BalancerId(made.id),
        members=(
            MemberSeen(nic=made.members[0].nic, up=True, weight=1, well=False),
            MemberSeen(nic=made.members[1].nic, up=False, weight=0, well=False),
        ),
    )
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        common = {"zone": "zone-here", "name": "h1", "created_at": now}
        tx.execute(insert(t.pod).values(id="pod-a", cidr="10.0.0.0/24", **common))
        tx.execute(insert(t.host).values(id="host-a", pod="pod-a", state="up", **common))
        tx.execute(update(t.network).values(appliance_host="host-a", attention=False))
        assert not kept.keep_seen(tx, [(HostId("host-a"), told)], now)
        assert not kept.set_calm(tx, told.id, None)
        assert kept.set_calm(tx, told.id, calm)
        assert not kept.set_calm(tx, told.id, calm)
        assert kept.keep_seen(tx, [(HostId("host-a"), told)], now)
        assert not kept.keep_seen(tx, [], now)
    assert cloud.rows("select ill from balancer_seen where ill > 0") == [(1,)]
    assert [bool(a) for (a,) in cloud.rows("select attention from network")] == [True]
    assert wish(cloud, network).balancers[0].calm == calm
    cloud.do(me, balancers.update, made.id, BalancerChange(algorithm="source"))
    assert wish(cloud, network).balancers[0].calm == calm
    with cloud.database.write() as tx:
        assert kept.set_calm(tx, told.id, None)
    assert wish(cloud, network).balancers[0].calm is None


def test_a_network_has_not_endlessly_many_balancers_nor_a_balancer_members(shop, monkeypatch):
    cloud, me, (one, two), _network, own = shop
    monkeypatch.setattr(balancers, "MOST", 1)
    monkeypatch.setattr(balancers, "MOST_MEMBERS", 1)
    made = cloud.do(me, balancers.create, asked(own, one)).balancer.id
    assert type(cloud.refused(me, balancers.create, asked(own, port=81, name="b"))) is Conflict
    error = cloud.refused(me, balancers.add_member, made, MemberIn(machine=two, port=80))
    assert type(error) is Conflict
