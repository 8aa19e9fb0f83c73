"""When a new master may be elected, and by whom: a function of rows as read and the database's time.

A master is thrown over only when its lease has ended, or when a majority of the live members say that they don't find
it. The master counts among the live while its heartbeat is fresh, so of two servers neither can throw over the other.
The first in line acts, and after a grace anybody, so that one that never tries blocks nobody. Whoever wins writes the
next epoch; two masters may believe, only the one of the last epoch can write (`store/leases.demand`).

A master that is not found by its peers but renews its lease is most likely a matter of a wrong address or a broken
switch between servers, and its successor would fare no better. So the more often that happened lately, the longer
each master is left in office before the next one is elected that way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from arable.cluster.members import live, quorum
from arable.cluster.times import Times, span
from arable.domain.ids import SegmentId
from arable.domain.segment import NOBODY, Cause, Mastership, Segment, Suspicion

_LONGEST = 6  # doublings of the time that a master is left in office


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one may; if so why, else what stands against it."""

    cause: Cause | None
    told: str
    agreed: tuple[SegmentId, ...] = ()

    @property
    def may(self) -> bool:
        return self.cause is not None


@dataclass(frozen=True, slots=True)
class Council:
    """All that an election looks at, as it was read at `now`. `recent`: elections by suspicion, lately."""

    now: datetime
    lease: Mastership
    segments: tuple[Segment, ...]
    suspicions: tuple[Suspicion, ...]
    recent: int = 0


def may_elect(me: SegmentId, seen: Council, times: Times, *, acting: bool = False) -> Verdict:
    """Whether `me` may become master now. `acting`: it is the master of this very epoch."""
    line = live(seen.segments, seen.now, times)
    if me not in {each.id for each in line}:
        return Verdict(None, "not a live member")
    lease = seen.lease
    if lease.holder == me and not acting and seen.now < lease.until:
        return Verdict(Cause.REBORN, "an earlier life of this server holds the lease")
    suspecting = _suspecting(seen, times, {each.id for each in line})
    if lease.holder == NOBODY or seen.now >= lease.until:
        cause = Cause.FIRST if lease.holder == NOBODY else Cause.ENDED
        doubted = {lease.holder} if suspecting else set()
        first = next((each.id for each in line if each.id not in doubted), me)
        waited = seen.now - lease.until >= span(times.grace)
        if me == first or (lease.holder != NOBODY and waited):
            return Verdict(cause, "the lease has ended", _names(suspecting))
        return Verdict(None, f"{first} is first in line")
    return _thrown_over(me, seen, times, line, suspecting)


def _thrown_over(
    me: SegmentId, seen: Council, times: Times, line: list[Segment], suspecting: list[Suspicion]
) -> Verdict:
    needed = quorum(len(line))
    if len(suspecting) < needed:
        return Verdict(None, f"{len(suspecting)} of {needed} suspect {seen.lease.holder}")
    names = _names(suspecting)
    if me not in names:
        return Verdict(None, "we find the master")
    if _beating(seen, times) and seen.now - seen.lease.since < calm(seen.recent, times):
        return Verdict(
            None, "the master renews its lease, and the last one was replaced not long ago"
        )
    agreed_at = sorted(each.since for each in suspecting)[needed - 1]
    first = next(each.id for each in line if each.id in names)
    if me != first and seen.now - agreed_at < span(times.grace):
        return Verdict(None, f"{first} is first in line")
    return Verdict(Cause.SUSPECTED, f"{len(names)} of {len(line)} don't find the master", names)


def calm(recent: int, times: Times) -> timedelta:
    """How long a master that renews is left in office after so many were thrown over lately."""
    return span(times.length * 2 ** min(recent - 1, _LONGEST) if recent else 0.0)


def missed(epoch: int, answered: tuple[SegmentId, int] | None, holder: SegmentId) -> str:
    """What is wrong with the answer to a ping of the master of `epoch` (id, epoch it acts with); empty: nothing."""
    if answered is None:
        return "no answer"
    who, claims = answered
    if who != holder:
        return f"{who} answers in its place"
    if claims < epoch:
        return f"it acts with epoch {claims}" if claims else "it does not act as master"
    return ""


def _suspecting(seen: Council, times: Times, line: set[SegmentId]) -> list[Suspicion]:
    lease = seen.lease
    return [
        each
        for each in seen.suspicions
        if each.epoch == lease.epoch
        and each.by in line
        and each.by != lease.holder
        and seen.now - each.at <= span(times.fresh)
    ]


def _beating(seen: Council, times: Times) -> bool:
    """Whether the lease was renewed when it was last due."""
    return seen.lease.until - seen.now > span(times.length - 1.5 * times.ping)


def _names(suspecting: Iterable[Suspicion]) -> tuple[SegmentId, ...]:
    return tuple(sorted(each.by for each in suspecting))
