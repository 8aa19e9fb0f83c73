"""Guest networks, public addresses and rules: what is taken, what collides, what waits for the appliance."""

import pytest
from make_cloud import Cloud, make_cloud

from arable.controllers import appliances
from arable.controllers import networks as leaving
from arable.domain.errors import (
    BadInput,
    Conflict,
    Forbidden,
    LimitExceeded,
    NoRoom,
    NotFound,
    Stale,
)
from arable.services import addresses, farms, groups, machines, networks, power, rules, volumes
from arable.services.operations import get as operation
from arable.wire.addresses import AddressIn, AddressQuery, AssociateIn
from arable.wire.farms import FarmQuery
from arable.wire.groups import GroupIn, GroupQuery
from arable.wire.machines import DestroyIn, NicIn
from arable.wire.networks import NetworkChange, NetworkIn, NetworkQuery
from arable.wire.operations import OperationWaitQuery
from arable.wire.rules import FirewallIn, ForwardIn, RuleQuery
from arable.wire.volumes import VolumeQuery


def state_of(cloud: Cloud, me, operation_id: str) -> str:
    return cloud.do(me, operation, operation_id, OperationWaitQuery()).state


def attend(cloud: Cloud) -> None:
    """The controllers' round: no appliance runs, so every change is in effect as soon as it is kept."""
    with cloud.database.write() as tx:
        appliances.attend(tx, cloud.around.clock.now())
        leaving.collect(tx, cloud.around.clock.now())


# --- networks ---------------------------------------------------------------------------------------------------


def test_a_network_takes_a_vlan_a_gateway_and_a_way_out(cloud):
    me = cloud.account("me")
    made = cloud.do(me, networks.create, NetworkIn(name="back", cidr="192.168.7.0/24"))
    assert (made.cidr, made.gateway, made.state) == ("192.168.7.0/24", "192.168.7.1", "ready")
    assert (made.source_nat, made.notice, made.appliance) == ("198.51.100.10", "", "absent")
    assert made.vlan is None  # told to operators only
    assert cloud.rows("select tag from vlan where network = :id", id=made.id) == [(100,)]
    assert cloud.used(me) == {"networks": 1, "addresses": 1}
    operator = cloud.account("op", role="operator")
    assert cloud.do(operator, networks.get, made.id).vlan == 100


def test_two_customers_have_the_same_subnet_in_different_vlans(cloud):
    me, you = cloud.account("me"), cloud.account("you")
    for caller in (me, you):
        cloud.do(caller, networks.create, NetworkIn(name="back"))
    assert cloud.rows("select count(distinct cidr), count(distinct vlan) from network") == [(1, 2)]


BAD_CIDRS = [
    ("10.0.0.5/24", BadInput),  # host bits
    ("10.0.0.0/15", BadInput),
    ("10.0.0.0/30", BadInput),
    ("10.0.0.0/33", BadInput),
    ("10.0.0.0/0", BadInput),
    ("10.0.0/24", BadInput),
    ("010.0.0.0/24", BadInput),
    ("8.8.8.0/24", BadInput),
    ("127.0.0.0/24", BadInput),
    ("169.254.0.0/24", BadInput),
    ("172.15.0.0/16", BadInput),
    ("192.169.0.0/24", BadInput),
    ("224.0.0.0/24", BadInput),
    ("255.255.255.0/24", BadInput),
    ("198.51.100.0/24", BadInput),
]


@pytest.mark.parametrize(("cidr", "kind"), BAD_CIDRS)
def test_what_is_no_private_network_is_refused(lone_cloud, cidr, kind):
    me = lone_cloud.account("me")
    error = lone_cloud.refused(me, networks.create, NetworkIn(name="a", cidr=cidr))
    assert (type(error), error.field) == (kind, "cidr")


@pytest.mark.parametrize("other", ["10.5.0.0/16", "10.5.5.0/24", "10.5.0.0/24", "10.5.255.248/29"])
def test_networks_of_one_account_do_not_overlap(lone_cloud, other):
    me, you = lone_cloud.account("me"), lone_cloud.account("you")
    lone_cloud.do(me, networks.create, NetworkIn(name="a", cidr="10.5.0.0/16"))
    error = lone_cloud.refused(me, networks.create, NetworkIn(name="b", cidr=other))
    assert (type(error), error.field) == (Conflict, "cidr")
    lone_cloud.do(you, networks.create, NetworkIn(name="b", cidr=other))
    lone_cloud.do(me, networks.create, NetworkIn(name="b", cidr="10.6.0.0/16"))


