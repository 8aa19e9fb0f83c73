"""The management-server cluster in words: segments, the mastership, suspicions, elections, who holds which farm.

A *segment* is one management server as the others know it. One of them is master by a lease with an epoch; how it is
chosen stands in `cluster/election.py`. Times are the database's, which all servers share.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from arable.domain.ids import FarmId, SegmentId

NOBODY = SegmentId("")


class SegmentState(StrEnum):
    """`GONE`: it left, or was silent for too long and its farms were taken; it registers anew when it is back."""

    READY = "ready"
    DRAINING = "draining"  # serves, but holds no farm and is no master
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a segment says of itself with each heartbeat."""

    cpu_percent: int = 0  # of one core, by its process, lately
    memory_mib: int = 0  # of the process
    lag_ms: int = 0  # how late the slowest of its loops comes round
    pending: int = 0  # pieces of work that wait for its writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One management server. `seq` is drawn from a growing counter at each start, so the eldest has the lowest.

    `epoch` is its right to act: it grows at each registration and when its farms are taken, and what it writes with an
    older one is refused.
    """

    id: SegmentId
    seq: int
    epoch: int
    address: str  # HOST:PORT of its gateway
    state: SegmentState
    heartbeat_at: datetime
    site: str = ""
    version: str = ""
    load: Load = field(default_factory=Load)
    farms: int = 0
    asked: str = ""  # what the master asks of the platform: "restart", "stop" or nothing
    asked_at: datetime | None = None
    told: str = ""  # what came of it: empty while nobody knows


@dataclass(frozen=True, slots=True)
class Mastership:
    """The lease of the master. `holder` is empty before the first election."""

    holder: SegmentId
    epoch: int
    until: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class Suspicion:
    """`by` finds no master of `epoch`: since when, and when last."""

    by: SegmentId
    epoch: int
    since: datetime
    at: datetime
    why: str = ""


class Cause(StrEnum):
    """Why there was an election."""

    FIRST = "first"  # there had never been a master
    ENDED = "ended"  # the lease had ended
    SUSPECTED = "suspected"  # a majority of the live did not find the master
    REBORN = "reborn"  # the holder's process had ended, and its next one asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Election:
    """One that was won. `agreed`: who suspected the master before."""

    epoch: int
    holder: SegmentId
    at: datetime
    cause: Cause
    agreed: tuple[SegmentId, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """A farm and its holder. `load` counts what it has to do; a farm without anything to do has 0."""

    farm: FarmId
    holder: SegmentId
    load: int = 0
    confirmed: bool = True
