"""Replicas of volumes in other hosts' pools, for `ReplicaWish`es (docs/decisions/0051).

The host that has a volume takes a point of it whenever the one that keeps the replica asks (`Marking`), and says what changed.
That one (`Following`) asks at its times, takes the whole of it or nothing, and tells which point it has. Told to promote,
it asks nobody any more: the replica becomes the volume, as of the last whole point.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from math import inf

from arable.agent.aside import Aside, Errands, at_once
from arable.agent.patience import Waiting
from arable.agent.sight import Ground, Sight
from arable.domain.errors import CloudError, Forbidden, NotFound
from arable.domain.ids import HostId, ReplicaId, VolumeId
from arable.domain.replica import ReplicaSeen, ReplicaWish
from arable.drivers.storage.protocol import Fetch, InUse, Passing, Replicates
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0
"""After an attempt that failed: others have their turn before."""

AskPoint = Callable[[ReplicaWish, int], AbstractContextManager[Passing]]
"""Reads at the source what changed since a point. Raises `Waiting` while it can't be reached, or does not lend it yet."""


@contextmanager
def from_nobody(wish: ReplicaWish, _since: int) -> Iterator[Passing]:
    """For an agent that reaches no other host."""
    raise Waiting(f"{wish.source} can't be reached from here")
    yield Passing(0, 0, iter(()))