def test_a_network_does_not_hide_the_zones_public_addresses(lone_cloud):
    me = lone_cloud.account("me")
    lone_cloud.run("update public_range set cidr = '10.77.0.0/24'")
    error = lone_cloud.refused(me, networks.create, NetworkIn(name="a", cidr="10.77.0.0/16"))
    assert type(error) is Conflict


def test_a_name_is_given_once(cloud):
    me = cloud.account("me")
    cloud.do(me, networks.create, NetworkIn(name="a", cidr="10.5.0.0/24"))
    error = cloud.refused(me, networks.create, NetworkIn(name="a", cidr="10.6.0.0/24"))
    assert (type(error), error.field) == (Conflict, "name")


def test_the_limit_of_networks_holds(cloud):
    me = cloud.account("me", networks=1)
    cloud.do(me, networks.create, NetworkIn(name="a", cidr="10.5.0.0/24"))
    error = cloud.refused(me, networks.create, NetworkIn(name="b", cidr="10.6.0.0/24"))
    assert type(error) is LimitExceeded


def test_a_zone_without_a_free_vlan_says_so(database):
    cloud = make_cloud(database, vlans=1)
    me = cloud.account("me")
    cloud.do(me, networks.create, NetworkIn(name="a", cidr="10.5.0.0/24"))
    error = cloud.refused(me, networks.create, NetworkIn(name="b", cidr="10.6.0.0/24"))
    assert type(error) is NoRoom
    assert "VLAN" in error.public


def test_when_public_addresses_run_out_networks_are_made_without_a_way_out(cloud):
    me = cloud.account("me")
    for n in range(21):
        made = cloud.do(me, networks.create, NetworkIn(name=f"n{n}", cidr=f"10.5.{n}.0/24"))
    assert made.source_nat is None
    assert "no way out" in made.notice
    assert cloud.used(me)["addresses"] == 20


def test_a_network_is_renamed_and_its_appliance_told_of_the_generation(lone_cloud):
    me = lone_cloud.account("me")
    made = lone_cloud.do(me, networks.create, NetworkIn(name="a"))
    after = lone_cloud.do(me, networks.update, made.id, NetworkChange(name="b"), expects=1)
    assert (after.name, after.generation) == ("b", 2)
    assert lone_cloud.rows("select attention + 0 from network") == [(1,)]
    error = lone_cloud.refused(me, networks.update, made.id, NetworkChange(name="c"), expects=1)
    assert type(error) is Stale


def test_a_network_with_machines_stays(cloud):
    me = cloud.account("me")
    made = cloud.deploy(me, start=False).machines[0]
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    assert type(cloud.refused(me, networks.delete, network.id)) is Conflict
    cloud.do(me, power.destroy, made.id, DestroyIn())
    assert type(cloud.refused(me, networks.delete, network.id)) is Conflict


def test_a_deleted_network_gives_its_name_at_once_and_its_vlan_at_last(cloud):
    me = cloud.account("me")
    made = cloud.do(me, networks.create, NetworkIn(name="a", cidr="10.5.0.0/24"))
    answer = cloud.do(me, networks.delete, made.id)
    assert (answer.state, answer.target) == ("running", made.id)
    assert cloud.do(me, networks.get, made.id).state == "leaving"
    assert cloud.used(me) == {"networks": 1}
    assert type(cloud.refused(me, networks.delete, made.id)) is Conflict
    assert type(cloud.refused(me, networks.update, made.id, NetworkChange(name="x"))) is Conflict
    again = cloud.do(me, networks.create, NetworkIn(name="a", cidr="10.5.0.0/24"))
    tags = cloud.rows("select tag from vlan where network is not null order by tag")
    assert tags == [(100,), (101,)]
    assert again.source_nat == "198.51.100.11"  # the old one's appliance may still answer for .10
    attend(cloud)
    assert state_of(cloud, me, answer.id) == "done"
    assert cloud.rows("select tag from vlan where network is not null") == [(101,)]
    third = cloud.do(me, networks.create, NetworkIn(name="b", cidr="10.7.0.0/24"))
    assert third.source_nat == "198.51.100.10"
    assert cloud.used(me) == {"networks": 2, "addresses": 2}


def test_deploying_after_the_default_network_was_deleted_makes_another(cloud):
    me = cloud.account("me")
    first = cloud.do(me, networks.create, NetworkIn(name="default"))
    cloud.do(me, networks.delete, first.id)
    made = cloud.deploy(me).machines[0]
    assert cloud.do(me, machines.get, made.id).nics[0].network != first.id


