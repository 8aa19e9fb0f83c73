"""Looks how far regions are that hold an image, and how busy, before one of them is asked for it (`domain/sources.py`).

All are asked at once. Whoever is much slower than the first to answer need not be waited for: it is not the nearest.
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arable.client.errors import CallError
from arable.controllers.fetching import Source
from arable.domain.grid import Peer, PeerState
from arable.domain.region import FactKind
from arable.domain.sources import LOOKED_AT, Seen
from arable.runtime.clock import Clock
from arable.store import grid_facts
from arable.store.database import Tx

_WITHIN = 2.0
"""Seconds for the first answer."""
_LATER = 3  # times as long as the first took, at least the next, for all others
_LEAST = 0.1

_Answer = tuple[str, float, float] | None


@dataclass(slots=True)
class Looks:
    """How far each region was when it was looked at last; from any thread."""

    clock: Clock
    away: dict[str, float] = field(default_factory=dict)

    def worth(self, peers: Sequence[Peer]) -> list[Peer]:
        """Those to look at: that were heard lately, that were near, or were never looked at."""

        def order(peer: Peer) -> tuple[bool, float, str]:
            silent = peer.state is not PeerState.REACHED
            return (silent, self.away.get(peer.name, 0.0), peer.name)

        return sorted(peers, key=order)[:LOOKED_AT]

    def at(self, sources: Sequence[Source], reserved: Mapping[str, float]) -> list[Seen]:
        """All of them, as they are now; `reserved` is of their capacity, by name. Blocks, not for long."""
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        for source in sources:
            threading.Thread(
                target=self._look, args=(source, answers), name=f"look-{source.name}", daemon=True
            ).start()
        found: dict[str, tuple[float, float]] = {}
        began = self.clock.monotonic()
        end = began + _WITHIN
        for _ in sources:
            try:
                answer = answers.get(timeout=max(0.0, end - self.clock.monotonic()))
            except queue.Empty:
                break
            if answer is None:
                continue
            name, away, load = answer
            if not found:
                now = self.clock.monotonic()
                end = min(end, now + max(_LEAST, _LATER * (now - began)))
            found[name] = (away, load)
            self.away[name] = away
        return [
            Seen(name, found[name][0], max(found[name][1], reserved.get(name, 0.0)))
            if name in found
            else Seen(name, None, reserved.get(name, 0.0))
            for name in (source.name for source in sources)
        ]

    def _look(self, source: Source, answers: "queue.SimpleQueue[_Answer]") -> None:
        try:
            line = source.line()
            began = self.clock.monotonic()
            load = line.load()
            away = self.clock.monotonic() - began
            source.keep(line)
        except CallError:
            answers.put(None)
        else:
            answers.put((source.name, away, load))


def reserved_share(tx: Tx, region: str) -> float:
    """What of the region's processors or memory is reserved, whichever is more, as it told the grid; 0: it did not."""
    zones = [fact.body for fact in grid_facts.of(tx, region, FactKind.ZONE)]
    return max((_share(zones, amount) for amount in ("cpu_mhz", "memory_mib")), default=0.0)


def _share(zones: Sequence[Any], amount: str) -> float:
    total = sum(zone[amount]["total"] for zone in zones)
    return (
        float(min(1.0, sum(zone[amount]["reserved"] for zone in zones) / total)) if total else 0.0
    )
