"""Who counts: live members, and how many of them are a majority."""

from collections.abc import Iterable
from datetime import datetime

from arable.cluster.times import Times, span
from arable.domain.segment import Segment, SegmentState


def beats(segment: Segment, now: datetime, times: Times) -> bool:
    """Whether its heartbeat is fresh."""
    return segment.state is not SegmentState.GONE and (
        now - segment.heartbeat_at <= span(times.silent)
    )


def live(segments: Iterable[Segment], now: datetime, times: Times) -> list[Segment]:
    """Those that are ready and whose heartbeat is fresh, the lowest sequence number first."""
    found = [
        each for each in segments if each.state is SegmentState.READY and beats(each, now, times)
    ]
    return sorted(found, key=lambda each: each.seq)


def lost(segment: Segment, now: datetime, times: Times) -> bool:
    """Whether its farms should go to others: silent for long enough to be no mere pause."""
    return segment.state is not SegmentState.GONE and (
        now - segment.heartbeat_at > span(times.lost)
    )


def quorum(count: int) -> int:
    """How many of `count` are a majority."""
    return count // 2 + 1
