"""What this host can say of others: which of its peers it can't reach, and who renews leases here.

Management hears hosts by their agents alone, and an agent that is not heard may be dead, cut off from the management
servers only, or on a host without power. Its peers and its storage can tell (docs/architecture.md, hosts' health).
No news is good news: only changes are reported, and what is not said to be lost counts as reached, so a host that
says nothing condemns nobody.

Whoever asks peers (`peer_calls.py`) and answers about leases (`lease_port.py`) notes here what it learns, from any
thread.
"""

import threading
from collections.abc import Mapping

from arable.domain.ids import HostId
from arable.domain.manifest import PeerLost, PeerWish
from arable.runtime.clock import Clock

EVERY_SECONDS = 2.0
"""Between questions to a peer."""
LOST_SECONDS, LOST_QUESTIONS = 6.0, 3
"""Not reached for so long, and by so many questions in a row, a peer is lost. Time alone proves nothing: it may have
passed while this process was stopped, and had asked nobody."""
RENEWED_SECONDS = 12.5
"""Who has not asked about leases for so long renews none, where leases are as long as usual (30 s): it is asked for them
every ten."""
DOUBT_SECONDS = 20.0
"""For so long after a peer was reached last, somebody may be about to decide whether it is down."""


class Witness:
    """One host's. `lease_seconds` is the length of the leases that are given out here."""

    def __init__(self, clock: Clock, lease_seconds: float = 0.0) -> None:
        self._clock = clock
        self._renewed_within = max(RENEWED_SECONDS, lease_seconds * 5 / 12)
        self._lock = threading.Lock()
        self._peers: dict[HostId, PeerWish] = {}
        self._reached: dict[HostId, float] = {}
        self._failed: dict[HostId, int] = {}  # questions in a row
        self._asked: dict[HostId, float] = {}

    def want(self, peers: Mapping[HostId, PeerWish]) -> None:
        """These are to be asked from now on; a new one has as long to answer as any other."""
        with self._lock:
            if peers == self._peers:
                return
            now = self._clock.monotonic()
            self._reached = {
                host: self._reached.get(host, now) if self._peers.get(host) == wish else now
                for host, wish in peers.items()
            }
            self._failed = {host: self._failed.get(host, 0) for host in self._reached}
            self._peers = dict(peers)

    def peers(self) -> list[PeerWish]:
        """Who is to be asked."""
        with self._lock:
            return list(self._peers.values())

    def reached(self, host: HostId) -> None:
        """A peer has just answered."""
        with self._lock:
            if host in self._peers:
                self._reached[host], self._failed[host] = self._clock.monotonic(), 0

    def failed(self, host: HostId) -> None:
        """A peer was asked, and did not answer."""
        with self._lock:
            if host in self._peers:
                self._failed[host] += 1

    def asked(self, host: HostId) -> None:
        """A host has just asked about its leases here."""
        with self._lock:
            self._asked[host] = self._clock.monotonic()

    def lost(self) -> tuple[PeerLost, ...]:
        """Peers that can't be reached."""
        now = self._clock.monotonic()
        with self._lock:
            spans = {
                host: now - at
                for host, at in self._reached.items()
                if self._failed[host] >= LOST_QUESTIONS
            }
        return tuple(
            PeerLost(host=host, seconds=int(span))
            for host, span in sorted(spans.items())
            if span >= LOST_SECONDS
        )

    def in_doubt(self) -> bool:
        """Whether a peer was lost just now: its loss counts only when this host is heard itself a while after it."""
        return any(each.seconds < DOUBT_SECONDS for each in self.lost())

    def renewing(self) -> tuple[HostId, ...]:
        """Hosts whose leases here are being renewed."""
        since = self._clock.monotonic() - self._renewed_within
        with self._lock:
            self._asked = {host: at for host, at in self._asked.items() if at > since}
            return tuple(sorted(self._asked))

    def view(self) -> tuple[frozenset[HostId], tuple[HostId, ...]]:
        """What is worth a report when it changes."""
        return frozenset(each.host for each in self.lost()), self.renewing()
