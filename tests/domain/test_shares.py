"""Shares of a limit over all regions never come to more than the limit, whatever happens to what is said."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from arable.domain import shares
from arable.domain.shares import Share, Wish, heard, judge, lacks, lowered, runs_low, too_much, wish

REGIONS = ("eu", "us")
LIMIT = 8
NAMES = ("machines",)
LIMITS = dict.fromkeys(NAMES, LIMIT)


def none() -> Share:
    return Share(amounts=dict.fromkeys(NAMES, 0))


@dataclass
class Region:
    """Durable: what it has. `asked` is what was refused for want of a share."""

    share: Share = field(default_factory=none)
    used: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    asked: dict[str, int] = field(default_factory=dict)
    epoch: int = 0


class Shares(RuleBasedStateMachine):
    """Regions use and free, ask and give back; every message may be lost, doubled, or come whenever it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.regions = {name: Region() for name in REGIONS}
        self.granted: dict[str, Share] = {}
        self.questions: list[tuple[str, Share, Wish]] = []
        self.answers: list[tuple[str, Share]] = []
        self.short = False

    @rule(name=st.sampled_from(REGIONS), what=st.sampled_from(NAMES), count=st.integers(3, 6))
    def uses(self, name: str, what: str, count: int) -> None:
        region = self.regions[name]
        if region.used[what] + count <= region.share.amounts[what]:
            region.used[what] += count
        else:
            region.asked[what] = count

    @rule(name=st.sampled_from(REGIONS), what=st.sampled_from(NAMES), count=st.integers(3, 6))
    def frees(self, name: str, what: str, count: int) -> None:
        region = self.regions[name]
        region.used[what] = max(0, region.used[what] - count)
        region.asked.pop(what, None)

    @rule(name=st.sampled_from(REGIONS))
    def looks(self, name: str) -> None:
        """Gives back what is too much, and asks."""
        region = self.regions[name]
        wanted = wish(region.used, region.asked, LIMITS, short=self.short)
        region.share = lowered(region.share, too_much(region.share, wanted, short=self.short))
        self.questions.append((name, region.share, wanted))

    @rule(data=st.data(), again=st.booleans())
    def a_question_arrives(self, data: Any, again: bool) -> None:
        if not self.questions:
            return
        at = data.draw(st.integers(0, len(self.questions) - 1))
        name, said, wanted = self.questions[at]
        if not again:
            del self.questions[at]
        others = {
            what: sum(g.amounts.get(what, 0) for n, g in self.granted.items() if n != name)
            for what in NAMES
        }
        done = judge(self.granted.get(name), said, wanted, LIMITS, others, grow=True)
        self.granted[name] = done.share
        self.short = self.short or done.short
        self.answers.append((name, done.share))

    @rule(data=st.data(), again=st.booleans())
    def an_answer_arrives(self, data: Any, again: bool) -> None:
        if not self.answers:
            return
        at = data.draw(st.integers(0, len(self.answers) - 1))
        name, answer = self.answers[at]
        if not again:
            del self.answers[at]
        region = self.regions[name]
        region.share = heard(region.share, answer)

    @rule(lost=st.booleans())
    def what_is_on_its_way_is_lost(self, lost: bool) -> None:
        (self.questions if lost else self.answers).clear()

    @rule()
    def nobody_lacks_any_more(self) -> None:
        self.short = False

    @invariant()
    def shares_never_come_to_more_than_the_limit(self) -> None:
        for what in NAMES:
            assert sum(r.share.amounts[what] for r in self.regions.values()) <= LIMIT
            assert sum(g.amounts[what] for g in self.granted.values()) <= LIMIT

    @invariant()
    def nobody_counts_on_more_than_was_granted(self) -> None:
        for name, region in self.regions.items():
            granted = self.granted.get(name, none())
            for what in NAMES:
                assert region.used[what] <= region.share.amounts[what]
                assert region.share.amounts[what] <= granted.amounts[what]


TestShares = Shares.TestCase
TestShares.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def share(serial: int = 0, **amounts: int) -> Share:
    return Share(serial=serial, amounts=amounts)


def test_what_is_needed_is_granted_before_what_is_spare():
    done = judge(None, share(machines=0), Wish(need={"machines": 8}, spare={"machines": 9}),
                 {"machines": 20}, {"machines": 6}, grow=True)  # fmt: skip
    assert (dict(done.share.amounts), done.short) == ({"machines": 11}, False)
    done = judge(None, share(machines=0), Wish(need={"machines": 8}), {"machines": 20},
                 {"machines": 15}, grow=True)  # fmt: skip
    assert (dict(done.share.amounts), done.short) == ({"machines": 5}, True)


def test_a_lowered_limit_takes_nothing_away_and_gives_nothing_more():
    done = judge(share(3, machines=10), share(3, machines=10), Wish(need={"machines": 12}),
                 {"machines": 5}, {"machines": 8}, grow=True)  # fmt: skip
    assert (dict(done.share.amounts), done.short) == ({"machines": 10}, True)


def test_while_it_is_not_sure_what_others_have_nothing_is_added_and_nothing_forgotten():
    done = judge(None, share(4, machines=7), Wish(need={"machines": 9}), {"machines": 50}, {},
                 grow=False)  # fmt: skip
    assert done == shares.Judged(share=share(4, machines=7), short=True)


def test_a_store_that_was_set_back_holds_itself_to_the_least_of_both():
    after = heard(share(2, machines=20), share(5, machines=4))
    assert after == share(6, machines=4)
    assert heard(after, share(5, machines=20)) == after
    assert heard(share(0, machines=0), share(5, machines=10)) == share(6, machines=0)


def test_who_uses_nothing_keeps_nothing_and_who_runs_low_asks():
    limits = {"machines": 64}
    idle = wish({}, {}, limits, short=False)
    assert too_much(share(machines=9), idle, short=False) == {"machines": 0}
    busy = wish({"machines": 10}, {}, limits, short=False)
    assert dict(busy.spare) == {"machines": 4}
    assert not lacks(share(machines=10), busy)
    assert runs_low(share(machines=11), busy)
    assert not runs_low(share(machines=12), busy)
    assert too_much(share(machines=18), busy, short=False) == {"machines": 18}
    assert too_much(share(machines=19), busy, short=False) == {"machines": 14}
    tight = wish({"machines": 10}, {}, limits, short=True)
    assert too_much(share(machines=18), tight, short=True) == {"machines": 10}
    assert lacks(share(machines=10), wish({"machines": 10}, {"machines": 2}, limits, short=True))


def test_what_was_said_before_something_was_given_back_comes_late_and_changes_nothing():
    """A step of the machine above that chance seldom finds."""
    asks, granted = Wish(need={"machines": 9}), share(1, machines=2)
    done = judge(granted, share(0, machines=6), asks, {"machines": 8}, {"machines": 6}, grow=True)
    assert done.share == granted
