"""What a rollout wants next: it ends with all elements of its goal, or of what there was before, and is never too bold."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tier_acts import (
    ANY,
    AT,
    MOVES,
    NEW,
    OLD,
    RUNS,
    WELL,
    E,
    M,
    Model,
    S,
    W,
    element,
    seen,
    tier,
)

from arable.domain.blueprint import Update
from arable.domain.rollout import Cause, Rollout, RolloutEvent, RolloutState
from arable.domain.rollout_acts import failures, next_step
from arable.domain.tier_acts import (
    Drain,
    Leave,
    MachineNow,
    Make,
    Note,
    Rolling,
    next_acts,
    release,
)

R, X = RolloutState, RolloutEvent


def rollout(state: R = R.ROLLING, failed: int = 0, told: str = "", **policy: Any) -> Rollout:
    ids = {"id": "rollout-1", "tier": "tier-1", "farm": "farm-1", "account": "account-1"}
    update = Update(**{"bake_seconds": 10} | policy)
    made = {"before": OLD, "goal": NEW, "created_at": AT}
    return Rollout(**ids | made, state=state, policy=update, failures=failed, told=told)


def olds(*numbers: int):
    return [seen(element(number, made=OLD)) for number in numbers]


def wants(known, of: Rollout | None = None, at: float = 10.0, **but):
    return next_step(tier(**but), of or rollout(), known, AT + timedelta(seconds=at))


# --- a model: a tier's round with its rollout, in a world where new elements may be bad


@dataclass
class Rolled(Model):
    of: Rollout | None = None
    bad: bool = False  # the new release never becomes well

    def __post_init__(self) -> None:
        self.most = 0

    def round(self) -> int:
        assert self.of is not None
        if self.of.state in (R.DONE, R.FAILED):
            return 0
        step = next_step(self.tier, self.of, self.sights(), self.at)
        if step.event is X.TURN_BACK:
            self.of = self.of.after(X.TURN_BACK, self.at, cause=Cause.FAILURES)
            self.tier = replace(self.tier, image_version=OLD.image)
            step = next_step(self.tier, self.of, self.sights(), self.at)
        if step.event is not None:
            self.of = self.of.after(step.event, self.at)
            return 1
        self.rollout = step.rolling
        known = self.sights()
        acts = next_acts(self.tier, known, self.rollout, self.at)
        self.never_too_bold(acts)
        failed = list(failures(self.of, known, acts, self.at))
        done = super().round()
        self.of = replace(self.of, failures=self.of.failures + len(failed))
        return done

    def never_too_bold(self, acts) -> None:
        """By its own acts neither too few serve, nor are there too many, nor is one renewed before new ones are proven.

        Somebody's wish for another machine is none of them: it is held to the tier's least alone.
        """
        assert self.of is not None
        policy, count = self.of.policy, self.tier.count
        drained = [
            self.elements[act.element]
            for act in acts
            if isinstance(act, Drain)
            and release(self.elements[act.element]) != self.tier.release
            and not self.elements[act.element].replaced
        ]
        ends = sum(each.state is S.SERVING for each in drained)
        floor = max(count - policy.unavailable, min(self.tier.least, count))
        assert not ends or self.serving() - ends >= floor
        made = sum(len(act.numbers) for act in acts if isinstance(act, Make))
        fresh = sum(number not in {e.number for e in self.elements.values()} for act in acts if isinstance(act, Make) for number in act.numbers)  # fmt: skip
        assert made >= fresh
        assert len(self.elements) + fresh <= count + policy.surge
        if drained and self.of.state is R.ROLLING:
            young = [
                each
                for each in self.elements.values()
                if each.state in (S.MAKING, S.PROVING, S.SERVING)
                and release(each) == self.tier.release
                and not (each.state is S.SERVING and (self.at - each.since).total_seconds() >= 10)
            ]
            assert not young
            self.canary_is_watched(drained)

    def canary_is_watched(self, drained) -> None:
        """Until it has served for long enough nobody is drained but to be of it."""
        assert self.of is not None
        canary = self.of.policy.canaries(self.tier.count)
        new = [e for e in self.elements.values() if release(e) == self.tier.release]
        served = [e for e in new if e.state is S.SERVING and (self.at - e.since).total_seconds() >= 40]  # fmt: skip
        if canary > len(served):
            assert len(drained) + sum(e.state is not S.WAITING for e in new) <= canary

    def moves(self, what: str) -> None:
        super().moves(what)
        if what == "checks" and self.bad:
            self.router.well -= {id_ for id_, each in self.elements.items() if release(each) == NEW}
        self.at += timedelta(seconds=1)


@st.composite
def rolled(draw) -> Rolled:
    count = draw(st.integers(0, 5))
    surge = draw(st.integers(0, 3))
    fewer = draw(st.integers(0 if surge else 1, 2))
    least = draw(st.integers(0, count if surge else max(count - 1, 0)))
    policy = {"surge": surge, "unavailable": fewer, "failures": draw(st.integers(0, 1))}
    policy |= {"canary": draw(st.sampled_from(("", "1", "2", "30%"))), "canary_seconds": 40}
    made = Rolled(tier(count=count, least=least), {}, {}, of=rollout(**policy))
    for number in range(1, count + 1):
        made.make(number, OLD)
        id_ = f"element-{number}"
        made.turn(id_, state=M.RUNNING, ran=True)
        made.elements[id_] = replace(made.elements[id_], state=S.SERVING, tries=0)
        made.router.has[id_] = 1
        made.router.well.add(id_)
    made.router.says(AT)
    made.bad = draw(st.booleans())
    made.crowd = draw(st.integers(0, 1))
    return made


@settings(max_examples=30, deadline=None)
@given(rolled(), st.lists(st.sampled_from(ANY), max_size=30))
def test_it_ends_with_all_of_one_release_whatever_happens_in_what_order(model, first) -> None:
    for what in first:
        model.round()
        model.moves(what)
    model.bad = model.bad and model.of.state is R.ROLLING
    for _ in range(2500):
        model.round()
        for what in MOVES:
            model.moves(what)
        if model.of.state in (R.DONE, R.FAILED):
            break
    made = {release(each) for each in model.elements.values()}
    assert all(each.state is S.SERVING for each in model.elements.values())
    assert {each.number for each in model.elements.values()} == set(range(1, model.tier.count + 1))
    if model.of.state is R.DONE:
        assert made <= {NEW}
        assert not (model.bad and model.tier.count)
    else:
        assert model.of.state is R.FAILED
        assert made <= {OLD}


def test_one_that_is_paused_comes_to_rest_and_renews_nobody() -> None:
    known = [*olds(1), seen(element(2, S.DRAINING, OLD)), seen(element(3))]
    step = wants(known, rollout(R.PAUSED), count=2)
    assert step.rolling == Rolling(surge=1)
    assert step.event is None
    assert wants(known, rollout(R.PAUSED, surge=0, unavailable=1), count=2).rolling == Rolling()


# --- one by one


def test_those_that_are_more_are_made_first_and_bake_before_the_first_old_one_goes() -> None:
    assert wants(olds(1, 2)).rolling == Rolling(surge=1)
    young = [*olds(1, 2), seen(element(3))]
    assert wants(young, at=9).rolling == Rolling(surge=1)
    assert wants(young, at=9).due_at == AT + timedelta(seconds=10)
    proven = wants(young)
    assert (proven.rolling, proven.renewed) == (Rolling(renew=frozenset({1}), surge=1), 0)


def test_those_that_may_be_missing_go_at_once_and_no_more_until_new_ones_bake() -> None:
    two = rollout(surge=0, unavailable=2)
    assert wants(olds(1, 2, 3), two, count=3).rolling.renew == {1, 2}
    waits = [seen(element(1, S.WAITING, machine=None)), *olds(2, 3)]
    assert wants(waits, two, count=3).rolling.renew == {2}
    failed = [seen(element(1, S.WAITING, machine=None, tries=1)), *olds(2, 3)]
    assert wants(failed, two, count=3).rolling.renew == frozenset()
    assert wants([seen(element(1)), *olds(2, 3)], two, at=9, count=3).rolling.renew == frozenset()


def test_those_that_serve_nobody_are_renewed_first() -> None:
    ill = seen(element(2, S.PROVING, OLD), RUNS, replace(WELL, well=False))
    known = [*olds(1), ill, seen(element(3))]
    assert wants(known).rolling.renew == {2}


def test_those_that_are_on_their_way_count_among_those_that_may_be() -> None:
    ill = seen(element(2, S.PROVING, OLD), RUNS, replace(WELL, well=False))
    known = [seen(element(1, S.DROPPING, OLD)), ill, seen(element(3))]
    assert wants(known).rolling.renew == {1}


def test_a_canary_is_made_first_and_watched_for_longer_than_others() -> None:
    of = rollout(surge=3, canary="10%", canary_seconds=60)
    ten = olds(*range(1, 11))
    assert wants(ten, of, count=10).rolling == Rolling(surge=1)
    one = [*ten, seen(element(11))]
    watched = wants(one, of, at=59, count=10)
    assert watched.rolling == Rolling(surge=1)
    assert watched.told == "its canary, 1 of 10, is watched for 60 s"
    assert watched.due_at == AT + timedelta(seconds=60)
    after = wants(one, of, at=60, count=10)
    assert (after.rolling.surge, len(after.rolling.renew)) == (3, 1)
    # Where there may be fewer, old ones make room for it, and no more of them than it has.
    fewer = rollout(surge=0, unavailable=5, canary="2", canary_seconds=60)
    assert len(wants(ten, fewer, count=10).rolling.renew) == 2
    two = [seen(element(1)), seen(element(2)), *olds(*range(3, 11))]
    assert wants(two, fewer, at=59, count=10).rolling.renew == frozenset()
    assert len(wants(two, fewer, at=60, count=10).rolling.renew) == 5


def test_a_canary_that_fails_late_is_held_against_its_release_and_one_on_the_way_back_is_none() -> (
    None
):
    of = rollout(canary="1", canary_seconds=60)
    new, known = element(3), AT + timedelta(seconds=50)
    acts = [Note(new.id, E.SEE_ILL, "its check fails")]
    assert list(failures(of, [seen(new)], acts, known))
    assert not list(failures(rollout(), [seen(new)], acts, known))
    back = replace(of, state=R.BACK)
    assert wants(olds(1, 2), back, 0, image_version=1).event is X.FINISH


@pytest.mark.parametrize(
    ("said", "count", "canaries"),
    [("", 9, 0), ("10%", 10, 1), ("10%", 11, 2), ("10%", 1, 1), ("10%", 0, 0), ("3", 2, 2), ("100%", 4, 4)],
)  # fmt: skip
def test_a_canary_is_a_number_or_a_share_of_at_least_one(said, count, canaries) -> None:
    assert Update(canary=said).canaries(count) == canaries


def test_one_that_drains_goes_on_while_new_ones_bake() -> None:
    known = [seen(element(1, S.DRAINING, OLD)), *olds(2), seen(element(3))]
    assert wants(known, at=1).rolling.renew == {1}


def test_where_none_may_be_missing_it_waits_and_says_so() -> None:
    stuck = wants(olds(1), rollout(surge=0, unavailable=1), count=1, least=1)
    assert stuck.told == "none may be missing: at least 1 have to serve"
    assert stuck.due_at == AT + timedelta(seconds=20)


def test_what_was_more_goes_last_and_then_it_is_over() -> None:
    new = [seen(element(number)) for number in (1, 2, 3)]
    step = wants(new)
    assert (step.rolling, step.event) == (Rolling(), None)
    assert step.renewed == 2
    assert wants(new[:2]).event is X.FINISH
    assert wants([], count=0).event is X.FINISH
    assert wants(olds(1, 2), rollout(R.BACK), 0, count=2, image_version=1).event is X.FINISH
    assert wants(new[:2], at=9).event is None


def test_more_failures_than_may_be_or_a_tier_that_leaves_end_it() -> None:
    told = "web-1: it was not seen well for 600 seconds"
    step = wants(olds(1, 2), rollout(failed=1, told=told))
    assert step.event is X.TURN_BACK
    assert step.told == f"1 of its new elements failed, 0 may: {told}"
    assert wants(olds(1, 2), rollout(failed=1, told=told, failures=1)).event is None
    assert wants(olds(1, 2), leaving=True).event is X.DROP


@pytest.mark.parametrize(("errors", "turns"), [(1, False), (2, True)])
def test_new_elements_that_answer_with_more_errors_than_old_ones_turn_it_back(
    errors, turns
) -> None:
    old = seen(element(1, made=OLD), RUNS, replace(WELL, answers=100, errors=1))
    new = seen(element(2), RUNS, replace(WELL, answers=50, errors=errors))
    step = wants([old, new], rollout(errors_percent=1))
    assert (step.event is X.TURN_BACK) == turns
    few = seen(element(2), RUNS, replace(WELL, answers=19, errors=19))
    assert wants([old, few]).event is None


def failed(known, act, at: float = 0.0, of: Rollout | None = None):
    found = failures(of or rollout(), [known], [act], AT + timedelta(seconds=at))
    return [told for _, told in found]


FAILS = Leave("element-1", E.FAIL, "it was not seen well")


def test_what_is_held_against_a_release_is_of_new_elements_alone() -> None:
    assert failed(seen(element(1, S.PROVING)), FAILS) == ["it was not seen well"]
    assert failed(seen(element(1, S.PROVING, OLD)), FAILS) == []
    assert failed(seen(element(1, S.PROVING)), FAILS, of=rollout(R.PAUSED)) == []
    assert failed(seen(element(1, S.DRAINING)), FAILS) == []
    stops = Note("element-1", E.SEE_OFF, "its machine does not run")
    assert failed(seen(element(1)), stops, 9)
    assert not failed(seen(element(1)), stops, 10)
    assert failed(seen(element(1, S.PROVING)), stops, 10)


@pytest.mark.parametrize(
    "machine",
    [
        None,
        replace(RUNS, host_lost=True),
        replace(RUNS, wish=W.DESTROYED),
        MachineNow(state=M.STOPPED, wish=W.STOPPED),
        MachineNow(state=M.WAITING, wish=W.RUNNING),
    ],
    ids=["no machine", "host lost", "destroyed by hand", "no room", "not placed"],
)
def test_what_is_not_for_the_release_is_not_held_against_it(machine) -> None:
    assert failed(seen(element(1, S.MAKING), machine), FAILS) == []
