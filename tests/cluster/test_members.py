"""Management servers under the dice (`sim/members.py`): one master writes, and after trouble there is one again."""

import logging
import os

import pytest

from arable.runtime.clock import VirtualClock
from arable.sim.fibres import Fibres
from arable.sim.invariants import Broken
from arable.sim.members import Members
from arable.store import holdings, leases

SEEDS, CHUNK = int(os.environ.get("ARABLE_MEMBERS_SEEDS", "40")), 10
"""Where a fence is missing, one of the first four tells (docs/decisions/0046)."""
SECONDS = 9.0


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_only_the_last_elected_writes_and_all_farms_are_served_again(first):
    for seed in range(first, first + CHUNK):
        Members(str(seed)).run(SECONDS)


@pytest.mark.parametrize(("seed", "seconds"), [("96", 20.0), ("267", 30.0), ("1963", 30.0)])
def test_seeds_that_once_failed_pass(seed, seconds):
    Members(seed).run(seconds)


def test_a_seed_tells_the_same_story_twice():
    stories = []
    for _ in range(2):
        members = Members("twice", 3)
        members.run(15.0)
        stories.append(list(members.trace))
    assert stories[0] == stories[1]
    assert len(stories[0]) > 10


def test_old_masters_do_try_to_write_and_are_refused():
    """Or nothing of this would show anything."""
    refused = 0
    for seed in range(6):
        members = Members(f"refused-{seed}", 3)
        members.run(SECONDS)
        refused += members.refused
    assert refused


def test_the_model_notices_when_nothing_is_demanded_of_writers(monkeypatch):
    monkeypatch.setattr(leases, "demand", lambda *_: None)

    def careless() -> None:
        for seed in range(40):
            Members(f"careless-{seed}", 3).run(SECONDS)

    with pytest.raises(Broken, match="wrote"):
        careless()


def test_the_model_notices_when_farm_managers_do_not_ask_whose_a_farm_is(monkeypatch):
    monkeypatch.setattr(holdings, "hold", lambda _tx, _holder, farms: list(farms))

    def careless() -> None:
        for seed in range(40):
            Members(f"careless-{seed}", 3).run(2 * SECONDS)

    with pytest.raises(Broken, match=r"worked for|wrote"):
        careless()


def test_farms_break_in_the_model_and_each_member_works_for_some():
    faults, servers = 0, set()
    for seed in range(5):
        members = Members(f"broken-{seed}", 3)
        members.run(SECONDS)
        faults += members.work.faults
        servers |= members.work.servers
    assert faults > 5
    assert len(servers) == 3


def test_fibres_take_turns_by_their_time_and_end_when_killed():
    clock, told = VirtualClock(), []
    fibres = Fibres(clock)

    def every(seconds: float, name: str) -> None:
        try:
            while True:
                fibres.wait(seconds)
                told.append((round(clock.monotonic(), 1), name))
        finally:
            told.append((round(clock.monotonic(), 1), f"{name} ends"))

    fibres.start("one", lambda: every(1.0, "a"))
    fibres.start("two", lambda: every(0.7, "b"))
    fibres.run(1.5)
    assert told == [(0.7, "b"), (1.0, "a"), (1.4, "b")]
    told.clear()
    fibres.freeze("one", 2.0)
    fibres.kill("two")
    fibres.run(2.5)
    assert told == [(1.5, "b ends"), (3.5, "a")]
    fibres.close()
    assert told[-1] == (4.0, "a ends")


def test_what_a_fibre_raises_is_raised_where_it_was_run():
    fibres = Fibres(VirtualClock())

    def breaks() -> None:
        raise Broken("here")

    fibres.start("one", breaks)
    with pytest.raises(Broken, match="here"):
        fibres.run(1.0)
    fibres.close()
