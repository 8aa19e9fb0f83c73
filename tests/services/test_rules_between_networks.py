"""Rules between networks of a farm: who may be led to whom, and the VLAN on which their routers meet."""

import msgspec
import pytest
from sqlalchemy import text
from test_landing import with_hosts

from arable.controllers import appliances
from arable.controllers import networks as leaving
from arable.controllers.settle import settle
from arable.domain.errors import BadInput, Conflict, NoRoom, NotFound
from arable.domain.guest_cidr import link_address
from arable.domain.ids import HostId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, HostReport
from arable.services import networks, rules
from arable.store import routing, sights, wishes
from arable.wire.networks import NetworkIn
from arable.wire.rules import BetweenIn, RuleQuery


def made(cloud):
    """Two networks of one account."""
    me = cloud.account("me")
    there = [
        cloud.do(me, networks.create, NetworkIn(name=name, cidr=f"10.{number}.0.0/24"))
        for number, name in enumerate(("web", "app"), 7)
    ]
    return cloud, me, *there


@pytest.fixture
def tiers(lone_cloud):
    return made(lone_cloud)


@pytest.fixture
def tiers_on_both(cloud):
    return made(cloud)


def rows(cloud, query):
    with cloud.database.read() as tx:
        return tx.execute(text(query)).all()


LINKS = "select vlan.tag from vlan join farm on farm.id = vlan.network"


def test_a_network_is_led_to_and_no_more(tiers_on_both):
    cloud, me, web, app = tiers_on_both
    ask = BetweenIn(source=web.id, network=app.id, first_port=80)
    made = cloud.do(me, rules.between, ask).rule
    assert (made.kind, made.source_name, made.network_name) == ("between", "web", "app")
    assert (made.cidr, made.first_port, made.last_port) == ("10.7.0.0/24", 80, 80)
    assert len(rows(cloud, LINKS)) == 1
    assert len(rows(cloud, "select 1 from network where attention")) == 2
    other = BetweenIn(source=web.id, network=app.id, first_port=80, cidr="10.7.0.128/25")
    cloud.do(me, rules.between, other)
    assert len(rows(cloud, LINKS)) == 1
    assert type(cloud.refused(me, rules.between, ask)) is Conflict
    assert len(cloud.do(me, rules.page, RuleQuery(source=web.id)).items) == 2
    cloud.do(me, rules.between, BetweenIn(source=app.id, network=web.id, protocol="icmp"))
    for found in cloud.do(me, rules.page, RuleQuery(kind="between")).items:
        cloud.do(me, rules.delete, found.id)
    with cloud.database.write() as tx:
        leaving.collect(tx, cloud.around.clock.now())
    assert rows(cloud, LINKS) == []


def test_both_routers_are_told_the_same_and_meet_on_the_same_vlan(tiers_on_both):
    cloud, me, web, app = tiers_on_both
    cloud.do(me, rules.between, BetweenIn(source=web.id, network=app.id, first_port=80))
    ((link,),) = rows(cloud, LINKS)
    with cloud.database.read() as tx:
        linked = routing.linked(tx, [web.id, app.id])
        found = {row.id: row for row in routing.networks_by_id(tx, [web.id, app.id])}
    told = {}
    for row in found.values():
        here = [each for each in linked if each.network == row.id]
        body = appliances.item(row, HostId("host-a"), [], [], (), here).body
        told[row.id] = msgspec.json.decode(body, type=ApplianceWish)
    one, other = told[web.id], told[app.id]
    assert one.passages == other.passages
    assert [(p.source, p.target) for p in one.passages] == [("10.7.0.0/24", "10.8.0.0/24")]
    assert one.link.vlan == other.link.vlan == link
    for mine, near in ((one, other), (other, one)):
        assert mine.link.address == link_address(found[mine.network].number)
        ((cidr, via),) = [(each.cidr, each.via) for each in mine.link.neighbours]
        assert (cidr, via) == (near.cidr, near.link.address)


