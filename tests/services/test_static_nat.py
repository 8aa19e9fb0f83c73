"""A public address that is wholly one machine's: what it excludes, and what excludes it."""

import pytest
from sqlalchemy import text

from arable.domain.errors import BadInput, Conflict, NotFound
from arable.services import addresses, networks, rules
from arable.store import attention
from arable.wire.addresses import AddressIn, AddressQuery, AssociateIn
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkIn, NetworkQuery
from arable.wire.rules import FirewallIn, ForwardIn, RuleQuery, StaticNatIn


@pytest.fixture
def routed(lone_cloud):
    """A machine, its network's way out, and a further public address."""
    me = lone_cloud.account("me")
    machine = lone_cloud.deploy(me).machines[0].id
    (network,) = lone_cloud.do(me, networks.page, NetworkQuery()).items
    (out,) = lone_cloud.do(me, addresses.page, AddressQuery()).items
    own = lone_cloud.do(me, addresses.acquire, AddressIn())
    lone_cloud.do(me, addresses.associate, own.id, AssociateIn(network=network.id))
    return lone_cloud, me, machine, out.id, own.id


def test_an_address_becomes_a_machines_and_is_given_back(routed):
    cloud, me, machine, _out, own = routed
    made = cloud.do(me, rules.static_nat, StaticNatIn(address=own, machine=machine))
    assert (made.rule.kind, made.rule.machine) == ("static-nat", machine)
    assert (made.rule.open, made.rule.cidr, made.rule.first_port) == (False, None, None)
    assert type(cloud.refused(me, addresses.release, own)) is Conflict
    cloud.do(me, rules.delete, made.rule.id)
    cloud.do(me, addresses.release, own)
    assert cloud.do(me, rules.page, RuleQuery(kind="static-nat")).items == []


def test_the_way_out_is_nobodys_own(routed):
    cloud, me, machine, out, _own = routed
    error = cloud.refused(me, rules.static_nat, StaticNatIn(address=out, machine=machine))
    assert (type(error), error.field) == (Conflict, "address")


def test_an_address_has_forwards_or_is_a_machines_and_never_both(routed):
    cloud, me, machine, _out, own = routed
    static = StaticNatIn(address=own, machine=machine)
    forward = ForwardIn(address=own, machine=machine, first_port=80)
    there = cloud.do(me, rules.forward, forward).rule.id
    assert cloud.refused(me, rules.static_nat, static).why == {"rule": there}
    cloud.do(me, rules.delete, there)
    there = cloud.do(me, rules.static_nat, static).rule.id
    assert cloud.refused(me, rules.forward, forward).why == {"rule": there}
    assert cloud.refused(me, rules.static_nat, static).why == {"rule": there}
    cloud.do(me, rules.firewall, FirewallIn(address=own, first_port=22))


def test_a_machine_goes_out_by_one_address(routed):
    cloud, me, machine, _out, own = routed
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    second = cloud.do(me, addresses.acquire, AddressIn()).id
    cloud.do(me, addresses.associate, second, AssociateIn(network=network.id))
    cloud.do(me, rules.static_nat, StaticNatIn(address=own, machine=machine))
    error = cloud.refused(me, rules.static_nat, StaticNatIn(address=second, machine=machine))
    assert (type(error), error.field) == (Conflict, "machine")


def test_a_network_does_not_go_out_by_a_machines_own_address(routed):
    cloud, me, machine, out, own = routed
    there = cloud.do(me, rules.static_nat, StaticNatIn(address=own, machine=machine)).rule.id
    assert type(cloud.refused(me, addresses.release, out)) is Conflict
    cloud.do(me, rules.delete, there)
    cloud.do(me, addresses.release, out)
    assert cloud.do(me, addresses.get, own).source_nat


def test_it_leads_to_a_machine_of_the_same_network_and_account(routed):
    cloud, me, machine, _out, own = routed
    cloud.do(me, networks.create, NetworkIn(name="back", cidr="10.9.0.0/24"))
    elsewhere = cloud.deploy(me, name="b", networks=(NicIn(network="back"),)).machines[0].id
    error = cloud.refused(me, rules.static_nat, StaticNatIn(address=own, machine=elsewhere))
    assert (type(error), error.field) == (BadInput, "machine")
    you = cloud.account("you")
    theirs = cloud.deploy(you).machines[0].id
    for who, ask in (
        (me, StaticNatIn(address=own, machine=theirs)),
        (you, StaticNatIn(address=own, machine=theirs)),
        (you, StaticNatIn(address=own, machine=machine)),
    ):
        assert type(cloud.refused(who, rules.static_nat, ask)) is NotFound


def test_with_its_machine_goes_the_rule_and_the_router_hears_of_it(routed):
    cloud, me, machine, _out, own = routed
    cloud.do(me, rules.static_nat, StaticNatIn(address=own, machine=machine))
    with cloud.database.write() as tx:
        tx.execute(text("update network set attention = false"))
        attention.remove_machines(tx, [machine], cloud.around.clock.now())
    assert cloud.rows("select attention + 0 from network") == [(1,)]
    assert cloud.rows("select count(*) from rule") == [(0,)]