@dataclass(slots=True)
class Marking:
    """What this host has of which others keep replicas. `look` is the agent's; `lend` is for any thread."""

    ground: Ground
    host: HostId
    _offers: dict[ReplicaId, tuple[ReplicaWish, Replicates]] = field(default_factory=dict)
    _wished: dict[ReplicaId, ReplicaWish] = field(default_factory=dict)

    def look(self) -> None:
        """What may be read from now on."""
        wishes, seen = self.ground.wishes.manifest, self.ground.seen
        wished = {
            key: wish
            for key, wish in wishes.replicas.items()
            if wish.source == self.host and not wish.promote and wish.volume not in wishes.scraps
        }
        offers: dict[ReplicaId, tuple[ReplicaWish, Replicates]] = {}
        busy = self.ground.busy() if wished else set[VolumeId]()
        for key, wish in wished.items():
            pool = next((p for p in self.ground.drivers.pools if _has(seen, p, wish)), None)
            if isinstance(pool, Replicates) and wish.volume not in busy:
                offers[key] = (wish, pool)
        self._offers, self._wished = offers, wished

    def speed(self, replica: ReplicaId) -> int:
        """Bytes per second at which it may be read; 0: no limit."""
        wish = self._wished.get(replica)
        return wish.bytes_per_second if wish else 0

    @contextmanager
    def lend(self, asker: HostId, replica: ReplicaId, since: int) -> Iterator[Passing]:
        """What changed, for the host that keeps that replica.

        Raises `Forbidden` for anybody else, `InUse` for what can't be lent now.
        """
        wish = self._wished.get(replica)
        if wish is None:
            raise InUse(f"{self.host} was not told to lend that yet")
        if wish.target != asker:
            raise Forbidden("this is not lent to this host")
        offer = self._offers.get(replica)
        if offer is None:
            raise InUse(f"{wish.volume} can't be followed now, or is not there yet")
        if offer[1].by_mount:
            raise Forbidden("volumes in pools of files have no replicas")
        with offer[1].increment(wish.volume, replica, since) as passing:
            passing.pieces = self._while_wished(replica, passing.pieces)
            yield passing

    def _while_wished(self, replica: ReplicaId, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if replica not in self._wished:
                raise Forbidden("it is not to be read any more")
            yield piece


@dataclass(frozen=True, slots=True)
class TakePoint:
    """Have one more point, or have the replica be the volume."""

    wish: ReplicaWish

    def __str__(self) -> str:
        do = "promote" if self.wish.promote else "follow"
        return f"{do} {self.wish.volume} of {self.wish.source}"


@dataclass(frozen=True, slots=True)
class _Point:
    number: int
    at: datetime | None


class Following:
    """Those that are kept here."""

    name = "replicas"

    def __init__(
        self,
        ground: Ground,
        host: HostId,
        clock: Clock,
        fetch: Fetch,
        aside: Aside = at_once,
        ask: AskPoint = from_nobody,
    ) -> None:
        self._ground = ground
        self._host = host
        self._clock = clock
        self._fetch = fetch
        self._ask = ask
        self._attempt: Errands[ReplicaWish, _Point | None] = Errands(aside)
        self._due: dict[ReplicaId, float] = {}  # monotonic
        self._points: dict[ReplicaId, _Point] = {}
        self._promoted: set[ReplicaId] = set()
        self._looked = False

    def observe(self) -> Sight:
        error = self._ended()
        if error is not None:
            log.warning("%s: %s", self.name, error.public)
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[TakePoint]:
        wished = self._kept()
        if wished and not self._looked:
            self._look()
        for held in (self._due, self._points):
            for key in held.keys() - wished.keys():
                if held is self._due or self._looked:
                    held.pop(key)
        self._promoted &= wished.keys()
        if self._attempt.under_way:
            return []
        now = self._clock.monotonic()
        waiting = [
            (not wish.promote, self._due.setdefault(key, now), key)
            for key, wish in wished.items()
            if key not in self._promoted
            and wish.pool in seen.shelves
            and (self._due.get(key, now) <= now or self._just_told(key, wish))
            and self._ground.patience.may(key)
        ]
        return [TakePoint(wished[min(waiting)[2]])] if waiting else []

    def _just_told(self, key: ReplicaId, wish: ReplicaWish) -> bool:
        """To promote is not put off by when the next point was due."""
        return wish.promote and self._ground.patience.of(key) is None

    def apply(self, action: TakePoint, /) -> None:
        self._attempt.begin(
            action.wish, partial(self._make, action.wish), "the replica could not be brought on"
        )
        error = self._ended()
        if error is not None:
            raise error

    def busy(self) -> set[VolumeId]:
        """Volumes whose replica is being worked at just now, or is to be the volume and is not yet."""
        wish = self._attempt.under_way
        found = {wish.volume} if wish else set()
        return found | {
            wish.volume
            for key, wish in self._kept().items()
            if wish.promote and key not in self._promoted
        }

    def due(self) -> float:
        """When the next point is to be taken, in monotonic time; infinite for never."""
        if self._attempt.under_way:
            return inf
        wished, shelves = self._kept(), self._ground.seen.shelves
        times = (
            at
            for key, at in self._due.items()
            if key in wished
            and key not in self._promoted
            and wished[key].pool in shelves
            and self._ground.patience.may(key)
        )
        return min(times, default=inf)

    def tell(self) -> dict[ReplicaId, ReplicaSeen]:
        """How each that is kept here stands."""
        found = {}
        for key, wish in self._kept().items():
            trouble, point = self._ground.patience.of(key), self._points.get(key)
            promoted = key in self._promoted
            found[key] = ReplicaSeen(
                replica=key,
                volume=wish.volume,
                point=point.number if point else 0,
                at=point.at if point else None,
                promoted=promoted,
                told=trouble.told if trouble and not promoted else "",
            )
        return found

    def _kept(self) -> dict[ReplicaId, ReplicaWish]:
        """What is to be erased is not worked at: it would never come to an end where that fails."""
        manifest = self._ground.wishes.manifest
        return {
            key: wish
            for key, wish in manifest.replicas.items()
            if wish.target == self._host and wish.volume not in manifest.scraps
        }

    def _look(self) -> None:
        """What an agent before this one has left."""
        for pool in self._ground.drivers.pools:
            if isinstance(pool, Replicates):
                for found in pool.replicas().values():
                    self._points[found.replica] = _Point(found.point, found.at)
        self._looked = True

    def _ended(self) -> CloudError | None:
        """Take in what became of the attempt, if it is over; the error if it failed."""
        attempt = self._attempt.ended()
        if attempt is None:
            return None
        wish, now = attempt.what, self._clock.monotonic()
        key = wish.replica
        if attempt.error is not None:
            self._due[key] = now + AGAIN_SECONDS
            if isinstance(attempt.error, Waiting):
                self._ground.patience.waits(key, attempt.error.public)
            else:
                self._ground.failed(key, attempt.error, wish.pool)
            return attempt.error
        self._ground.patience.fine(key)
        self._due[key] = now + wish.seconds
        if wish.promote:
            self._promoted.add(key)
        elif attempt.made:
            self._points[key] = attempt.made
        return None

    def _make(self, wish: ReplicaWish) -> _Point | None:
        pool = self._ground.drivers.pool(wish.pool)
        if not isinstance(pool, Replicates):
            raise NotFound("this host does not serve that pool, or it keeps no replicas")
        if wish.image:
            pool.admit(wish.image, self._fetch)
        if wish.promote:
            pool.promote(wish.volume, wish.replica, wish.image)
            return None
        found = pool.follow(
            wish.volume, wish.replica, wish.bytes, wish.image, partial(self._ask, wish)
        )
        return _Point(found.point, found.at)


def _has(seen: Sight, pool: object, wish: ReplicaWish) -> bool:
    if not isinstance(pool, Replicates):
        return False
    shelf = seen.shelves.get(pool.pool)
    return shelf is not None and wish.volume in shelf.volumes
