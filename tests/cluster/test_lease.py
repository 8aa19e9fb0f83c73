"""Whoever stalls, skews or dies: at most one acts, and epochs only grow."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from arable.cluster.lease import LENGTH, MARGIN, Lease, Step, claimed, decide

START = datetime(2030, 1, 1, tzinfo=UTC)
SERVERS = ("a", "b", "c")


class Servers(RuleBasedStateMachine):
    """Servers that wake at odd times, with clocks up to a third of the margin apart."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.skew = {"a": -MARGIN / 3, "b": timedelta(0), "c": MARGIN / 3}
        self.row: Lease | None = None
        self.believes: dict[str, Lease | None] = dict.fromkeys(SERVERS)
        self.epochs: list[int] = []

    def at(self, me: str) -> datetime:
        return self.now + self.skew[me]

    @rule(me=st.sampled_from(SERVERS))
    def wakes(self, me: str) -> None:
        match decide(me, self.row, self.at(me)):
            case Step.CLAIM:
                self.row = claimed(me, self.row, "region", self.at(me))
                self.epochs.append(self.row.epoch)
                self.believes[me] = self.row
            case Step.RENEW if self.row == self.believes[me]:
                self.row = replace(self.row, until=self.at(me) + LENGTH)
                self.believes[me] = self.row
            case _:
                self.believes[me] = None

    @rule(ms=st.sampled_from([1, 700, 2500, 6900, 7100, 9900, 15000]))
    def time_passes(self, ms: int) -> None:
        self.now += timedelta(milliseconds=ms)

    @invariant()
    def at_most_one_acts(self) -> None:
        acting = [
            me
            for me in SERVERS
            if (lease := self.believes[me]) and self.at(me) < lease.until - MARGIN
        ]
        assert len(acting) <= 1

    @invariant()
    def epochs_only_grow(self) -> None:
        assert self.epochs == sorted(set(self.epochs))


TestServers = Servers.TestCase
TestServers.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