@pytest.mark.parametrize(
    ("but", "kind", "field"),
    [
        ({"cidr": "10.8.0.0/24"}, BadInput, "cidr"),
        ({"cidr": "10.0.0.0/8"}, BadInput, "cidr"),
        ({"protocol": "icmp", "first_port": 80}, BadInput, "first_port"),
        ({"last_port": 80}, BadInput, "first_port"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(tiers, but, kind, field):
    cloud, me, web, app = tiers
    error = cloud.refused(
        me, rules.between, BetweenIn(**{"source": web.id, "network": app.id} | but)
    )
    assert (type(error), error.field) == (kind, field)


def test_a_network_is_not_led_to_itself_or_to_a_strangers(tiers):
    cloud, me, web, app = tiers
    itself = BetweenIn(source=web.id, network=web.id)
    assert cloud.refused(me, rules.between, itself).field == "source"
    you = cloud.account("you")
    theirs = cloud.do(you, networks.create, NetworkIn(name="web", cidr="10.9.0.0/24")).id
    for who, source, network in ((me, theirs, app.id), (me, web.id, theirs), (you, theirs, app.id)):
        ask = BetweenIn(source=source, network=network)
        assert type(cloud.refused(who, rules.between, ask)) is NotFound


def test_a_network_that_is_led_to_or_from_stays(tiers):
    cloud, me, web, app = tiers
    rule = cloud.do(me, rules.between, BetweenIn(source=web.id, network=app.id)).rule.id
    for network in (web, app):
        error = cloud.refused(me, networks.delete, network.id)
        assert (type(error), error.why) == (Conflict, {"rules": [rule]})
    cloud.do(me, rules.delete, rule)
    cloud.do(me, networks.delete, web.id)
    gone = BetweenIn(source=web.id, network=app.id)
    assert type(cloud.refused(me, rules.between, gone)) is Conflict


def test_networks_of_different_farms_are_not_led_together(tiers):
    cloud, me, web, app = tiers
    with cloud.database.write() as tx:
        tx.execute(
            text(
                "insert into farm (id, account, zone, name, created_at)"
                " select 'farm-other', account, zone, 'other', created_at from farm"
            )
        )
        tx.execute(text("update network set farm = 'farm-other' where name = 'app'"))
    error = cloud.refused(me, rules.between, BetweenIn(source=web.id, network=app.id))
    assert (type(error), error.field) == (Conflict, "source")


def test_without_a_free_vlan_there_is_no_link(tiers):
    cloud, me, web, app = tiers
    with cloud.database.write() as tx:
        tx.execute(text("update vlan set leaving = true where network is null"))
    error = cloud.refused(me, rules.between, BetweenIn(source=web.id, network=app.id))
    assert type(error) is NoRoom


def test_a_link_is_not_given_back_while_a_host_may_have_something_of_it(tiers_on_both):
    cloud, me, web, app = tiers_on_both
    with_hosts(cloud, "a")
    rule = cloud.do(me, rules.between, BetweenIn(source=web.id, network=app.id)).rule.id
    ((link,),) = rows(cloud, LINKS)
    ((farm,),) = rows(cloud, "select network from vlan join farm on farm.id = vlan.network")
    ((host, generation),) = rows(cloud, "select id, manifest_generation from host limit 1")

    def said(vlans):
        with cloud.database.write() as tx:
            sights.forget_presence(tx, {host: (generation, vlans)})
            leaving.collect(tx, cloud.around.clock.now())
        return rows(cloud, LINKS)

    with cloud.database.write() as tx:
        wishes.note_presence(tx, [(farm, host)])
        tx.execute(text("update network set appliance_host = :h where name = 'app'"), {"h": host})
    assert said([]), "it is wished for there"
    cloud.do(me, rules.delete, rule)
    assert said([link]), "the host has it still"
    assert not said([])


def test_networks_of_a_farm_have_numbers_of_their_own_and_free_ones_are_given_again(cloud):
    me, other = cloud.account("me"), cloud.account("other")
    made = [
        cloud.do(me, networks.create, NetworkIn(name=f"n{n}", cidr=f"10.{n}.0.0/24")).id
        for n in range(20, 23)
    ]
    cloud.do(other, networks.create, NetworkIn(name="n", cidr="10.20.0.0/24"))
    numbers = "select number from network where account = :a order by number"
    assert cloud.rows(numbers, a=me.account) == [(1,), (2,), (3,)]
    assert cloud.rows(numbers, a=other.account) == [(1,)]
    cloud.do(me, networks.delete, made[1])
    with cloud.database.write() as tx:
        leaving.collect(tx, cloud.around.clock.now())
    cloud.do(me, networks.create, NetworkIn(name="n2", cidr="10.30.0.0/24"))
    assert cloud.rows(numbers, a=me.account) == [(1,), (2,), (3,)]


def test_a_rule_is_done_when_both_routers_know_it_and_so_is_its_end(tiers_on_both):
    cloud, me, web, app = tiers_on_both
    with_hosts(cloud, "a", "b")
    for host, network in (("host-a", web), ("host-b", app)):
        cloud.run(
            "update network set appliance_state = 'running', appliance_host = :host where id = :id",
            host=host,
            id=network.id,
        )

    def knows(host: str, network: str) -> None:
        """Its router runs by the newest wish."""
        ((generation,),) = cloud.rows("select generation from network where id = :id", id=network)
        seen = ApplianceSeen(network=network, generation=generation, running=True)
        report = HostReport(host=HostId(host), generation=1, appliances=(seen,))
        with cloud.database.write() as tx:
            settle(tx, [report], cloud.around.clock.now())

    def tell() -> None:
        with cloud.database.write() as tx:
            appliances.attend(tx, cloud.around.clock.now())

    def states() -> list[str]:
        return sorted(state for (state,) in cloud.rows("select state from operation"))

    ask = BetweenIn(source=web.id, network=app.id, first_port=80)
    made = cloud.do(me, rules.between, ask)
    tell()
    knows("host-b", app.id)
    assert states() == ["running"], "who calls has not heard of it"
    knows("host-a", web.id)
    assert states() == ["done"]
    cloud.do(me, rules.delete, made.rule.id)
    tell()
    knows("host-a", web.id)
    assert states() == ["done", "running"]
    knows("host-b", app.id)
    assert states() == ["done", "done"]
    cloud.run("update network set appliance_state = 'absent', appliance_host = null")
    cloud.do(me, rules.between, ask)
    tell()
    assert states() == ["done"] * 3, "they will start with it"