def test_other_accounts_networks_do_not_exist(lone_cloud):
    me, you = lone_cloud.account("me"), lone_cloud.account("you")
    yours = lone_cloud.do(you, networks.create, NetworkIn(name="yours")).id
    for use_case, args in (
        (networks.get, ()),
        (networks.delete, ()),
        (networks.update, (NetworkChange(name="x"),)),
    ):
        foreign = lone_cloud.refused(me, use_case, yours, *args)
        absent = lone_cloud.refused(me, use_case, "network-0", *args)
        assert (type(foreign), foreign.public) == (NotFound, absent.public)
    assert lone_cloud.do(me, networks.page, NetworkQuery()).items == []
    assert lone_cloud.do(me, networks.page, NetworkQuery(account=you.account)).items == []


def test_lists_of_networks_are_filtered(lone_cloud):
    me = lone_cloud.account("me")
    for n, name in enumerate(("web-a", "web-b", "db")):
        lone_cloud.do(me, networks.create, NetworkIn(name=name, cidr=f"10.5.{n}.0/24"))

    def names(**query):
        return {each.name for each in lone_cloud.do(me, networks.page, NetworkQuery(**query)).items}

    assert names(prefix="web-") == {"web-a", "web-b"}
    assert names(name="db") == {"db"}
    assert names(zone="zone-there") == set()
    assert names(state="leaving") == set()
    first = lone_cloud.do(me, networks.page, NetworkQuery(limit=2))
    rest = lone_cloud.do(me, networks.page, NetworkQuery(limit=2, after=first.next))
    assert [len(first.items), len(rest.items), rest.next] == [2, 1, None]


# --- public addresses ---------------------------------------------------------------------------------------------


def test_an_address_is_taken_used_and_given_back(cloud):
    me = cloud.account("me", addresses=2)
    network = cloud.do(me, networks.create, NetworkIn(name="a"))
    mine = cloud.do(me, addresses.acquire, AddressIn())
    assert (mine.address, mine.network) == ("198.51.100.11", None)
    assert type(cloud.refused(me, addresses.acquire, AddressIn())) is LimitExceeded
    answer = cloud.do(me, addresses.associate, mine.id, AssociateIn(network="a"))
    assert (answer.state, answer.target) == ("running", network.id)
    attend(cloud)
    assert state_of(cloud, me, answer.id) == "done"
    mine = cloud.do(me, addresses.get, mine.id)
    assert (mine.network, mine.source_nat) == (network.id, False)
    again = cloud.do(me, addresses.associate, mine.id, AssociateIn(network=network.id))
    assert again.state == "done"
    answer = cloud.do(me, addresses.release, mine.id)
    assert cloud.used(me)["addresses"] == 1
    assert type(cloud.refused(me, addresses.get, mine.id)) is NotFound
    error = cloud.refused(me, addresses.acquire, AddressIn(address="198.51.100.11"))
    assert type(error) is Conflict  # its old appliance has not let it go yet
    attend(cloud)
    assert state_of(cloud, me, answer.id) == "done"
    you = cloud.account("you")
    cloud.do(you, addresses.acquire, AddressIn(address="198.51.100.11"))


def test_an_address_that_nobody_uses_is_given_back_at_once(cloud):
    me = cloud.account("me")
    mine = cloud.do(me, addresses.acquire, AddressIn(address="198.51.100.20"))
    assert cloud.do(me, addresses.release, mine.id).state == "done"
    assert cloud.do(me, addresses.acquire, AddressIn(address="198.51.100.20")).account == me.account


def test_the_first_address_of_a_network_becomes_its_way_out_and_the_next_takes_over(cloud):
    me = cloud.account("me", addresses=0)
    network = cloud.do(me, networks.create, NetworkIn(name="a"))
    cloud.run("update quota set max_addresses = 5")
    first, second = (cloud.do(me, addresses.acquire, AddressIn()) for _ in range(2))
    cloud.do(me, addresses.associate, first.id, AssociateIn(network="a"))
    cloud.do(me, addresses.associate, second.id, AssociateIn(network="a"))
    assert cloud.do(me, networks.get, network.id).source_nat == first.address
    cloud.do(me, addresses.release, first.id)
    after = cloud.do(me, networks.get, network.id)
    assert (after.source_nat, after.notice) == (second.address, "")


