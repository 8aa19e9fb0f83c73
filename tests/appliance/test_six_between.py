"""IPv6 between networks of a farm, and at balancers: what passes, what of it stays, and what a router is not made from."""

from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import make_wishes as make
from appliance.test_haproxy import balancer
from appliance.test_six import GUEST, NET, OUTWARDS, WORLD, goes, told
from arable.appliance.connections import stays6
from arable.appliance.haproxy import configuration
from arable.appliance.nftables import ruleset
from arable.appliance.router import router
from arable.domain.balancer import Stickiness
from arable.domain.errors import BadInput
from arable.domain.guest_ipv6 import address_of, on_link, twin_of
from arable.domain.manifest import Protocol

THERE, FAR = "2001:db8:100:8::/64", "2001:db8:100:8:0:aff:fe01:20a"
VIA = "169.254.64.102"
CALLS = make.passage(source=NET.cidr, target=THERE)
BOTH = replace(NET, near=(make.near(cidr=THERE, via=VIA),), passages=(CALLS,))
LINKED = {"link": make.link(), "ipv6": BOTH}
TWIN = "2001:db8:100:7::cb00:710a"  # of 203.0.113.10


def test_without_a_passage_nothing_begins_by_one() -> None:
    lone = ruleset(router(make.wish(link=make.link(), ipv6=replace(BOTH, passages=()))))
    assert "chain between {\n  }" in lone
    line = f"ip6 saddr {NET.cidr} ip6 daddr {THERE} meta l4proto tcp th dport 5432 accept"
    made = ruleset(router(make.wish(**LINKED)))
    assert f"chain between {{\n    {line}\n  }}" in made
    leaves = f'iifname "eth0" oifname "eth3" ip6 saddr {NET.cidr}'
    comes = f'iifname "eth3" oifname "eth0" ip6 saddr {{ {THERE} }} ip6 daddr {NET.cidr}'
    assert f"{leaves} jump between" in made
    assert f"{comes} jump between" in made


def test_pings_between_networks_are_of_their_family() -> None:
    pings = make.passage(
        source=NET.cidr, target=THERE, protocol=Protocol.ICMP, first_port=0, last_port=0
    )
    made = ruleset(router(make.wish(link=make.link(), ipv6=replace(BOTH, passages=(pings,)))))
    assert f"ip6 daddr {THERE} meta l4proto ipv6-icmp accept" in made


def test_on_the_link_a_router_is_a_neighbour_and_no_more() -> None:
    def asked(**but) -> list[str]:
        _, _, rules = ruleset(router(make.wish(**LINKED | but))).partition("chain to_router")
        rules, _, _ = rules.partition("chain from_router")
        return [line.strip() for line in rules.splitlines() if "eth3" in line]

    assert asked() == [
        'iifname "eth3" ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept'
    ]
    assert asked(ipv6=NET) == []


def test_what_the_edge_lets_by_passes_between_networks_too_where_there_is_an_edge() -> None:
    led = ruleset(router(make.wish(**LINKED)))
    assert 'oifname "eth3" ip6 saddr 2001:db8:100:7::/64 jump outward' in led
    assert "ip6 daddr 2001:db8:100:7::/64 jump inward6" in led
    for but in ({"ipv6": replace(BOTH, upstream="")}, {"public": None, "isolated": True}):
        made = ruleset(router(make.wish(**LINKED | but)))
        assert 'oifname "eth3" ip6 saddr 2001:db8:100:7::/64 jump outward' not in made
        assert f'iifname "eth3" oifname "eth0" ip6 saddr {{ {THERE} }}' in made
        assert f"ip6 saddr {{ {THERE} }} ip6 daddr {NET.cidr} jump inward6" not in made


def test_connections_between_networks_live_by_passages() -> None:
    shut = {"upstream": "", "passages": ()}
    open_, closed = (
        router(make.wish(**LINKED)),
        router(make.wish(link=make.link(), ipv6=replace(BOTH, **shut))),
    )
    edge = router(make.wish(link=make.link(), ipv6=replace(BOTH, passages=())))
    bound = router(make.wish(**LINKED, firewall=(replace(OUTWARDS, first_port=22),)))
    assert stays6(open_, goes(GUEST, FAR, 5432))
    assert stays6(bound, goes(GUEST, FAR, 5432)), "whatever may leave"
    assert not stays6(bound, goes(GUEST, FAR, 80))
    assert not stays6(closed, goes(GUEST, FAR, 5432))
    assert stays6(edge, goes(GUEST, FAR, 5432)), "as to anybody outside"
    for made in (open_, closed, edge):
        assert not stays6(made, goes(FAR, GUEST, 5432))
    came = replace(BOTH, passages=(make.passage(source=THERE, target=NET.cidr),))
    assert stays6(router(make.wish(link=make.link(), ipv6=came)), goes(FAR, GUEST, 5432))


