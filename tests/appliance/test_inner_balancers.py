"""Balancers without a public address: who may call them, whom they answer no more, and what a router is not made from."""

from typing import Any

import pytest

from appliance import make_wishes as make
from appliance.test_between import THERE, between
from appliance.test_haproxy import FOLDER, balancer
from arable.appliance.connections import stays
from arable.appliance.haproxy import configuration
from arable.appliance.nftables import ruleset
from arable.appliance.router import router
from arable.domain.balancer import BalancerWish
from arable.domain.errors import BadInput
from arable.domain.ids import BalancerId
from arable.domain.manifest import Protocol

GATEWAY, WITHIN = "10.1.1.1", "10.1.1.20"
INWARDS = make.passage(source="10.1.2.0/25", target="10.1.1.0/24", first_port=8000, last_port=8080)


def inner(**but: Any) -> BalancerWish:
    return balancer(**{"public": "", "port": 8080} | but)


def made(*inners: BalancerWish, **but: Any):
    usual = {"public": None, "link": make.link(), "passages": (INWARDS,)}
    return router(make.wish(inners=inners, **usual | but))


def let_in(*inners: BalancerWish, **but: Any) -> list[str]:
    """Whom the router answers at ports of balancers."""
    _, _, lines = ruleset(made(*inners, **but)).partition("chain to_router")
    return [
        line.strip() for line in lines.splitlines() if "tcp dport 80" in line and GATEWAY in line
    ]


def test_it_is_at_the_gateway_for_its_network_and_for_those_that_a_passage_leads_there() -> None:
    rest = f"ip daddr {GATEWAY} ip saddr 0.0.0.0/0 tcp dport 8080 accept"
    own = f'iifname "eth0" ip saddr 10.1.1.0/24 {rest}'
    assert let_in(inner()) == [own, f'iifname "eth3" ip saddr 10.1.2.0/25 {rest}']
    assert f"    bind {GATEWAY}:8080" in configuration(made(inner()).balancers, FOLDER)
    for passage in (
        make.passage(source="10.1.2.0/24", target="10.1.1.0/24", first_port=1, last_port=8079),
        make.passage(source="10.1.2.0/24", target="10.1.1.0/24", protocol=Protocol.UDP, first_port=1, last_port=9000),
        make.passage(source="10.1.1.0/24", target="10.1.2.0/24", first_port=8080, last_port=8080),
    ):  # fmt: skip
        assert let_in(inner(), passages=(passage,)) == [own], passage
    assert let_in() == []


def test_a_probe_checks_its_members_and_is_nowhere() -> None:
    probe = inner(port=0)
    assert let_in(probe) == []
    text = configuration(made(probe).balancers, FOLDER)
    assert f"backend {probe.id}\n" in text
    assert "    server nic-" in text
    assert "frontend" not in text
    assert "    bind" not in text


def test_a_connection_ends_with_its_balancer_and_with_the_passage_that_led_there() -> None:
    same = {"answers_from": GATEWAY, "port": 8080, "answers_from_port": 8080}
    near, far = (between(source, GATEWAY, **same) for source in (WITHIN, THERE))
    for connection in (near, far):
        assert stays(made(inner()), connection)
        assert not stays(made(), connection)
        assert not stays(made(inner(port=0)), connection)
        assert not stays(made(inner(cidr="198.51.100.0/24")), connection)
    assert stays(made(inner(), passages=()), near)
    assert not stays(made(inner(), passages=()), far)
    names = between(WITHIN, GATEWAY, **same | {"port": 53, "answers_from_port": 53})
    assert stays(made(), names)


def test_balancers_of_all_kinds_are_beside_each_other() -> None:
    probes = [inner(id=BalancerId(f"balancer-{n:020d}"), port=0) for n in range(2)]
    wish = make.wish(balancers=(balancer(port=8080),), inners=(*probes, inner(id=BalancerId("balancer-3"))))  # fmt: skip
    assert len(router(wish).balancers) == 4


@pytest.mark.parametrize(
    "inners",
    [
        (inner(public="203.0.113.10"),),
        (inner(port=53),),
        (inner(port=65_536),),
        (inner(), inner()),
        (inner(), inner(id=BalancerId("balancer-3"))),
    ],
)
def test_what_can_not_be_is_refused(inners) -> None:
    with pytest.raises(BadInput):
        made(*inners)
