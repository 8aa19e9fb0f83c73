"""Passwords reach guests that run, once each, and are given up where nobody in the guest answers."""

import pytest

from agent import make_agent as make
from agent.make_agent import Rig
from arable.agent.passwords import TRIES
from arable.domain.manifest import PasswordWish


@pytest.fixture
def rig() -> Rig:
    return Rig()


def wished(number: int = 7, **but):
    wish = PasswordWish(number=number, user="root", hash=f"$6${number}")
    return make.guest("a", **{"generation": number, "password": wish} | but)


def passwords(rig):
    return rig.hardware.guests[make.machine("a")].passwords


def test_a_running_guest_is_given_its_password_and_that_is_told(rig):
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(wished())
    rig.step()
    said = rig.server.said("a")
    assert passwords(rig) == {"root": "$6$7"}
    assert (said.password, said.password_told) == (7, "")
    passwords(rig).clear()
    rig.step()
    assert passwords(rig) == {}  # once
    rig.wish(make.guest("a", generation=8))
    rig.step()
    assert rig.server.said("a").password == 0


def test_one_that_is_off_is_given_it_when_it_runs(rig):
    rig.wish(make.off("a", password=wished().password))
    rig.step()
    assert rig.server.said("a").password == 0
    rig.wish(wished())
    rig.step()
    rig.step()
    assert passwords(rig) == {"root": "$6$7"}


def test_a_guest_without_an_agent_is_asked_for_a_while_and_then_given_up(rig):
    rig.wish(make.guest("a"))
    rig.step()
    rig.hardware.guests[make.machine("a")].has_agent = False
    rig.wish(wished())
    rig.step()
    assert rig.server.said("a").password == 0
    for at in range(TRIES):
        rig.after(2.0**at)
    said = rig.server.said("a")
    assert (said.password, said.password_told) == (7, "its guest agent does not answer")
    assert rig.runs("a")
    rig.hardware.guests[make.machine("a")].has_agent = True
    rig.wish(wished(9))
    rig.step()
    assert (rig.server.said("a").password, passwords(rig)) == (9, {"root": "$6$9"})


def test_nothing_waits_for_a_guest_that_does_not_answer(rig):
    aside = []
    rig.restart(aside=aside.append)
    rig.wish(make.guest("a"), make.guest("b"))
    rig.step()
    rig.wish(
        wished(),
        make.guest("b", generation=7, password=PasswordWish(number=3, user="root", hash="$6$b")),
    )
    rig.step()
    rig.step()
    assert len(aside) == 1  # one at a time
    assert passwords(rig) == {}
    assert rig.server.said("a").generation == 7
    assert rig.server.said("a").password == 0
    aside.pop()()
    rig.step()
    assert passwords(rig) == {"root": "$6$7"}
    assert rig.server.said("a").password == 7
    assert len(aside) == 1  # the other one's turn


def test_an_attempt_that_breaks_is_made_again(rig):
    aside = []
    rig.restart(aside=aside.append)
    rig.wish(make.guest("a"))
    rig.step()
    rig.wish(wished())
    rig.step()
    rig.hardware.guests[
        make.machine("a")
    ].passwords = None  # so that it breaks, and not as a driver may
    aside.pop()()
    rig.hardware.guests[make.machine("a")].passwords = {}
    rig.step()
    assert not aside
    rig.after(2.0)
    aside.pop()()
    rig.step()
    assert rig.server.said("a").password == 7
