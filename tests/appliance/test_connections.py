"""Of the connections there are, those stay that could begin now."""

from ipaddress import IPv4Address

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from appliance import make_wishes as make
from arable.appliance.connections import Connection, stays
from arable.appliance.router import router
from arable.domain.manifest import Direction, Protocol

CLIENT, PUBLIC, MACHINE = "198.51.100.7", "203.0.113.10", "10.1.1.10"


def connection(**but) -> Connection:
    """A client outside, who reached a machine by the usual forward."""
    usual = {
        "protocol": Protocol.TCP,
        "source": CLIENT,
        "target": PUBLIC,
        "port": 8080,
        "answers_from": MACHINE,
        "answers_from_port": 80,
        "answers_to": CLIENT,
    } | but
    names = ("source", "target", "answers_from", "answers_to")
    return Connection(**usual | {name: IPv4Address(usual[name]) for name in names})


def outward(**but) -> Connection:
    usual = {
        "source": MACHINE,
        "target": CLIENT,
        "port": 443,
        "answers_from": CLIENT,
        "answers_from_port": 443,
        "answers_to": PUBLIC,
    }
    return connection(**usual | but)


OPEN = {"forwards": (make.forward(),), "firewall": (make.opening(),)}


def test_a_connection_stays_while_its_rules_do() -> None:
    assert stays(router(make.wish(**OPEN)), connection())


@pytest.mark.parametrize(
    "but",
    [
        {"forwards": ()},
        {"firewall": ()},
        {"forwards": (make.forward(to="10.1.1.11"),)},
        {"forwards": (make.forward(to_port=81),)},
        {"forwards": (make.forward(protocol=Protocol.UDP),)},
        {"forwards": (make.forward(first_port=8081, last_port=8081),)},
        {"forwards": (make.forward(public="203.0.113.11"),)},
        {"firewall": (make.opening(cidr="192.0.2.0/24"),)},
        {"firewall": (make.opening(first_port=1, last_port=8079),)},
        {"firewall": (make.opening(protocol=Protocol.UDP),)},
        {"firewall": (make.opening(public="203.0.113.11"),)},
        {"public": None, "forwards": (), "firewall": ()},
    ],
    ids=str,
)
def test_a_connection_ends_with_the_rule_it_lived_by(but) -> None:
    assert not stays(router(make.wish(**OPEN | but)), connection())


def test_a_shifted_range_is_followed_port_by_port() -> None:
    wide = {
        "forwards": (make.forward(first_port=8000, last_port=8100, to_port=9000),),
        "firewall": (make.opening(first_port=0, last_port=0),),
    }
    assert stays(router(make.wish(**wide)), connection(port=8080, answers_from_port=9080))
    assert not stays(router(make.wish(**wide)), connection(port=8080, answers_from_port=9081))


def test_what_left_stays_while_all_may_leave() -> None:
    assert stays(router(make.wish()), outward())


@pytest.mark.parametrize(
    "rule",
    [
        {"cidr": "192.0.2.0/24"},
        {"protocol": Protocol.UDP, "first_port": 443, "last_port": 443},
        {"first_port": 80, "last_port": 80},
    ],
    ids=str,
)
def test_what_left_ends_when_it_may_not_leave_any_more(rule) -> None:
    usual = {"direction": Direction.OUT, "public": "", "first_port": 0, "last_port": 0}
    wish = make.wish(firewall=(make.opening(**usual | rule),))
    assert not stays(router(wish), outward())


def test_what_left_by_an_address_that_is_no_longer_ours_ends() -> None:
    assert not stays(router(make.wish()), outward(answers_to="203.0.113.99"))
    assert not stays(router(make.wish(public=None)), outward())


def test_what_the_router_itself_talks_about_stays() -> None:
    made = router(make.wish(public=None))
    asks = connection(
        source=MACHINE, target="10.1.1.1", port=53, answers_from="10.1.1.1", answers_to=MACHINE
    )
    assert stays(made, asks)


@settings(deadline=None)
@given(make.honest(), st.data())
def test_whatever_a_rule_lets_in_stays_and_a_foreign_target_does_not(wish, data) -> None:
    made = router(wish)
    assume(made.forwards)
    assume(not made.statics)
    forward = data.draw(st.sampled_from(made.forwards))
    port = data.draw(st.integers(forward.ports.first, forward.ports.last))
    came = connection(
        protocol=forward.protocol,
        target=str(forward.public),
        port=port,
        answers_from=str(forward.to),
        answers_from_port=forward.target(port),
    )
    admitted = any(
        o.public == forward.public and o.admits(forward.protocol, came.source, port)
        for o in made.inbound
    )
    assert stays(made, came) == admitted
    stranger = connection(target="203.0.113.254", port=port, answers_from=str(forward.to))
    assert not stays(made, stranger)
