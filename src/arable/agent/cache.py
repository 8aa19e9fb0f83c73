"""Image parts in this host's pools: those that nothing needs go, after some time, or when a pool needs their room.

A part is needed while a volume of the pool stands on it, and while anything that is wished for here names it. All others
are copies of what the management servers have, fetched and verified anew when they are wanted again.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from arable.agent.sight import Ground, Sight, ask
from arable.domain.errors import CloudError
from arable.domain.ids import PoolId
from arable.domain.pool import ImageEvicted
from arable.drivers.storage.protocol import CachedImage, Storage
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

KEEP_SECONDS = 7 * 86_400.0
_LOOK_SECONDS = 60.0
_CROWDED = 85
"""Of so much of a pool in use, in percent, nothing is kept that is not needed: well before it is full."""


Keep = Callable[[Collection[str]], None]
"""Has whoever receives parts let go of all others: their wishes are gone."""


def nothing_received(_needed: Collection[str]) -> None:
    """For an agent that receives nothing."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Have this part no more."""

    pool: PoolId
    image: CachedImage
    why: str

    def __str__(self) -> str:
        return f"evict {self.image.sha256[:12]} from {self.pool}"


class ImageCache:
    """Looks now and then; `make_room` is for those who need it at once."""

    name = "image cache"

    def __init__(self, ground: Ground, clock: Clock, received: Keep = nothing_received) -> None:
        self._ground = ground
        self._received = received
        self._clock = clock
        self._look_at = clock.monotonic() + _LOOK_SECONDS
        self._evicted: list[ImageEvicted] = []
        self.keep_seconds = KEEP_SECONDS

    def observe(self) -> Sight:
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Evict]:
        now = self._clock.monotonic()
        if now < self._look_at:
            tight = sorted(self._ground.tight)
            self._ground.tight.clear()
            return [action for pool in tight for action in islice(self._any(pool), 1)]
        self._look_at = now + _LOOK_SECONDS
        if self._ground.wishes.known:
            self._received(self._needed())
        return [
            action
            for storage in self._ground.drivers.pools
            if storage.pool in seen.shelves
            for action in self._of(storage)
        ]

    def apply(self, action: Evict, /) -> None:
        storage = self._ground.drivers.pool(action.pool)
        assert storage, "it was asked what it has"
        storage.evict(action.image.sha256)
        self._ground.seen.shelves[action.pool].images.discard(action.image.sha256)
        gone = ImageEvicted(
            pool=action.pool,
            sha256=action.image.sha256,
            bytes=action.image.length,
            why=action.why,
        )
        log.info("%s went out of %s: %s", gone.sha256[:12], gone.pool, gone.why)
        self._evicted.append(gone)

    def tell(self) -> list[ImageEvicted]:
        """What went and was not told yet; whoever tells it empties the list."""
        return self._evicted

    def make_room(self, pool: PoolId) -> bool:
        """Have one part less there, of those that nothing needs the one that was not used for longest."""
        for action in self._any(pool):
            try:
                self.apply(action)
            except CloudError as error:
                log.warning("%s stays in %s: %s", action.image.sha256[:12], pool, error.public)
            else:
                return True
        return False

    def _any(self, pool: PoolId) -> Iterator[Evict]:
        """What could go there, in order, for something that needs the room."""
        storage = self._ground.drivers.pool(pool)
        if storage and pool in self._ground.seen.shelves:
            for image in self._spare(storage):
                yield Evict(pool, image, "its room was needed")

    def _of(self, storage: Storage) -> Iterator[Evict]:
        use = ask(storage.usage, storage.pool, self._ground.patience)
        if use is None:
            return
        used = use.used_bytes
        before = self._clock.now() - timedelta(seconds=self.keep_seconds)
        for image in self._spare(storage):
            if used * 100 >= use.total_bytes * _CROWDED:
                yield Evict(storage.pool, image, f"{_CROWDED} % of the pool are in use")
            elif image.used_at <= before:
                yield Evict(storage.pool, image, "it was not used for long")
            else:
                return
            used -= image.length

    def _spare(self, storage: Storage) -> list[CachedImage]:
        """What nothing needs, in order of its last use."""
        cached = ask(storage.cached, storage.pool, self._ground.patience) or ()
        needed = self._needed()
        spare = [one for one in cached if not one.in_use and one.sha256 not in needed]
        return sorted(spare, key=lambda one: one.used_at)

    def _needed(self) -> set[str]:
        """Whatever is wished for here names these: they are about to be used, or will be when a guest starts anew."""
        wishes = self._ground.wishes
        guests = (*wishes.manifest.guests.values(), *wishes.kept.values())
        disks = [disk for wish in guests for disk in wish.disks]
        disks += [disk for wish in wishes.manifest.exports.values() for disk in wish.disks]
        found = {disk.source.sha256 for disk in disks if disk.source}
        found.update(part.sha256 for wish in guests for part in wish.parts)
        found.update(c.image.sha256 for c in wishes.manifest.carries.values() if c.image)
        found.update(r.image.sha256 for r in wishes.manifest.replicas.values() if r.image)
        return found