@pytest.mark.parametrize(("but", "lifetime"), [({}, 1800), ({"near": (), "passages": ()}, 0)])
def test_an_isolated_network_names_its_router_when_it_leads_somewhere(but, lifetime) -> None:
    said = told(public=None, isolated=True, link=make.link(), ipv6=replace(BOTH, **but))
    assert f"ra-param=eth0,mtu:1500,60,{lifetime}" in said


@pytest.mark.parametrize(
    "but",
    [
        {"link": None},
        {"ipv6": replace(BOTH, near=())},
        {"ipv6": replace(BOTH, near=(make.near(cidr="2001:db8:100::/48", via=VIA),))},
        {"ipv6": replace(BOTH, near=(make.near(cidr=NET.cidr, via=VIA),))},
        {"ipv6": replace(BOTH, near=(make.near(cidr=THERE, via="169.254.64.103"),))},
        {"ipv6": replace(BOTH, near=(make.near(cidr=THERE, via="169.254.64.100"),))},
        {"ipv6": replace(BOTH, near=(make.near(cidr="10.1.2.0/24", via=VIA),))},
        {"ipv6": replace(BOTH, passages=(make.passage(source=NET.cidr, target="::/0"),))},
        {"ipv6": replace(BOTH, passages=(make.passage(),))},
        {"passages": (CALLS,)},
        {"passages": (make.passage(source="10.1.1.0/24", target=THERE),)},
    ],
    ids=str,
)
def test_a_wish_that_leads_elsewhere_is_refused(but) -> None:
    with pytest.raises(BadInput):
        router(make.wish(**LINKED | but))


def test_a_balancer_is_called_by_ipv6_where_that_is_asked_for() -> None:
    asked = balancer(cidr6="2001:db8:ffff::/48", port=443, stickiness=Stickiness.SOURCE)
    made = router(make.wish(**LINKED, balancers=(asked,)))
    text = configuration(made.balancers, PurePosixPath("/appliance"))
    assert f"    bind 203.0.113.10:443\n    bind [{TWIN}]:443\n" in text
    assert "stick-table type ipv6 " in text
    rule = f"ip6 daddr {TWIN} ip6 saddr 2001:db8:ffff::/48 tcp dport 443 accept"
    assert f'iifname {{ "eth0", "eth2" }} {rule}' in ruleset(made)
    assert f'iifname "eth3" ip6 saddr {{ {THERE} }} {rule}' in ruleset(made)
    assert stays6(made, goes("2001:db8:ffff::9", TWIN, 443))
    for source, port in (("2001:db8:eeee::9", 443), ("2001:db8:ffff::9", 80), (GUEST, 80)):
        assert not stays6(made, goes(source, TWIN, port)), (source, port)
    without = router(make.wish(ipv6=NET, balancers=(replace(asked, cidr6=""),)))
    assert TWIN not in ruleset(without) + configuration(without.balancers, PurePosixPath("/a"))
    assert not stays6(without, goes(WORLD, TWIN, 443))


@pytest.mark.parametrize(
    "but",
    [
        {"balancers": (balancer(cidr6="::/0"),)},
        {"ipv6": NET, "balancers": (balancer(cidr6="0.0.0.0/0"),)},
        {"ipv6": NET, "balancers": (balancer(cidr6="::1/0\n"),)},
        {"ipv6": NET, "balancers": (balancer(cidr6="::/0", port=53),)},
        {"ipv6": NET, "inners": (balancer(cidr6="::/0", public=""),)},
    ],
    ids=str,
)
def test_a_balancer_that_can_not_be_called_by_ipv6_is_refused(but) -> None:
    with pytest.raises(BadInput):
        router(make.wish(**but))


@given(st.integers(0, 2**48 - 1), st.ip_addresses(v=4), st.ip_addresses(v=4, network="169.254.0.0/16"))  # fmt: skip
def test_no_machine_has_a_routers_addresses(number: int, public, near) -> None:
    mac = number.to_bytes(6, "big").hex(":")
    assert address_of(NET.cidr, mac) != twin_of(NET.cidr, str(public))
    assert IPv6Address(on_link(near)).is_link_local
    assert on_link(near) != address_of("fe80::/64", mac)