@pytest.mark.parametrize("address", ["198.51.100.1", "198.51.100.99", "10.0.0.1", "999.0.0.1"])
def test_only_addresses_of_the_zone_are_taken(lone_cloud, address):
    me = lone_cloud.account("me")
    error = lone_cloud.refused(me, addresses.acquire, AddressIn(address=address))
    assert (type(error), error.field) == (Conflict, "address")


def test_another_accounts_address_reads_like_one_that_is_not_free(lone_cloud):
    me, you = lone_cloud.account("me"), lone_cloud.account("you")
    yours = lone_cloud.do(you, addresses.acquire, AddressIn(address="198.51.100.20"))
    taken = lone_cloud.refused(me, addresses.acquire, AddressIn(address="198.51.100.20"))
    absent = lone_cloud.refused(me, addresses.acquire, AddressIn(address="198.51.100.99"))
    assert taken.public.replace("20 ", "99 ") == absent.public
    lone_cloud.do(me, networks.create, NetworkIn(name="a"))
    for use_case, args in (
        (addresses.get, ()),
        (addresses.release, ()),
        (addresses.associate, (AssociateIn(network="a"),)),
    ):
        foreign = lone_cloud.refused(me, use_case, yours.id, *args)
        absent = lone_cloud.refused(me, use_case, "address-0", *args)
        assert (type(foreign), foreign.public) == (NotFound, absent.public)
    free = lone_cloud.rows("select id from address where account is null limit 1")[0][0]
    assert type(lone_cloud.refused(me, addresses.get, free)) is NotFound


def test_an_address_is_not_associated_with_anothers_network_nor_with_two(lone_cloud):
    me, you = lone_cloud.account("me"), lone_cloud.account("you")
    yours = lone_cloud.do(you, networks.create, NetworkIn(name="yours"))
    for name in ("a", "b"):
        cidr = f"10.{len(name) + ord(name)}.0.0/24"
        lone_cloud.do(me, networks.create, NetworkIn(name=name, cidr=cidr))
    mine = lone_cloud.do(me, addresses.acquire, AddressIn())
    for name in (yours.id, "yours"):
        error = lone_cloud.refused(me, addresses.associate, mine.id, AssociateIn(network=name))
        assert type(error) is NotFound
    lone_cloud.do(me, addresses.associate, mine.id, AssociateIn(network="a"))
    error = lone_cloud.refused(me, addresses.associate, mine.id, AssociateIn(network="b"))
    assert type(error) is Conflict


def test_a_network_with_further_addresses_stays_until_they_are_released(lone_cloud):
    me = lone_cloud.account("me")
    made = lone_cloud.do(me, networks.create, NetworkIn(name="a"))
    mine = lone_cloud.do(me, addresses.acquire, AddressIn())
    lone_cloud.do(me, addresses.associate, mine.id, AssociateIn(network="a"))
    error = lone_cloud.refused(me, networks.delete, made.id)
    assert mine.address in error.public
    lone_cloud.do(me, addresses.release, mine.id)
    lone_cloud.do(me, networks.delete, made.id)


# --- rules ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def routed(lone_cloud):
    """A machine, its network, and its public address."""
    me = lone_cloud.account("me")
    machine = lone_cloud.deploy(me).machines[0].id
    (network,) = lone_cloud.do(me, networks.page, NetworkQuery()).items
    (address,) = lone_cloud.do(me, addresses.page, AddressQuery()).items
    return lone_cloud, me, machine, network.id, address.id


def test_a_forward_that_opens_is_one_rule_and_goes_as_one(routed):
    cloud, me, machine, network, address = routed
    ask = ForwardIn(address=address, machine=machine, first_port=8080, to_port=80, open=True)
    made = cloud.do(me, rules.forward, ask)
    assert (made.rule.kind, made.rule.open, made.rule.cidr) == ("forward", True, "0.0.0.0/0")
    assert (made.rule.first_port, made.rule.last_port, made.rule.to_port) == (8080, 8080, 80)
    assert state_of(cloud, me, made.operation) == "running"
    assert cloud.rows("select attention + 0, generation from network") == [(1, 2)]
    attend(cloud)
    assert state_of(cloud, me, made.operation) == "done"
    answer = cloud.do(me, rules.delete, made.rule.id)
    assert answer.target == network
    assert cloud.do(me, rules.page, RuleQuery()).items == []
    assert type(cloud.refused(me, rules.delete, made.rule.id)) is NotFound


