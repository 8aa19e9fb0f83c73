"""The spans of the cluster, in one place. They scale together: a cluster that pings half as often is half as quick.

A lease outlives two renewals that were lost; a member that missed as many heartbeats is not counted. `MARGIN` is taken
from the holder's side of a lease only, for clocks that run unequally fast; what it decided is fenced anyway.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """In seconds, for a ping each second."""

    ping: float = 1.0  # between pings, heartbeats and renewals
    deadline: float = 1.0  # of a ping
    hurry: float = 0.15  # between looks while there may be no master
    length: float = 3.0  # of the master's lease
    margin: float = 0.2
    silent: float = 3.0  # a heartbeat that is older does not count as live
    fresh: float = 3.0  # a suspicion that was not renewed for longer counts for nothing
    grace: float = 1.0  # how long the first in line is waited for
    calm: float = 300.0  # elections by suspicion are counted over this span
    lost: float = 6.0  # a member silent for longer loses its farms
    sick: float = 30.0  # a member that is unwell for longer is asked to be restarted
    again: float = 60.0  # between two such requests

    def scaled(self, factor: float) -> "Times":
        """The same for another ping."""
        return Times(**{name: getattr(self, name) * factor for name in self.__dataclass_fields__})


def span(seconds: float) -> timedelta:
    """As a difference of moments."""
    return timedelta(seconds=seconds)
