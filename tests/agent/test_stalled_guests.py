"""Guests that found no room for what they wrote: they go on by themselves, and what is told of them does not flap."""

import pytest

from agent import make_agent as make
from agent.make_agent import POOL, Rig
from arable.domain.manifest import GuestState

A, B = make.machine("a"), make.machine("b")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.wish(make.guest("a"))
    rig.step()
    return rig


def test_a_guest_without_room_stands_still_and_goes_on_when_there_is_some(rig) -> None:
    pool = rig.hardware.pools[POOL]
    assert rig.hardware.write(A)
    pool.clutter()
    assert not rig.hardware.write(A)
    rig.step()
    said = rig.server.said("a")
    assert (said.state, said.stalled) == (
        GuestState.RUNNING,
        "there is no room where a disk of it is",
    )
    starts = rig.hardware.guests[A].starts
    pool.clear()
    rig.step()
    assert not rig.hardware.guests[A].short, "it tries again by itself"
    rig.settle(seconds=30)
    assert rig.server.said("a").stalled == ""
    assert rig.hardware.guests[A].starts == starts


def test_its_neighbour_that_writes_nothing_runs_on(rig) -> None:
    rig.wish(make.guest("a"), make.guest("b", disks=(make.disk("b"),), ports=()))
    rig.step()
    rig.hardware.pools[POOL].clutter()
    rig.hardware.write(A)
    rig.step()
    assert rig.server.said("a").stalled
    assert not rig.server.said("b").stalled
    assert rig.hardware.guests[B].awake


def test_one_that_runs_for_a_moment_each_time_it_tries_is_told_once(rig) -> None:
    rig.hardware.pools[POOL].clutter()
    rig.hardware.write(A)
    rig.step()
    heard = len(rig.server.reports)
    kept = rig.hardware.guests[A]
    for n in range(4):  # it was let go on, and is seen before it stands still again
        kept.short = bool(n % 2)
        rig.hardware._tell(kept, kept.found.power)
        rig.after(1)
    named = [r for r in rig.server.reports[heard:] if any(g.machine == A for g in r.guests)]
    assert all(guest.stalled for r in named for guest in r.guests)


def test_one_that_is_stopped_while_it_stands_still_is_off(rig) -> None:
    rig.hardware.pools[POOL].clutter()
    rig.hardware.write(A)
    rig.step()
    rig.wish(make.off("a", force=True))
    rig.step()
    said = rig.server.said("a")
    assert (said.state, said.stalled) == (GuestState.STOPPED, "")
