"""What makes a management server a member of its cluster: it beats, finds the master or doubts it, and may become it.

Two things go on, each in a thread of its own, so that a ping that waits keeps no lease from being renewed: `beat`
writes the heartbeat, renews the mastership, writes what we doubt, and stands for election when the rows say so;
`look` pings the master, or does the master's work. Both are plain calls, so a model can put anything between them.

Whoever acts asks `acting()` first and has its epoch demanded in the transaction that writes. By our own monotonic
clock we stop before our lease ends; nothing is remembered of a database that does not answer, so nobody acts without
its lease, and everything goes on when it is back.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from arable.cluster.election import Council, may_elect, missed
from arable.cluster.times import Times, span
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import SegmentId
from arable.domain.segment import NOBODY, Election, Load, Segment, SegmentState, Suspicion
from arable.runtime.clock import Clock
from arable.store import elections, holdings, leases, segments
from arable.store.database import Tx
from arable.wire.cluster import Pong

log = logging.getLogger(__name__)

Transact = Callable[[Callable[[Tx], Any]], Any]
"""Executes work in a transaction; raises a `CloudError` when that is not known to have happened."""


class Ping(Protocol):
    """Asks the server at an address (HOST:PORT) who it is; None when it did not say so in time."""

    def __call__(self, address: str, /) -> Pong | None: ...


def nobody_answers(_address: str, /) -> Pong | None:
    """For a server that is alone."""
    return None


@dataclass(frozen=True, slots=True)
class _Doubt:
    epoch: int
    since: float
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a heartbeat brought back."""

    epoch: int  # our right to act
    council: Council
    renewed: bool
    resigned: bool
    fresh: int  # farms that were given to us


