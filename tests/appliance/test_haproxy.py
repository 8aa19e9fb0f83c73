"""The configuration of haproxy: every balancer of a wish is there, and nothing that somebody wrote into one."""

import re
import subprocess
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import make_wishes as make
from appliance.test_connections import connection
from arable.appliance.connections import stays
from arable.appliance.haproxy import configuration, frame
from arable.appliance.nftables import ruleset
from arable.appliance.router import router
from arable.domain.balancer import Algorithm, BalancerWish, Check, MemberWish, Stickiness, Traffic
from arable.domain.errors import BadInput
from arable.domain.ids import BalancerId, NicId
from drivers.web import certificate

FOLDER = PurePosixPath("/appliance")
ID = BalancerId("balancer-000000000abcdefghijk")
NIC = NicId("nic-000000000abcdefghijk")
CHAIN, KEY = certificate("shop.example.org")


def member(**but: Any) -> MemberWish:
    return MemberWish(**{"nic": NIC, "to": "10.1.1.10", "port": 8080} | but)


def balancer(**but: Any) -> BalancerWish:
    usual = {"id": ID, "public": "203.0.113.10", "port": 80, "traffic": Traffic.HTTP}
    return BalancerWish(**{**usual, "members": (member(),), **but})


def made(*balancers: BalancerWish):
    return router(make.wish(balancers=balancers)).balancers


paths = st.from_regex(r"/[A-Za-z0-9/._~=&?:@+-]{0,30}", fullmatch=True)
checks = st.builds(
    Check,
    kind=st.sampled_from(Traffic),
    path=paths,
    lowest_status=st.integers(100, 300),
    highest_status=st.integers(300, 599),
    interval=st.integers(1, 3600),
    timeout=st.integers(1, 3600),
    rise=st.integers(1, 100),
    fall=st.integers(1, 100),
)
members = st.lists(
    st.integers(2, 250), max_size=4, unique=True
).map(
    lambda found: tuple(
        member(nic=NicId(f"nic-{n:020d}"), to=f"10.1.1.{n}", weight=n % 257) for n in found
    )
)  # fmt: skip


@st.composite
def honest(draw: st.DrawFn) -> BalancerWish:
    traffic = draw(st.sampled_from(Traffic))
    sticky = [each for each in Stickiness if traffic is Traffic.HTTP or each is not Stickiness.COOKIE]  # fmt: skip
    secret = {"certificate": CHAIN, "key": KEY} if draw(st.booleans()) else {}
    return balancer(
        traffic=traffic,
        port=draw(st.integers(1, 65_535)),
        algorithm=draw(st.sampled_from(Algorithm)),
        stickiness=draw(st.sampled_from(sticky)),
        cidr=draw(make.outsides),
        check=draw(checks),
        members=draw(members),
        **secret,
    )


@settings(deadline=None)
@given(honest())
def test_a_balancer_is_told_as_it_is_wished_and_no_secret_with_it(wish) -> None:
    text = configuration(made(wish), FOLDER)
    assert text.count("\n    server ") == len(wish.members)
    for each in wish.members:
        assert f"\n    server {each.nic} {each.to}:{each.port} weight {each.weight} check" in text
    assert f" inter {wish.check.interval}s downinter {wish.check.interval * 250}ms rise" in text
    assert f"    bind {wish.public}:{wish.port}" in text
    assert "PRIVATE" not in text
    assert all(line.isascii() and line.isprintable() for line in text.splitlines())


@settings(deadline=None)
@given(honest(), members)
def test_only_servers_and_weights_change_without_another_process(wish, others) -> None:
    assert frame(made(wish), FOLDER) == frame(made(replace(wish, members=others)), FOLDER)
    port = wish.port % 65_535 + 1
    assert frame(made(wish), FOLDER) != frame(made(replace(wish, port=port)), FOLDER)
    slower = replace(wish.check, interval=wish.check.interval % 3600 + 1)
    assert frame(made(wish), FOLDER) != frame(made(replace(wish, check=slower)), FOLDER)


