"""Between networks of a farm: what passes, what of it stays, and what a router is not made from."""

import pytest

from appliance import make_wishes as make
from appliance.test_connections import connection
from arable.appliance.connections import stays
from arable.appliance.dnsmasq import configuration
from arable.appliance.heirs import guard
from arable.appliance.nftables import ruleset
from arable.appliance.router import router
from arable.domain.errors import BadInput
from arable.domain.guest_cidr import LINKS, NUMBERS, link_address
from arable.domain.manifest import Protocol

HERE, THERE = "10.1.1.10", "10.1.2.20"
LINKED = {"link": make.link(), "passages": (make.passage(),)}


def between(source=HERE, target=THERE, **but):
    same = {"answers_from": target, "answers_to": source}
    port = {"port": 5432, "answers_from_port": 5432}
    return connection(**{"source": source, "target": target} | same | port | but)


def test_nothing_passes_that_no_passage_lets_begin() -> None:
    text = ruleset(router(make.wish(link=make.link())))
    assert "chain between {\n  }" in text
    assert 'oifname "eth3" ip saddr 10.1.1.0/24 jump between' in text
    line = "ip saddr 10.1.1.0/24 ip daddr 10.1.2.0/24 meta l4proto tcp th dport 5432 accept"
    assert line in ruleset(router(make.wish(**LINKED)))


def test_a_router_answers_nobody_on_the_link() -> None:
    _, _, asked = ruleset(router(make.wish(**LINKED))).partition("chain to_router")
    assert "eth3" not in asked


def test_a_connection_stays_while_a_passage_lets_it_begin() -> None:
    assert stays(router(make.wish(**LINKED)), between())
    for but in (
        {"passages": ()},
        {"passages": (make.passage(first_port=1, last_port=5431),)},
        {"passages": (make.passage(protocol=Protocol.UDP),)},
        {"passages": (make.passage(source="10.1.1.64/26"),)},
        {"passages": (make.passage(source="10.1.2.0/24", target="10.1.1.0/24"),)},
        {"passages": (), "link": None},
    ):
        assert not stays(router(make.wish(**LINKED | but)), between()), but


def test_a_connection_from_a_neighbour_ends_with_the_passage_and_with_the_link() -> None:
    inwards = make.passage(source="10.1.2.0/24", target="10.1.1.0/24")
    came = between(THERE, HERE)
    assert stays(router(make.wish(link=make.link(), passages=(inwards,))), came)
    assert not stays(router(make.wish(**LINKED)), came)
    assert not stays(router(make.wish()), came)


def test_an_isolated_network_names_its_router_when_it_leads_somewhere(tmp_path) -> None:
    lone = configuration(router(make.wish(isolated=True, public=None)), tmp_path, "nobody")
    led = configuration(router(make.wish(isolated=True, public=None, **LINKED)), tmp_path, "nobody")
    assert "option:router,10.1.1.1" not in lone
    assert "option:router,10.1.1.1" in led


def test_a_router_gives_way_on_the_link_too() -> None:
    for hook in ("ingress", "egress"):
        assert f'hook {hook} device "eth3"' in guard(router(make.wish(**LINKED)))
    assert 'device "eth3"' not in guard(router(make.wish()))


@pytest.mark.parametrize(
    "but",
    [
        {"link": None},
        {"link": make.link(neighbours=(make.near(cidr="10.1.1.0/25"),))},
        {"link": make.link(neighbours=(make.near(), make.near(via="169.254.64.103")))},
        {"link": make.link(neighbours=(make.near(via="169.254.64.100"),))},
        {"link": make.link(neighbours=(make.near(via="10.1.1.9"),))},
        {"link": make.link(address="169.254.169.254")},
        {"passages": (make.passage(target="10.1.3.0/24"),)},
        {"passages": (make.passage(target="0.0.0.0/0"),)},
        {"passages": (make.passage(source="10.1.2.0/24"),)},
        {"passages": (make.passage(protocol=Protocol.ICMP),)},
        {"passages": (make.passage(first_port=9, last_port=8),)},
    ],
    ids=str,
)
def test_a_wish_that_leads_elsewhere_is_refused(but) -> None:
    with pytest.raises(BadInput):
        router(make.wish(**LINKED | but))


def test_every_number_has_an_address_of_its_own_on_links() -> None:
    made = {link_address(number) for number in NUMBERS}
    assert len(made) == len(NUMBERS) == 4094
    assert not made & {str(LINKS.network_address), str(LINKS.broadcast_address)}