def test_a_forward_that_does_not_open_leaves_it_to_the_firewall(routed):
    cloud, me, machine, _network, address = routed
    made = cloud.do(me, rules.forward, ForwardIn(address=address, machine=machine, first_port=80))
    assert (made.rule.open, made.rule.cidr) == (False, None)
    assert cloud.rows("select cidr from rule") == [("",)]


def test_a_port_is_forwarded_once(routed):
    cloud, me, machine, _network, address = routed
    base = {"address": address, "machine": machine}
    first = ForwardIn(**base, first_port=1000, last_port=1010, to_port=1)
    made = cloud.do(me, rules.forward, first)
    for first_port, last_port in (
        (1000, None),
        (990, 1000),
        (1010, 1020),
        (1003, 1004),
        (1, 65535),
    ):
        ask = ForwardIn(**base, first_port=first_port, last_port=last_port, to_port=1)
        error = cloud.refused(me, rules.forward, ask)
        assert type(error) is Conflict
        assert error.why == {"rule": made.rule.id}
    cloud.do(me, rules.forward, ForwardIn(**base, first_port=999))
    cloud.do(me, rules.forward, ForwardIn(**base, first_port=1011))
    cloud.do(me, rules.forward, ForwardIn(**base, first_port=1000, protocol="udp"))


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({"first_port": 20, "last_port": 10}, "last_port"),
        ({"first_port": 1, "last_port": 1000, "to_port": 65000}, "to_port"),
        ({"first_port": 1, "open": True, "cidr": "10.0.0.1/24"}, "cidr"),
        ({"first_port": 1, "open": True, "cidr": "300.0.0.0/24"}, "cidr"),
    ],
)
def test_a_forward_that_makes_no_sense_is_refused(routed, ask, field):
    cloud, me, machine, _network, address = routed
    error = cloud.refused(me, rules.forward, ForwardIn(address=address, machine=machine, **ask))
    assert (type(error), error.field) == (BadInput, field)


def test_a_forward_leads_to_a_machine_of_the_same_network_that_is_there_to_stay(routed):
    cloud, me, machine, _network, address = routed
    cloud.do(me, networks.create, NetworkIn(name="back", cidr="10.9.0.0/24"))
    elsewhere = cloud.deploy(me, name="b", networks=(NicIn(network="back"),)).machines[0].id
    error = cloud.refused(
        me, rules.forward, ForwardIn(address=address, machine=elsewhere, first_port=80)
    )
    assert (type(error), error.field) == (BadInput, "machine")
    cloud.do(me, power.destroy, machine, DestroyIn())
    error = cloud.refused(
        me, rules.forward, ForwardIn(address=address, machine=machine, first_port=80)
    )
    assert type(error) is Conflict


def test_an_address_without_a_network_or_with_rules_is_told_apart(routed):
    cloud, me, machine, _network, address = routed
    idle = cloud.do(me, addresses.acquire, AddressIn())
    error = cloud.refused(
        me, rules.forward, ForwardIn(address=idle.id, machine=machine, first_port=80)
    )
    assert (type(error), error.field) == (Conflict, "address")
    cloud.do(me, rules.forward, ForwardIn(address=address, machine=machine, first_port=80))
    assert type(cloud.refused(me, addresses.release, address)) is Conflict


def test_firewall_rules_say_in_by_address_and_out_by_network(routed):
    cloud, me, _machine, network, address = routed
    into = cloud.do(
        me, rules.firewall, FirewallIn(address=address, first_port=443, cidr="203.0.113.0/24")
    )
    out = cloud.do(me, rules.firewall, FirewallIn(direction="out", network=network, protocol="all"))
    assert (into.rule.direction, into.rule.first_port, into.rule.last_port) == ("in", 443, 443)
    assert (out.rule.address, out.rule.first_port) == (None, None)
    same = FirewallIn(address=address, first_port=443, cidr="203.0.113.0/24")
    assert type(cloud.refused(me, rules.firewall, same)) is Conflict


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({"network": "N"}, "address"),
        ({"address": "A", "network": "N"}, "address"),
        ({"direction": "out", "address": "A"}, "network"),
        ({"direction": "out", "network": "N", "address": "A"}, "network"),
        ({"address": "A", "protocol": "icmp", "first_port": 3}, "first_port"),
        ({"address": "A", "last_port": 3}, "first_port"),
        ({"address": "A", "first_port": 4, "last_port": 3}, "last_port"),
        ({"address": "A", "cidr": "10.0.0.7/8"}, "cidr"),
    ],
)
def test_a_firewall_rule_that_makes_no_sense_is_refused(routed, ask, field):
    cloud, me, _machine, network, address = routed
    real = {"A": address, "N": network}
    error = cloud.refused(
        me, rules.firewall, FirewallIn(**{name: real.get(str(v), v) for name, v in ask.items()})
    )
    assert (type(error), error.field) == (BadInput, field)


