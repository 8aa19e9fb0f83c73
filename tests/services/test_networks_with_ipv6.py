"""IPv6 ranges of zones, and the prefixes that networks have of them."""

from datetime import timedelta

import msgspec
import pytest
from make_cloud import Cloud
from test_landing import attend as place
from test_landing import routed, with_hosts

from arable.controllers import appliances, repair
from arable.domain.access import Caller
from arable.domain.errors import BadInput, Conflict, Forbidden, NoRoom, NotFound
from arable.domain.guest_ipv6 import address_of
from arable.domain.ids import ALPHABET
from arable.domain.manifest import ApplianceWish, GuestWish, Ipv6Net, LeaseWish
from arable.services import ipv6_ranges, networks, nics, rules
from arable.wire.ipv6_ranges import Ipv6RangeIn, Ipv6RangeQuery
from arable.wire.networks import NetworkChange, NetworkIn, NetworkQuery
from arable.wire.nics import NicQuery
from arable.wire.rules import FirewallIn

CIDR, GATEWAY = "2001:db8:100::/62", "2001:db8:100::1"
FIRST, SECOND, THIRD = (f"2001:db8:100:{n}::/64" for n in (1, 2, 3))


def six(cloud: Cloud, cidr: str = CIDR, gateway: str | None = GATEWAY) -> Caller:
    """The zone has a range of three prefixes; who gave it one."""
    operator = cloud.account("op", role="operator")
    ask = Ipv6RangeIn(zone="here", cidr=cidr, gateway=gateway)
    cloud.do(operator, ipv6_ranges.create, ask)
    return operator


def made(cloud: Cloud, me: Caller, name: str, number: int = 1, **but):
    ask = NetworkIn(name=name, cidr=f"10.{number}.0.0/24", ipv6=True, **but)
    return cloud.do(me, networks.create, ask)


def items(cloud: Cloud, kind: str, wish: type):
    rows = cloud.rows(
        "select body from manifest_item where kind = :kind and body is not null order by id",
        kind=kind,
    )
    return [msgspec.json.decode(body, type=wish) for (body,) in rows]


def test_networks_that_ask_have_a_prefix_each_and_give_it_back_with_their_row(lone_cloud):
    cloud = lone_cloud
    operator, me, you = six(cloud), cloud.account("me"), cloud.account("you")
    one = made(cloud, me, "one")
    assert (one.ipv6_cidr, one.ipv6_gateway) == (FIRST, "2001:db8:100:1::1")
    assert made(cloud, you, "one").ipv6_cidr == SECOND
    (page,) = cloud.do(operator, ipv6_ranges.page, Ipv6RangeQuery()).items
    assert (page.networks.total, page.networks.free) == (3, 1)
    cloud.do(me, networks.delete, one.id)
    assert made(cloud, me, "two", 2).ipv6_cidr == THIRD
    ask = NetworkIn(name="full", cidr="10.9.0.0/24", ipv6=True)
    assert isinstance(cloud.refused(me, networks.create, ask), NoRoom)  # hosts may have the first
    assert isinstance(cloud.refused(operator, ipv6_ranges.delete, page.id), Conflict)
    cloud.run("update address set network = null")
    cloud.run("delete from network where id = :id", id=one.id)
    assert made(cloud, me, "three", 3).ipv6_cidr == FIRST


def test_where_there_is_no_ipv6_none_can_be_asked_for(lone_cloud):
    me = lone_cloud.account("me")
    error = lone_cloud.refused(me, networks.create, NetworkIn(name="a", ipv6=True))
    assert (type(error), error.field) == (Conflict, "ipv6")
    plain = lone_cloud.do(me, networks.create, NetworkIn(name="a"))
    assert (plain.ipv6_cidr, plain.ipv6_gateway) == (None, None)


def test_it_stays_and_goes_with_two_routers(lone_cloud):
    cloud = lone_cloud
    six(cloud)
    me = cloud.account("me")
    one = made(cloud, me, "one")
    error = cloud.refused(me, networks.update, one.id, NetworkChange(ipv6=False))
    assert (type(error), error.field) == (Conflict, "ipv6")
    changed = cloud.do(me, networks.update, one.id, NetworkChange(redundant=True))
    assert (changed.ipv6_cidr, changed.redundant) == (FIRST, True)
    two = cloud.do(me, networks.create, NetworkIn(name="two", cidr="10.2.0.0/24", redundant=True))
    changed = cloud.do(me, networks.update, two.id, NetworkChange(ipv6=True))
    assert changed.ipv6_cidr == SECOND
    again = cloud.do(me, networks.update, two.id, NetworkChange(ipv6=True))
    assert (again.ipv6_cidr, again.generation) == (SECOND, changed.generation)
    assert made(cloud, me, "three", 3, redundant=True).ipv6_cidr == THIRD


