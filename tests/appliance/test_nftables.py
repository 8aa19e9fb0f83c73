"""The packet filter as text: what is in it comes from the rules, and from nowhere else."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import make_wishes as make
from arable.appliance.nftables import ruleset
from arable.appliance.router import router
from arable.domain.errors import BadInput
from arable.domain.manifest import Direction, Protocol

WORD = re.compile(
    r'[(]?[a-z_-]+[;,)]?|l4proto|icmpv6|[a-z]+,[a-z]+|\d+(-\d+)?,?|(\d+\.){3}\d+(/\d+|:\d+)?|"(lo|eth[0123]|v[a-z]{11})",?|[{}()|:.&=]+'
)


def chain(text: str, name: str) -> list[str]:
    found = re.search(rf"chain {name} {{\n(.*?)  }}\n", text, re.DOTALL)
    assert found, f"no chain {name}"
    return [line.strip() for line in found[1].splitlines() if "type " not in line[:9]]


def lines_of(rule) -> int:
    """One for each protocol that has ports, when ports are named."""
    return 2 if rule.protocol is Protocol.ALL and rule.first_port else 1


@settings(deadline=None)
@given(make.honest())
def test_every_rule_of_a_wish_is_there_and_no_other_comes(wish) -> None:
    text = ruleset(router(wish))
    assert all(WORD.fullmatch(word) for word in text.split()), text
    inbound = [rule for rule in wish.firewall if rule.direction is Direction.IN]
    outbound = [rule for rule in wish.firewall if rule.direction is Direction.OUT]
    assert len(chain(text, "outward")) == (sum(map(lines_of, outbound)) or 1)
    between = [each for each in wish.passages for _ in range(lines_of(each))]
    for passage, line in zip(between, chain(text, "between"), strict=True):
        assert line.startswith(f"ip saddr {passage.source} ip daddr {passage.target} ")
        assert (f"th dport {passage.first_port}" in line) == bool(passage.first_port)
    arriving = chain(text, "arriving")
    assert len(arriving) == len(wish.forwards) + len(wish.statics)
    for static, line in zip(wish.statics, arriving, strict=False):
        assert line.endswith(f"ip daddr {static.public} dnat ip to {static.to}")
        assert f'oifname "eth2" ip saddr {static.to} snat ip to {static.public}' in text
    wanted = [rule for rule in inbound for _ in range(lines_of(rule))]
    for rule, line in zip(wanted, chain(text, "inward"), strict=True):
        assert line.startswith(f"ct original ip daddr {rule.public} ip saddr {rule.cidr} ")
        assert line.endswith("accept")
        assert (f"proto-dst {rule.first_port}" in line) == bool(rule.first_port)
    for forward, line in zip(wish.forwards, arriving[len(wish.statics) :], strict=True):
        assert f"ip daddr {forward.public} " in line
        assert forward.to in line


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(make.FIELDS), make.HOSTILE)
def test_no_field_of_a_wish_adds_a_rule(field, text) -> None:
    good = make.wish(forwards=(make.forward(),), firewall=(make.opening(),), resolvers=("9.9.9.9",))
    try:
        made = ruleset(router(make.spoiled(good, field, text)))
    except BadInput:
        return
    usual = ruleset(router(good))
    assert made.count("\n") == usual.count("\n")
    assert made.count(" accept\n") == usual.count(" accept\n")


def test_nothing_is_let_in_that_was_not_asked_for() -> None:
    text = ruleset(router(make.wish(forwards=(make.forward(),))))
    assert chain(text, "inward") == []
    assert "hook forward priority filter; policy drop;" in text
    assert "hook input priority filter; policy drop;" in text


def test_no_rule_leads_to_management() -> None:
    text = ruleset(router(make.wish(forwards=(make.forward(),), firewall=(make.opening(),))))
    for name in ("forwarding", "inward", "outward", "arriving", "leaving"):
        assert "eth1" not in " ".join(chain(text, name))
    assert chain(text, "from_router")[-1] == 'oifname "eth1" drop'


def test_a_network_without_a_way_out_hides_behind_nothing() -> None:
    assert "snat" not in ruleset(router(make.wish(public=None)))


def test_a_range_of_ports_leads_to_a_range() -> None:
    straight = make.forward(first_port=5000, last_port=5010, to_port=5000)
    shifted = make.forward(first_port=6000, last_port=6002, to_port=7000)
    text = ruleset(router(make.wish(forwards=(straight, shifted))))
    first, second = chain(text, "arriving")
    assert first.endswith("tcp dport 5000-5010 dnat ip to 10.1.1.10")
    assert second.endswith(
        "tcp dport map { 6000 : 10.1.1.10 . 7000, 6001 : 10.1.1.10 . 7001, 6002 : 10.1.1.10 . 7002 }"
    )


@pytest.mark.parametrize(
    ("protocol", "ports", "match"),
    [
        (Protocol.TCP, (22, 22), "meta l4proto tcp th dport 22 accept"),
        (Protocol.UDP, (53, 60), "meta l4proto udp th dport 53-60 accept"),
        (Protocol.TCP, (0, 0), "meta l4proto tcp accept"),
        (Protocol.ICMP, (0, 0), "meta l4proto icmp accept"),
        (Protocol.ALL, (0, 0), "ip daddr 198.51.100.0/24 accept"),
    ],
)
def test_an_outbound_rule_makes_everything_else_stay_inside(protocol, ports, match) -> None:
    rule = make.opening(
        direction=Direction.OUT,
        protocol=protocol,
        cidr="198.51.100.0/24",
        public="",
        first_port=ports[0],
        last_port=ports[1],
    )
    (line,) = chain(ruleset(router(make.wish(firewall=(rule,)))), "outward")
    assert line.endswith(match)


def test_ports_of_all_protocols_are_those_of_tcp_and_udp() -> None:
    rule = make.opening(protocol=Protocol.ALL, first_port=1, last_port=9)
    lines = chain(ruleset(router(make.wish(firewall=(rule,)))), "inward")
    assert [line.partition("meta ")[2] for line in lines] == [
        "l4proto tcp ct original proto-dst 1-9 accept",
        "l4proto udp ct original proto-dst 1-9 accept",
    ]