def test_rules_with_what_is_someone_elses_are_not_made(routed):
    cloud, me, machine, network, address = routed
    you = cloud.account("you")
    theirs = cloud.deploy(you).machines[0].id
    (their_network,) = cloud.do(you, networks.page, NetworkQuery()).items
    (their_address,) = cloud.do(you, addresses.page, AddressQuery()).items
    made = cloud.do(me, rules.firewall, FirewallIn(address=address)).rule.id
    for ask in (
        ForwardIn(address=their_address.id, machine=machine, first_port=1),
        ForwardIn(address=address, machine=theirs, first_port=1),
    ):
        assert type(cloud.refused(me, rules.forward, ask)) is NotFound
    for wall in (
        FirewallIn(address=their_address.id),
        FirewallIn(direction="out", network=their_network.id),
    ):
        assert type(cloud.refused(me, rules.firewall, wall)) is NotFound
    for use_case in (rules.get, rules.delete):
        assert type(cloud.refused(you, use_case, made)) is NotFound
    assert cloud.do(you, rules.page, RuleQuery(network=network)).items == []


def test_a_network_has_not_endlessly_many_rules(routed, monkeypatch):
    cloud, me, _machine, _network, address = routed
    monkeypatch.setattr(rules, "MOST", 2)
    for port in (1, 2):
        cloud.do(me, rules.firewall, FirewallIn(address=address, first_port=port))
    error = cloud.refused(me, rules.firewall, FirewallIn(address=address, first_port=3))
    assert type(error) is Conflict


# --- groups, farms, volumes ------------------------------------------------------------------------------------------


def test_a_group_with_members_stays_and_an_empty_one_goes(cloud):
    me, you = cloud.account("me"), cloud.account("you")
    group = cloud.do(me, groups.create, GroupIn(name="db", rule="apart", strict=False))
    assert type(cloud.refused(me, groups.create, GroupIn(name="db", rule="together"))) is Conflict
    assert type(cloud.refused(you, groups.get, group.id)) is NotFound
    assert type(cloud.refused(you, groups.delete, group.id)) is NotFound
    cloud.deploy(me, group="db")
    assert type(cloud.refused(me, groups.delete, group.id)) is Conflict
    (listed,) = cloud.do(me, groups.page, GroupQuery(name="db")).items
    assert (listed.members, listed.strict) == (1, False)
    cloud.run("delete from group_member")
    cloud.do(me, groups.delete, group.id)
    assert cloud.do(me, groups.page, GroupQuery()).items == []


def test_farms_and_volumes_are_seen_by_their_owner_alone(lone_cloud):
    me, you = lone_cloud.account("me"), lone_cloud.account("you")
    lone_cloud.deploy(me)
    (farm,) = lone_cloud.do(me, farms.page, FarmQuery()).items
    (volume,) = lone_cloud.do(me, volumes.page, VolumeQuery()).items
    assert lone_cloud.do(you, farms.page, FarmQuery()).items == []
    assert lone_cloud.do(you, volumes.page, VolumeQuery()).items == []
    assert type(lone_cloud.refused(you, farms.get, farm.id)) is NotFound
    assert type(lone_cloud.refused(you, volumes.get, volume.id)) is NotFound


def test_who_may_only_read_changes_no_network(lone_cloud):
    reader = lone_cloud.account("reader", role="read-only")
    for use_case, args in (
        (networks.create, (NetworkIn(name="a"),)),
        (networks.delete, ("network-0",)),
        (networks.update, ("network-0", NetworkChange())),
        (addresses.acquire, (AddressIn(),)),
        (addresses.associate, ("address-0", AssociateIn(network="a"))),
        (addresses.release, ("address-0",)),
        (rules.forward, (ForwardIn(address="address-0", machine="machine-0", first_port=1),)),
        (rules.firewall, (FirewallIn(address="address-0"),)),
        (rules.delete, ("rule-0",)),
        (groups.create, (GroupIn(name="a", rule="apart"),)),
        (groups.delete, ("group-0",)),
    ):
        assert type(lone_cloud.refused(reader, use_case, *args)) is Forbidden