def test_only_operators_say_what_ranges_there_are(lone_cloud):
    operator, me = six(lone_cloud), lone_cloud.account("me")
    ask = Ipv6RangeIn(zone="here", cidr="2001:db8:200::/48")
    assert isinstance(lone_cloud.refused(me, ipv6_ranges.create, ask), Forbidden)
    for cidr in ("2001:db8:100::/60", "2001:db8:100:2::/63"):
        error = lone_cloud.refused(
            operator, ipv6_ranges.create, Ipv6RangeIn(zone="here", cidr=cidr)
        )
        assert (type(error), error.field) == (Conflict, "cidr")
    second = lone_cloud.do(operator, ipv6_ranges.create, ask)
    assert lone_cloud.do(operator, ipv6_ranges.get, second.id).gateway is None
    lone_cloud.do(operator, ipv6_ranges.delete, second.id)
    assert isinstance(lone_cloud.refused(operator, ipv6_ranges.get, second.id), NotFound)


@pytest.fixture
def town(cloud) -> tuple[Cloud, Caller, str]:
    return _town(cloud)


def _town(cloud: Cloud) -> tuple[Cloud, Caller, str]:
    """A machine on a network whose router runs; the zone has a range."""
    six(cloud)
    with_hosts(cloud, "a", "b")
    me = cloud.account("me")
    routed(cloud, me)
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    cloud.deploy(me, name="web")
    return cloud, me, network.id


def attend(cloud: Cloud) -> None:
    place(cloud)
    with cloud.database.write() as tx:
        appliances.attend(tx, cloud.around.clock.now())


def test_machines_that_are_there_get_addresses_when_their_network_does(town):
    cloud, me, network = town
    cloud.do(me, networks.update, network, NetworkChange(dns_domain="plain"))
    attend(cloud)
    bodies = cloud.rows("select body from manifest_item where body is not null")
    assert bodies
    assert not [body for (body,) in bodies if "ipv6" in body]
    cloud.do(me, networks.update, network, NetworkChange(ipv6=True))
    attend(cloud)
    cloud.deploy(me, name="later")
    attend(cloud)
    wanted = Ipv6Net(cidr=FIRST, gateway="2001:db8:100:1::1", upstream=GATEWAY)
    assert [wish.ipv6 for wish in items(cloud, "appliance", ApplianceWish)] == [wanted]
    ports = [port for wish in items(cloud, "guest", GuestWish) for port in wish.ports]
    assert len(ports) == 2
    assert all(port.ipv6 == address_of(FIRST, port.mac) for port in ports)
    leases = items(cloud, "lease", LeaseWish)
    assert len(leases) == 3
    assert all(lease.ipv6 == address_of(FIRST, lease.mac) for lease in leases)
    shown = cloud.do(me, nics.page, NicQuery()).items
    assert {nic.ipv6_address for nic in shown} == {lease.ipv6 for lease in leases}
    with cloud.database.write() as tx:
        for turn in range(len(ALPHABET)):  # a part of the machines in each
            at = cloud.around.clock.now() + timedelta(seconds=turn * repair.SECONDS)
            assert repair.check(tx, at) == 0


def test_rules_of_ipv6_are_about_networks_that_have_it(lone_cloud):
    cloud, me, network = _town(lone_cloud)
    inwards = FirewallIn(network=network, cidr="::/0", first_port=22)
    assert isinstance(cloud.refused(me, rules.firewall, inwards), Conflict)
    cloud.do(me, networks.update, network, NetworkChange(ipv6=True))
    cloud.do(me, rules.firewall, inwards)
    outwards = FirewallIn(
        direction="out", network=network, cidr="2001:db8:ffff::/48", protocol="icmp"
    )
    cloud.do(me, rules.firewall, outwards)
    for bad in ("2001:db8::1/32", "::/129", "0.0.0.0/0"):
        error = cloud.refused(me, rules.firewall, FirewallIn(network=network, cidr=bad))
        assert isinstance(error, BadInput)
    attend(cloud)
    (wish,) = items(cloud, "appliance", ApplianceWish)
    told = {(rule.direction.value, rule.cidr, rule.public) for rule in wish.firewall}
    assert told == {("in", "::/0", ""), ("out", "2001:db8:ffff::/48", "")}


def test_an_isolated_network_is_told_of_no_way_out(lone_cloud):
    cloud = lone_cloud
    six(cloud)
    with_hosts(cloud, "a")
    me = cloud.account("me")
    one = made(cloud, me, "one", isolated=True)
    cloud.run(
        "update network set appliance_state = 'running', appliance_host = 'host-a', attention = true"
    )
    attend(cloud)
    (wish,) = items(cloud, "appliance", ApplianceWish)
    assert wish.ipv6 == Ipv6Net(cidr=one.ipv6_cidr, gateway=one.ipv6_gateway)
