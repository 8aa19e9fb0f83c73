"""The master's work: watch the members, give farms to those that are well, keep as many of them as are needed.

Each act is a transaction of its own that demands the mastership and checks again what it was decided on, so a master
that was replaced meanwhile changes nothing, and one that dies between any two of them leaves a state from which the
next one goes on. What is asked of the platform is written down before it is asked and answered after; an answer that
was lost is asked for again.

A member is *lost* when it does not beat: then it most likely can't write either, so its farms go to others and its epoch is
raised. One that beats but can't be reached, or whose loops stand still, is *unwell*: it is asked to be restarted when
that lasts, and keeps its farms until it is gone, because a single broken link is no reason to take them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from arable.cluster import assignment
from arable.cluster.election import Council
from arable.cluster.members import beats, live, lost
from arable.cluster.times import Times, span
from arable.controllers import farms
from arable.domain.errors import CloudError
from arable.domain.event import Event
from arable.domain.ids import SegmentId
from arable.domain.platform import Place, Platform
from arable.domain.segment import Segment, SegmentState
from arable.domain.settings import MANAGEMENT_SERVERS_MAX, MANAGEMENT_SERVERS_MIN
from arable.runtime.clock import Clock
from arable.store import events, holdings, leases, segments, settings
from arable.store.database import Tx
from arable.wire.cluster import Pong

log = logging.getLogger(__name__)

Transact = Callable[[Callable[[Tx], Any]], Any]
PingAll = Callable[[Sequence[str]], Mapping[str, Pong | None]]
"""Pings addresses, all at once."""

RESTART, STOP, START = "restart", "stop", "start"
_SELDOM = 10  # pings between looks at all farms
_FORGET = 86_400.0


def all_in_turn(ping: Callable[[str], Pong | None]) -> PingAll:
    """For a schedule that has no threads."""
    return lambda addresses: {address: ping(address) for address in addresses}


@dataclass(slots=True)
class Master:
    """`step` is called each second by whoever is master. `executor` performs what the platform is asked for."""

    me: SegmentId
    transact: Transact
    ping_all: PingAll
    platform: Platform
    clock: Clock
    times: Times = field(default_factory=Times)
    executor: Executor | None = None
    shared_now: Callable[[Tx], datetime] | None = None
    _epoch: int = 0
    _unwell: dict[SegmentId, float] = field(
        default_factory=dict
    )  # since when, by our monotonic clock
    _performing: set[SegmentId] = field(default_factory=set)
    _round: int = 0
    _sized: float = 0.0

    def step(self, epoch: int, council: Council) -> None:
        """One look at everything. An act that fails is left for the next look."""
        if epoch != self._epoch:
            self._epoch, self._round = epoch, 0
            self._unwell.clear()
        for work in (self._reach, self._bury, self._seldom, self._ask_platform):
            try:
                work(council)
            except CloudError as error:
                log.warning("as master: %s %s", error.public, error.detail)
        self._round += 1

    # --- members

    def _bury(self, council: Council) -> None:
        """Those that are lost may not act any more."""
        for segment in council.segments:
            if segment.id != self.me and self._lost(segment, council.now):
                self._act(partial(self._take, segment=segment))

    def _lost(self, segment: Segment, now: datetime) -> bool:
        """Silent for long, or for a shorter while and not to be reached either."""
        return lost(segment, now, self.times) or (
            segment.id in self._unwell
            and segment.state is not SegmentState.GONE
            and not beats(segment, now, self.times)
        )

    def _take(self, tx: Tx, now: datetime, segment: Segment) -> None:
        fresh = {each.id: each for each in segments.members(tx)}.get(segment.id)
        if fresh is None or not self._lost(fresh, now):
            return
        segments.hang_up(tx, segment.id)
        if segments.fence(tx, segment.id, fresh.epoch):
            segments.ask(tx, segment.id, RESTART, now)
            _tell(tx, now, "segment.lost", segment.id, "is silent; its farms go to others")
            farms.adopt(tx, now, self.times)

    def _reach(self, council: Council) -> None:
        """Ping the others, and have those restarted that are unwell for long."""
        others = [
            each
            for each in council.segments
            if each.id != self.me and each.state is not SegmentState.GONE
        ]
        answers = self.ping_all([each.address for each in others])
        here = self.clock.monotonic()
        ill: dict[SegmentId, float] = {}
        for each in others:
            pong = answers.get(each.address)
            sick = each.load.lag_ms > self.times.sick * 1000
            if pong is None or pong.id != each.id or sick:
                ill[each.id] = self._unwell.get(each.id, here)
        self._unwell = ill
        for each in others:
            since = ill.get(each.id)
            asked_lately = each.asked_at is not None and (
                council.now - each.asked_at < span(self.times.again)
            )
            if since is not None and here - since >= self.times.sick and not asked_lately:
                self._act(partial(self._cure, id_=each.id))

    def _cure(self, tx: Tx, now: datetime, id_: SegmentId) -> None:
        segments.ask(tx, id_, RESTART, now)
        _tell(
            tx,
            now,
            "segment.unwell",
            id_,
            "does not answer or stands still; it should be restarted",
        )

    # --- farms

    def _seldom(self, council: Council) -> None:
        """Weigh the farms, give and balance them, and look whether there are as many members as are needed.

        Farms that are nudged have a controller of their own (`controllers/farms.py`); what is found here is the rest.
        """
        if self._round % _SELDOM:
            return
        members = [each.id for each in live(council.segments, council.now, self.times)]

        def work(tx: Tx, now: datetime) -> None:
            holdings.weigh(tx)
            farms.adopt(tx, now, self.times)
            held = holdings.every(tx)
            farms.give(tx, held, assignment.balanced(held, members))
            segments.forget(tx, now - span(_FORGET))
            self._size(tx, now, council)

        self._act(work)

    # --- how many

    def _size(self, tx: Tx, now: datetime, council: Council) -> None:
        """One more, or one less, where the operator wants the number to follow the load."""
        most = settings.get(tx, MANAGEMENT_SERVERS_MAX)
        here = self.clock.monotonic()
        if not most or here < self._sized:
            return
        members = live(council.segments, now, self.times)
        least = settings.get(tx, MANAGEMENT_SERVERS_MIN)
        wanted = assignment.wanted([each.load.cpu_percent for each in members], least, most)
        if wanted == len(members):
            return
        self._sized = here + self.times.again
        if wanted > len(members):
            segments.ask(tx, self.me, START, now)
            _tell(tx, now, "segment.wanted", self.me, f"{wanted} management servers are needed")
            return
        youngest = max((each for each in members if each.id != self.me), key=lambda each: each.seq)
        segments.become(tx, youngest.id, SegmentState.DRAINING)
        _tell(tx, now, "segment.retired", youngest.id, "is not needed; its farms go to others")

    # --- the platform

    def _ask_platform(self, council: Council) -> None:
        """What was asked for and not answered; and those that have drained are stopped."""
        for each in council.segments:
            if each.state is SegmentState.DRAINING and not each.asked and each.id != self.me:
                self._act(partial(self._retire, id_=each.id))
            if each.asked and not each.told and each.id not in self._performing:
                self._performing.add(each.id)
                self._later(each)

    def _retire(self, tx: Tx, now: datetime, id_: SegmentId) -> None:
        holds = next((each.farms for each in segments.page(tx) if each.id == id_), 0)
        if not holds and settings.get(tx, MANAGEMENT_SERVERS_MAX):
            segments.ask(tx, id_, STOP, now)

    def _later(self, segment: Segment) -> None:
        if self.executor is None:
            self._perform(segment)
        else:
            self.executor.submit(self._perform, segment)

    def _perform(self, segment: Segment) -> None:
        """Only while we are master; the epoch is demanded before and with the answer."""
        try:
            self._act(lambda _tx, _now: None)
            told = self._performed(segment)
            self._act(lambda tx, now: self._answer(tx, now, segment, told))
        except CloudError as error:
            log.warning("%s of %s: %s", segment.asked, segment.id, error.public)
        except Exception:
            log.exception("%s of %s failed", segment.asked, segment.id)
        finally:
            self._performing.discard(segment.id)

    def _performed(self, segment: Segment) -> str:
        place = Place(segment.id, segment.address, segment.site)
        try:
            if segment.asked == RESTART:
                self.platform.restart(place)
            elif segment.asked == STOP:
                self.platform.stop(place)
            else:
                self.platform.start()
        except CloudError as error:
            return f"not done: {error.public}"
        return "done"

    @staticmethod
    def _answer(tx: Tx, now: datetime, segment: Segment, told: str) -> None:
        segments.tell(tx, segment.id, segment.asked, told)
        wish = {RESTART: "should be restarted", STOP: "may be stopped", START: "needs another one"}
        _tell(tx, now, f"segment.{segment.asked}", segment.id, f"{wish[segment.asked]}: {told}")

    # --- within

    def _act(self, work: Callable[[Tx, datetime], object]) -> None:
        """In a transaction that only the master of our epoch can finish."""
        epoch = self._epoch

        def fenced(tx: Tx) -> None:
            leases.demand(tx, self.me, epoch)
            work(tx, self.shared_now(tx) if self.shared_now else leases.now(tx, self.clock.now()))

        self.transact(fenced)


def _tell(tx: Tx, now: datetime, kind: str, subject: str, text: str) -> None:
    said = f"the management server {subject} {text}"
    events.add_many(tx, [Event(at=now, account=None, kind=kind, subject=subject, text=said)])