HOSTILE = st.one_of(make.HOSTILE, st.sampled_from(["/ x", "/#", '/"', "/$HOME", "/\\", "/%[src]", "/a\nbind :1"]))  # fmt: skip
FIELDS = ("id", "public", "cidr", "certificate", "key", "path", "nic", "to")


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(FIELDS), st.one_of(HOSTILE, st.text(max_size=40)))
def test_no_field_adds_a_directive(field, text) -> None:
    good = balancer(certificate=CHAIN, key=KEY)
    match field:
        case "path":
            bad = replace(good, check=Check(kind=Traffic.HTTP, path=text))
        case "nic" | "to":
            bad = replace(good, members=(member(**{field: text}),))
        case _:
            bad = replace(good, **{field: text})
    try:
        told = configuration(made(bad), FOLDER)
    except BadInput:
        return
    usual = configuration(made(replace(good, check=bad.check)), FOLDER)
    assert told.count("\n") == usual.count("\n")
    assert [len(line.split()) for line in told.splitlines()] == [len(line.split()) for line in usual.splitlines()]  # fmt: skip
    assert not re.search(r"[#\"'\\$%]", told)


@pytest.mark.parametrize(
    "but",
    [
        {"stickiness": Stickiness.COOKIE, "traffic": Traffic.TCP},
        {"port": 0},
        {"port": 65_536},
        {"public": "203.0.113.12"},
        {"certificate": CHAIN},
        {"key": KEY},
        {"members": (member(weight=257),)},
        {"members": (member(weight=-1),)},
        {"members": (member(), member(to="10.1.1.11"))},
        {"members": (member(to="10.1.1.1"),)},
        {"members": (member(port=0),)},
        {"check": Check(lowest_status=400, highest_status=399)},
        {"check": Check(interval=0)},
        {"check": Check(fall=101)},
    ],
    ids=lambda but: next(iter(but)),  # a certificate is another one in each process
)
def test_what_can_not_be_is_refused(but) -> None:
    with pytest.raises(BadInput):
        made(balancer(**but))


@pytest.mark.parametrize(
    "but",
    [
        {"balancers": (balancer(), balancer())},
        {"forwards": (make.forward(first_port=79, last_port=81, to_port=79),)},
        {"statics": (make.static(public="203.0.113.11"),), "balancers": (balancer(public="203.0.113.11"),)},
    ],
    ids=["twice", "forwarded", "one machine's"],
)  # fmt: skip
def test_a_port_of_an_address_has_one_use(but) -> None:
    with pytest.raises(BadInput):
        router(make.wish(**{"balancers": (balancer(),), **but}))


def test_who_may_use_it_may_come_in_and_is_cut_off_when_he_may_no_more() -> None:
    used = connection(port=80, answers_from="203.0.113.10", answers_from_port=80)
    for cidr, may in (("0.0.0.0/0", True), ("198.51.100.7/32", True), ("192.0.2.0/24", False)):
        made_so = router(make.wish(balancers=(balancer(cidr=cidr),)))
        assert f"ip saddr {cidr} tcp dport 80 accept" in ruleset(made_so)
        assert stays(made_so, used) == may
    assert not stays(router(make.wish()), used)


def test_a_wish_does_not_print_its_key() -> None:
    wish = balancer(certificate=CHAIN, key=KEY, sealed="sealed-text")
    assert "PRIVATE" not in repr(wish)
    assert "sealed-text" not in repr(wish)
    assert "PRIVATE" not in repr(router(make.wish(balancers=(wish,))))


@pytest.mark.real
@settings(deadline=None, max_examples=15)
@given(wish=honest())
def test_haproxy_takes_it(wish, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("haproxy")
    (made_so,) = made(wish)
    if made_so.pem:
        (folder / f"{wish.id}.pem").write_text(made_so.pem)
    file = folder / "haproxy.cfg"
    (folder / "servers.state").write_text("1\n")
    file.write_text(configuration((made_so,), PurePosixPath(folder)))
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
