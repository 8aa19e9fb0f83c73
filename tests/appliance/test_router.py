"""A wish becomes typed values, or is refused as a whole with the field that is at fault."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import make_wishes as make
from arable.appliance.router import leases, router
from arable.domain.errors import BadInput
from arable.domain.ids import NetworkId
from arable.domain.manifest import Direction, Protocol


@settings(deadline=None)
@given(make.honest())
def test_an_honest_wish_is_taken_as_it_was_meant(wish) -> None:
    made = router(wish)
    assert (str(made.cidr), str(made.gateway)) == (wish.cidr, wish.gateway)
    assert made.domain == wish.domain.lower()
    assert [
        (str(f.public), f.ports.first, f.ports.last, str(f.to), f.to_port) for f in made.forwards
    ] == [(f.public, f.first_port, f.last_port, f.to, f.to_port) for f in wish.forwards]
    rules = {(rule.cidr, rule.first_port, rule.last_port) for rule in wish.firewall}
    openings = (*made.inbound, *made.outbound)
    assert {(str(o.outside), o.ports.first, o.ports.last) for o in openings} == rules


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ({"cidr": "10.1.1.1/24"}, "cidr"),
        ({"cidr": "10.1.1.0/31", "gateway": "10.1.1.1"}, "cidr"),
        ({"gateway": "10.1.2.1"}, "gateway"),
        ({"gateway": "10.1.1.0"}, "gateway"),
        ({"gateway": "10.1.1.255"}, "gateway"),
        ({"domain": "x" * 64}, "domain"),
        ({"domain": ".".join(["abcdefgh"] * 30)}, "domain"),
        ({"mtu": 100}, "mtu"),
        ({"network": NetworkId("machine-1")}, "network"),
        ({"forwards": (make.forward(protocol=Protocol.ICMP),)}, "forwards.0.protocol"),
        ({"forwards": (make.forward(first_port=0, last_port=0),)}, "forwards.0.to_port"),
        ({"forwards": (make.forward(first_port=9, last_port=8),)}, "forwards.0.first_port"),
        ({"forwards": (make.forward(last_port=65_536),)}, "forwards.0.first_port"),
        ({"forwards": (make.forward(last_port=9000, to_port=65_000),)}, "forwards.0.to_port"),
        ({"forwards": (make.forward(public="203.0.113.99"),)}, "forwards.0.public"),
        ({"forwards": (make.forward(to="10.1.1.1"),)}, "forwards.0.to"),
        ({"forwards": (make.forward(to="192.168.0.1"),)}, "forwards.0.to"),
        ({"forwards": (make.forward(), make.forward(to="10.1.1.11"))}, "forwards"),
        ({"forwards": (make.forward(), make.forward(protocol=Protocol.ALL))}, "forwards"),
        ({"firewall": (make.opening(public=""),)}, "firewall.0.public"),
        ({"firewall": (make.opening(), make.opening(public="203.0.113.99"))}, "firewall.1.public"),
        ({"firewall": (make.opening(protocol=Protocol.ICMP),)}, "firewall.0.first_port"),
        ({"firewall": (make.opening(cidr="0.0.0.0/33"),)}, "firewall.0.cidr"),
        ({"public": None, "forwards": (make.forward(),)}, "forwards.0.public"),
        ({"public": replace(make.wish().public, address="10.1.1.9")}, "public"),
        ({"public": replace(make.wish().public, address="127.0.0.1")}, "public"),
        ({"public": replace(make.wish().public, gateway="224.0.0.1")}, "public"),
        ({"public": replace(make.wish().public, further=("203.0.113.10",))}, "public.further"),
        ({"public": replace(make.wish().public, prefix=33)}, "public.prefix"),
    ],
    ids=str,
)
def test_what_can_not_be_is_refused_and_named(but, field) -> None:
    with pytest.raises(BadInput) as refusal:
        router(make.wish(**but))
    assert refusal.value.field == field


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(make.FIELDS), make.HOSTILE)
def test_text_that_does_not_belong_there_is_refused_or_becomes_a_value(field, text) -> None:
    try:
        made = router(make.spoiled(make.wish(), field, text))
    except BadInput:
        return
    assert "\n" not in f"{made}"
    assert made.domain.replace(".", "").replace("-", "").isalnum()


def test_all_protocols_with_ports_means_both_that_have_ports() -> None:
    made = router(make.wish(forwards=(make.forward(protocol=Protocol.ALL),)))
    assert [f.protocol for f in made.forwards] == [Protocol.TCP, Protocol.UDP]


def test_rules_are_told_apart_by_where_they_look() -> None:
    rules = (make.opening(), make.opening(direction=Direction.OUT, public=""))
    made = router(make.wish(firewall=rules))
    assert (len(made.inbound), len(made.outbound)) == (1, 1)


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ({"mac": "01:00:5e:00:00:01"}, "leases.nic-10.mac"),
        ({"mac": "02-00-0a-01-01-0a"}, "leases.nic-10.mac"),
        ({"mac": "02:00:0a:01:01:0a\n"}, "leases.nic-10.mac"),
        ({"address": "10.1.1.1"}, "leases.nic-10.address"),
        ({"address": "10.1.1.255"}, "leases.nic-10.address"),
        ({"address": "10.2.1.9"}, "leases.nic-10.address"),
        ({"name": "web.one"}, "leases.nic-10.name"),
        ({"name": "web one"}, "leases.nic-10.name"),
        ({"name": ""}, "leases.nic-10.name"),
        ({"network": NetworkId("network-other")}, "leases.nic-10.network"),
    ],
    ids=str,
)
def test_a_lease_that_can_not_be_is_refused_and_named(but, field) -> None:
    with pytest.raises(BadInput) as refusal:
        leases(router(make.wish()), [make.lease(**but)])
    assert refusal.value.field == field


@pytest.mark.parametrize("same", ["mac", "address"])
def test_two_leases_never_share_a_mac_or_an_address(same) -> None:
    one = make.lease(10)
    other = replace(make.lease(11), **{same: getattr(one, same)})
    with pytest.raises(BadInput) as refusal:
        leases(router(make.wish()), [one, other])
    assert refusal.value.field == f"leases.{same}"


def test_leases_come_in_one_order_whoever_lists_them() -> None:
    made = router(make.wish())
    asked = [make.lease(n) for n in (30, 9, 100)]
    assert leases(made, asked) == leases(made, list(reversed(asked)))
