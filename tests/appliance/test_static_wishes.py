"""Static NAT: connections of a machine with an address of its own, and wishes that contradict themselves."""

import pytest

from appliance import make_wishes as make
from appliance.test_connections import connection, outward
from arable.appliance.connections import stays
from arable.appliance.router import router
from arable.domain.errors import BadInput
from arable.domain.manifest import Protocol

OWN = "203.0.113.11"
STATIC = {
    "statics": (make.static(),),
    "firewall": (make.opening(public=OWN, protocol=Protocol.ALL, first_port=0, last_port=0),),
}


def came(**but):
    return connection(**{"target": OWN, "port": 22, "answers_from_port": 22} | but)


def test_what_came_to_a_machines_own_address_stays_while_it_is_its_own_and_open() -> None:
    assert stays(router(make.wish(**STATIC)), came())
    for but in (
        {"statics": ()},
        {"statics": (make.static(to="10.1.1.11"),)},
        {"firewall": ()},
        {"firewall": (make.opening(public=OWN, first_port=80, last_port=80),)},
    ):
        assert not stays(router(make.wish(**STATIC | but)), came()), but
    assert not stays(router(make.wish(**STATIC)), came(answers_from_port=23))


def test_what_a_machine_sent_stays_while_it_goes_out_by_the_same_address() -> None:
    plain, own = router(make.wish()), router(make.wish(**STATIC))
    assert stays(plain, outward())
    assert not stays(own, outward())
    assert stays(own, outward(answers_to=OWN))
    assert not stays(plain, outward(answers_to=OWN))
    assert stays(own, outward(source="10.1.1.11"))


@pytest.mark.parametrize(
    "but",
    [
        {"statics": (make.static(public="203.0.113.10"),)},
        {"statics": (make.static(), make.static(to="10.1.1.11"))},
        {"statics": (make.static(to="10.1.1.1"),)},
        {"statics": (make.static(),), "forwards": (make.forward(public=OWN),)},
        {"statics": (make.static(public="203.0.113.12"),)},
    ],
    ids=str,
)
def test_a_wish_in_which_an_address_has_two_masters_is_refused_as_a_whole(but) -> None:
    with pytest.raises(BadInput):
        router(make.wish(**but))