@dataclass(slots=True)
class SegmentManager:
    """`about` says who we are: id, address, site and version count. `elected` is called after a won election, `held` when
    we may act anew, or hold farms that we did not know of.

    `time` is told with each heartbeat what the time is in the database, and between which two of our monotonic clock.
    `rest` waits for so many seconds, or until the connection to an address ends; `ring` ends all such waits.
    """

    about: Segment
    transact: Transact
    clock: Clock
    ping: Ping = nobody_answers
    times: Times = field(default_factory=Times)
    load: Callable[[], Load] = Load
    duty: Callable[[int, Council], None] = lambda _epoch, _council: None
    elected: Callable[[], None] = lambda: None
    held: Callable[[], None] = lambda: None
    shared_now: Callable[[Tx], datetime] | None = None
    time: Callable[[datetime, float, float], None] = lambda _at, _asked, _answered: None
    rest: Callable[[str, float], None] | None = None
    ring: Callable[[], None] = lambda: None
    _epoch: int = 0
    _master: tuple[int, float] = (0, 0.0)  # the epoch we won, and until when by our monotonic clock
    _council: Council | None = None
    _ends: float = 0.0  # when the lease we read ends, by our monotonic clock
    _doubt: _Doubt | None = None
    _fresh: tuple[int, float] = (0, 0.0)  # an epoch of another, and when we first read of it
    _beat_due: float = 0.0
    _look_due: float = 0.0
    _wake: threading.Event = field(default_factory=threading.Event)
    _leaving: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def me(self) -> SegmentId:
        """Our name."""
        return self.about.id

    def acting(self) -> int:
        """The epoch we may act with as master; 0: we may not."""
        epoch, until = self._master
        return epoch if self.clock.monotonic() < until and not self._leaving.is_set() else 0

    @property
    def draining(self) -> bool:
        """Whether others are to do our work, as of the last heartbeat."""
        council = self._council
        return council is not None and _state(council, self.me) is SegmentState.DRAINING

    def serving(self) -> int:
        """The epoch we may act with for the farms that we hold; 0: we may not."""
        return 0 if self._leaving.is_set() else self._epoch

    def pong(self) -> Pong:
        """Our answer to a ping."""
        return Pong(id=self.me, incarnation=self._epoch, epoch=self.acting())

    # --- alone in a process, in threads

    def start(self) -> None:
        """Beat and look until `stop`."""
        for name, work in (("heartbeat", self._beats), ("peers", self._looks)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Hand over: the lease ends now, and farms need not wait until we are missed."""
        self._leaving.set()
        self._wake.set()
        self.ring()
        for thread in self._threads:
            thread.join()
        try:
            self.transact(self._left)
        except CloudError as error:
            log.warning("could not leave in order: %s", error.public)

    def step(self) -> None:
        """Do what is due, for a schedule that has no threads."""
        if self.clock.monotonic() >= self._beat_due:
            self.beat()
        if self.clock.monotonic() >= self._look_due:
            self.look()

    # --- in the store

    def beat(self) -> None:
        """Say that we live, renew what we hold, and stand for election if we may."""
        begun = self.clock.monotonic()
        self._beat_due = begun + self.times.hurry
        try:
            heard: _Heard = self.transact(self._heard)
        except CloudError as error:
            log.warning("no heartbeat: %s", error.public)
            return
        answered = self.clock.monotonic()
        self.time(heard.council.now, begun, answered)
        took = answered - begun
        if took > self.times.ping:
            log.warning("a heartbeat took %.1f s", took)
        self._took(heard, begun)
        if self._may(heard.council):
            self._stand(heard.council)
        self._beat_due = begun + self._pause()

    def _heard(self, tx: Tx) -> _Heard:
        now, load, epoch = self._now(tx), self.load(), self._epoch
        held = self._master[0]
        leases.hastily(tx)
        if not epoch or not segments.beat(tx, self.me, epoch, now, load):
            leases.hastily(tx, on=False)  # an epoch that was given is never given again
            epoch, _seq = segments.register(tx, replace(self.about, heartbeat_at=now))
            held = 0
            log.info("registered with epoch %d", epoch)
        self._say(tx, now)
        council = self._read(tx, now)
        renewed = resigned = False
        if held:
            if self._stuck(load) or _state(council, self.me) is not SegmentState.READY:
                elections.resign(tx, self.me, held, now)
                resigned = True
            else:
                until = now + span(self.times.length)
                renewed = elections.renew(tx, self.me, held, now, until)
                if renewed:
                    council = replace(council, lease=replace(council.lease, until=until))
        fresh = holdings.confirm(tx, self.me)
        return _Heard(epoch, council, renewed, resigned, fresh)

    def _took(self, heard: _Heard, begun: float) -> None:
        held, until = self._master
        lease = heard.council.lease
        if heard.renewed:
            self._master = (held, begun + self.times.length - self.times.margin)
        elif held:
            log.warning("no longer master of epoch %d; it is %s", held, lease.holder)
            self._master = (0, until)
        anew = heard.epoch != self._epoch
        self._epoch, self._council = heard.epoch, heard.council
        if anew or heard.fresh:
            self.held()
        self._ends = begun + (lease.until - heard.council.now).total_seconds()
        if lease.epoch != self._fresh[0]:
            self._fresh = (lease.epoch, begun)

    def _may(self, council: Council) -> bool:
        lease = council.lease
        acting = lease.holder == self.me and lease.epoch == self._master[0]
        return (
            not self._leaving.is_set()
            and not self._stuck(self.load())
            and may_elect(self.me, council, self.times, acting=acting).may
        )

    def _stand(self, council: Council) -> None:
        begun = self.clock.monotonic()
        try:
            won: Election | None = self.transact(self._elect)
        except Unavailable as error:
            log.warning("no election: %s", error.public)
            if council.lease.holder not in (NOBODY, self.me):
                self._free(council.lease.holder)
            return
        except CloudError as error:
            log.warning("no election: %s", error.public)
            return
        if won is None:
            return
        self._doubt = None
        self._fresh = (won.epoch, begun)
        self._ends = begun + self.times.length
        self._master = (won.epoch, begun + self.times.length - self.times.margin)
        log.info("master with epoch %d: %s", won.epoch, won.cause)
        self.elected()

    def _elect(self, tx: Tx) -> Election | None:
        before = elections.lock(tx)
        council = self._read(tx, self._now(tx))
        acting = before.holder == self.me and before.epoch == self._master[0]
        verdict = may_elect(self.me, council, self.times, acting=acting)
        segments.demand(tx, self.me, self._epoch)
        if verdict.cause is None:
            return None
        won = Election(
            epoch=before.epoch + 1,
            holder=self.me,
            at=council.now,
            cause=verdict.cause,
            agreed=verdict.agreed,
        )
        elections.elect(tx, won, council.now + span(self.times.length))
        return won

    def _free(self, holder: SegmentId) -> None:
        """What keeps us from an election that is due are locks of a server that stands still."""
        try:
            ended: int = self.transact(lambda tx: segments.hang_up(tx, holder))
        except CloudError as error:
            log.warning("can't end the transactions of %s: %s", holder, error.public)
        else:
            log.warning("ended %d transactions of %s that stood still", ended, holder)

    def _say(self, tx: Tx, now: datetime) -> None:
        doubt = self._doubt
        if doubt is None:
            known = self._council
            if known is None or any(each.by == self.me for each in known.suspicions):
                elections.absolve(tx, self.me)
            return
        here = self.clock.monotonic()
        since, at = (now - timedelta(seconds=here - when) for when in (doubt.since, doubt.at))
        elections.suspect(tx, Suspicion(self.me, doubt.epoch, since, at, doubt.why))

    def _read(self, tx: Tx, now: datetime) -> Council:
        return Council(
            now,
            elections.mastership(tx),
            segments.members(tx),
            elections.suspicions(tx),
            elections.thrown_over(tx, now - span(self.times.calm)),
        )

    def _left(self, tx: Tx) -> None:
        now = self._now(tx)
        if self._master[0]:
            elections.resign(tx, self.me, self._master[0], now)
        if self._epoch:
            segments.leave(tx, self.me, self._epoch)
            holdings.wanting(tx)

    def _now(self, tx: Tx) -> datetime:
        return self.shared_now(tx) if self.shared_now else leases.now(tx, self.clock.now())

    def _stuck(self, load: Load) -> bool:
        """Whether our own work stands still, so that another should do it."""
        return load.lag_ms > self.times.sick * 1000

    def _pause(self) -> float:
        """Until the next heartbeat: soon while there may be no master, else in time for the lease's end."""
        doubt, council = self._doubt, self._council
        if council is None or (doubt is not None and doubt.epoch == council.lease.epoch):
            return self.times.hurry
        left = self._ends - self.clock.monotonic()
        if self.acting() or left > self.times.ping:
            return self.times.ping
        return max(left, 0) + self.times.hurry / 5 if left > 0 else self.times.hurry

    # --- over the network

    def look(self) -> None:
        """Ping the master and remember whether it was there; or, being the master, do its work."""
        begun = self.clock.monotonic()
        self._look_due = begun + self.times.ping
        council, epoch = self._council, self.acting()
        if council is None:
            return
        if epoch:
            self._doubt = None
            self.duty(epoch, council)
            return
        lease = council.lease
        if lease.holder in (NOBODY, self.me):
            self._doubt = None
            return
        address = self._address()
        pong = self.ping(address) if address else None
        answered = None if pong is None else (SegmentId(pong.id), pong.epoch)
        why = missed(lease.epoch, answered, lease.holder)
        here = self.clock.monotonic()
        known, first = self._fresh
        before = self._doubt
        if not why:
            self._doubt = None
            if before is not None:
                self._hurry()
        elif pong is None or (known == lease.epoch and here - first >= self.times.grace):
            since = before.since if before and before.epoch == lease.epoch else here
            self._doubt = _Doubt(lease.epoch, since, here, why)
            if since == here:
                log.warning("no master: %s of epoch %d: %s", lease.holder, lease.epoch, why)
                self._hurry()

    def _hurry(self) -> None:
        """What we think of the master has changed: say so now."""
        self._beat_due = self.clock.monotonic()
        self._wake.set()

    # --- within

    def _address(self) -> str:
        """Where the master is reached; empty when there is none, or we are it."""
        council = self._council
        if council is None or council.lease.holder == self.me:
            return ""
        holder = council.lease.holder
        return next((each.address for each in council.segments if each.id == holder), "")

    def _beats(self) -> None:
        while not self._leaving.is_set():
            self._guarded(self.beat)
            self._wake.wait(max(0.0, self._beat_due - self.clock.monotonic()))
            self._wake.clear()

    def _looks(self) -> None:
        while not self._leaving.is_set():
            self._guarded(self.look)
            pause = max(0.0, self._look_due - self.clock.monotonic())
            if self.rest is None or self._doubt is not None:
                self._leaving.wait(pause)
            else:
                self.rest(self._address(), pause)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            log.exception("a member's round failed")
            self._leaving.wait(self.times.hurry)


def _state(council: Council, id_: SegmentId) -> SegmentState | None:
    return next((each.state for each in council.segments if each.id == id_), None)
