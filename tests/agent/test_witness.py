"""What a host says of others: only what it found out by asking, and only when it changes."""

from datetime import timedelta

from arable.agent.witness import LOST_QUESTIONS, RENEWED_SECONDS, Witness
from arable.domain.ids import HostId
from arable.domain.manifest import PeerLost, PeerWish
from arable.runtime.clock import VirtualClock

A, B = HostId("host-a"), HostId("host-b")


def wish(host: HostId, address: str = "10.0.0.1:10807") -> PeerWish:
    return PeerWish(host=host, address=address)


def asked(witness: Witness, clock: VirtualClock, host: HostId, times: int) -> None:
    for _ in range(times):
        clock.wait(timedelta(seconds=2))
        witness.failed(host)


def witness() -> tuple[Witness, VirtualClock]:
    clock = VirtualClock()
    made = Witness(clock)
    made.want({A: wish(A), B: wish(B)})
    return made, clock


def test_a_peer_is_lost_after_some_questions_in_a_row_and_found_by_one_answer():
    made, clock = witness()
    asked(made, clock, A, LOST_QUESTIONS - 1)
    assert made.lost() == ()
    asked(made, clock, A, 1)
    assert made.lost() == (PeerLost(host=A, seconds=6),)
    made.reached(A)
    assert made.lost() == ()
    asked(made, clock, A, LOST_QUESTIONS - 1)
    made.reached(A)
    asked(made, clock, A, LOST_QUESTIONS - 1)
    assert made.lost() == ()


def test_time_alone_loses_nobody():
    made, clock = witness()
    clock.wait(timedelta(hours=1))
    assert made.lost() == ()
    made.failed(A)
    assert made.lost() == ()


def test_questions_that_fail_at_once_are_not_enough_either():
    made, clock = witness()
    for _ in range(20):
        made.failed(A)
    assert made.lost() == ()
    clock.wait(timedelta(seconds=6))
    assert [each.host for each in made.lost()] == [A]


def test_a_peer_elsewhere_begins_anew_and_one_that_is_asked_no_more_is_not_told_of():
    made, clock = witness()
    asked(made, clock, A, 5)
    asked(made, clock, B, 5)
    made.want({A: wish(A, "10.0.0.9:10807")})
    assert made.lost() == ()
    made.failed(B)
    assert [each.host for each in made.peers()] == [A]


def test_who_asked_about_leases_lately_is_renewing():
    made, clock = witness()
    assert made.renewing() == ()
    made.asked(B)
    made.asked(A)
    clock.wait(timedelta(seconds=RENEWED_SECONDS - 1))
    assert made.renewing() == (A, B)
    made.asked(B)
    clock.wait(timedelta(seconds=2))
    assert made.renewing() == (B,)


def test_where_leases_are_long_hosts_ask_more_rarely():
    clock = VirtualClock()
    made = Witness(clock, lease_seconds=600)
    made.asked(A)
    clock.wait(timedelta(seconds=249))
    assert made.renewing() == (A,)
    clock.wait(timedelta(seconds=60))
    assert made.renewing() == ()


def test_it_is_in_doubt_for_a_while_after_it_lost_a_peer_and_no_longer():
    made, clock = witness()
    asked(made, clock, A, LOST_QUESTIONS - 1)
    assert not made.in_doubt()
    asked(made, clock, A, 1)
    assert made.in_doubt()
    asked(made, clock, A, 10)
    assert not made.in_doubt(), "whatever becomes of it, it is no news"
