"""IPv6 between networks of a farm, and at balancers: who may be led to whom, what routers are told, what is refused."""

import msgspec
import pytest
from test_balancers import asked, wish
from test_networks_with_ipv6 import FIRST, SECOND, made, six

from arable.controllers import appliances
from arable.domain.errors import BadInput, Conflict
from arable.domain.guest_cidr import link_address
from arable.domain.ids import HostId
from arable.domain.manifest import ApplianceWish
from arable.services import addresses, balancers, networks, rules
from arable.store import routing
from arable.wire.addresses import AddressIn, AssociateIn
from arable.wire.balancers import BalancerChange
from arable.wire.networks import NetworkChange, NetworkIn
from arable.wire.rules import BetweenIn


@pytest.fixture
def tiers(lone_cloud):
    """Two networks, of which the second has no IPv6 yet."""
    six(lone_cloud)
    me = lone_cloud.account("me")
    web = made(lone_cloud, me, "web")
    app = lone_cloud.do(me, networks.create, NetworkIn(name="app", cidr="10.2.0.0/24"))
    return lone_cloud, me, web, app


def told(cloud, network: str) -> ApplianceWish:
    with cloud.database.write() as tx:
        (row,) = routing.networks_by_id(tx, [network])
        linked = routing.linked(tx, [network])
        body = appliances.item(row, HostId("host-a"), [], [], (), linked).body
    return msgspec.json.decode(body, type=ApplianceWish)


def test_a_rule_about_a_network_is_about_ipv6_too_as_soon_as_both_have_it(tiers):
    cloud, me, web, app = tiers
    cloud.do(me, rules.between, BetweenIn(source=web.id, network=app.id, first_port=80))
    assert told(cloud, web.id).ipv6.near == told(cloud, web.id).ipv6.passages == ()
    cloud.run("update network set attention = false")
    cloud.do(me, networks.update, app.id, NetworkChange(ipv6=True))
    assert cloud.rows("select name from network where attention order by name") == [("app",), ("web",)]  # fmt: skip
    here, there = told(cloud, web.id), told(cloud, app.id)
    assert here.ipv6.passages == there.ipv6.passages
    (passage,) = here.ipv6.passages
    assert (passage.source, passage.target, passage.first_port) == (FIRST, SECOND, 80)
    assert [(p.source, p.target) for p in here.passages] == [("10.1.0.0/24", "10.2.0.0/24")]
    for one, other, prefix in ((here, there, SECOND), (there, here, FIRST)):
        ((near, via),) = [(each.cidr, each.via) for each in one.ipv6.near]
        assert (near, via) == (prefix, other.link.address)
    assert here.link.address == link_address(cloud.rows("select number from network where name = 'web'")[0][0])  # fmt: skip


def test_a_part_of_a_network_calls_by_its_own_family(tiers):
    cloud, me, web, app = tiers
    ask = BetweenIn(source=web.id, network=app.id, cidr="2001:db8:100:1::a/128")
    refused = cloud.refused(me, rules.between, ask)
    assert (type(refused), refused.field) == (Conflict, "cidr")
    cloud.do(me, networks.update, app.id, NetworkChange(ipv6=True))
    assert cloud.do(me, rules.between, ask).rule.cidr == "2001:db8:100:1::a/128"
    cloud.do(me, rules.between, BetweenIn(source=web.id, network=app.id, cidr="10.1.0.0/25"))
    here = told(cloud, web.id)
    assert [each.source for each in here.ipv6.passages] == ["2001:db8:100:1::a/128"]
    assert [each.source for each in here.passages] == ["10.1.0.0/25"]
    for bad in (SECOND, "2001:db8:100::/48", "2001:db8:100:1::a/64"):
        error = cloud.refused(me, rules.between, BetweenIn(source=web.id, network=app.id, cidr=bad))
        assert (type(error), error.field) == (BadInput, "cidr"), bad


@pytest.fixture
def shop(tiers):
    cloud, me, web, _ = tiers
    own = cloud.do(me, addresses.acquire, AddressIn())
    cloud.do(me, addresses.associate, own.id, AssociateIn(network=web.id))
    return cloud, me, web, own


def test_a_balancer_is_called_by_ipv6_where_its_owner_asks_for_it(shop):
    cloud, me, web, own = shop
    one = cloud.do(me, balancers.create, asked(own.id)).balancer
    assert (one.cidr6, one.public6) == (None, None)
    changed = cloud.do(me, balancers.update, one.id, BalancerChange(cidr6="::/0")).balancer
    first, second, third, fourth = map(int, own.address.split("."))
    assert changed.cidr6 == "::/0"
    twin = f"2001:db8:100:1::{first << 8 | second:x}:{third << 8 | fourth:x}"
    assert cloud.do(me, balancers.get, one.id).public6 == twin
    assert [each.cidr6 for each in wish(cloud, web.id).balancers] == ["::/0"]
    cloud.do(me, balancers.update, one.id, BalancerChange(cidr6=None))
    assert [each.cidr6 for each in wish(cloud, web.id).balancers] == [""]


def test_what_can_not_be_called_by_ipv6_is_refused(shop):
    cloud, me, web, own = shop
    other = cloud.do(me, networks.create, NetworkIn(name="plain", cidr="10.5.0.0/24"))
    further = cloud.do(me, addresses.acquire, AddressIn())
    cloud.do(me, addresses.associate, further.id, AssociateIn(network=other.id))
    for ask, kind in (
        (asked(further.id, cidr6="::/0"), Conflict),
        (asked(own.id, cidr6="::1/0"), BadInput),
        (asked(own.id, cidr6="::/0", port=53), BadInput),
        (asked(None, cidr6="::/0", network=web.id), BadInput),
        (asked(None, cidr6="::/0", network=web.id, port=None, probe=True), BadInput),
    ):
        refused = cloud.refused(me, balancers.create, ask)
        assert (type(refused), refused.field) == (kind, "cidr6"), ask
