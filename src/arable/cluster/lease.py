"""Whether to claim, renew, follow or stand down: a function of the lease as read and the time.

A lease is a row with a holder, an end and an epoch that grows with each change of holder. Its holder stops acting
`MARGIN` before its end by its own clock, and every write of what it decided is refused unless the row still names it
and its epoch. Times are the database's, so skew between servers does not count.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

LENGTH = timedelta(seconds=10)
MARGIN = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act, as the row says."""

    name: str
    holder: str
    epoch: int
    until: datetime


class Step(StrEnum):
    """What to do about a lease now."""

    CLAIM = "claim"
    RENEW = "renew"
    FOLLOW = "follow"
    STAND_DOWN = "stand down"


def decide(me: str, lease: Lease | None, now: datetime) -> Step:
    """What `me` should do."""
    if lease is None or now >= lease.until:
        return Step.CLAIM
    if lease.holder != me:
        return Step.FOLLOW
    return Step.RENEW if now < lease.until - MARGIN else Step.STAND_DOWN


def claimed(me: str, lease: Lease | None, name: str, now: datetime) -> Lease:
    """The lease as it is after a claim. A new epoch, even for the same holder: it may have slept."""
    return Lease(name, me, (lease.epoch if lease else 0) + 1, now + LENGTH)
