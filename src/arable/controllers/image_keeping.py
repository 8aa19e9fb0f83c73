"""Keeps the store of image parts tidy, on a thread of the server that acts: no request and no writer waits for its disk.

What no version has and nobody brought lately is swept away; copies that came from other regions are let go
(`controllers/evicting.py`). A file goes within a transaction that has looked whether anybody knows it by then.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from arable.controllers import evicting
from arable.domain.errors import NotFound
from arable.domain.image_files import ImageFiles, PartialFiles
from arable.domain.image_policy import EvictionState
from arable.domain.settings import IMAGE_UPLOAD_SECONDS
from arable.runtime.clock import Clock
from arable.runtime.entropy import Ids
from arable.runtime.rounds import Rounds
from arable.store import evictions, grid_members, image_uploads, images, settings
from arable.store.database import Tx
from arable.store.evictions import Eviction

log = logging.getLogger(__name__)

KEEP_UNUSED = timedelta(hours=24)
"""How long a part waits for a version to be made of it, and bytes for somebody to whom they belong."""
SECONDS = 60.0
LOOKS = 300.0
"""Seconds between looks at which copies are not used."""
SWEEPS = 3600.0
"""Seconds between looks at all files."""
_TOGETHER = 50  # files in one transaction

Fence = Callable[[Tx], None]


@dataclass(slots=True)
class ImageKeeping:
    """`disk` gives the bytes of the image store's disk, and how many of them are used."""

    look: Callable[[], AbstractContextManager[Tx]]
    transact: Callable[[Callable[[Tx], Any]], Any]
    clock: Clock
    ids: Ids
    images: ImageFiles
    disk: Callable[[], tuple[int, int]]
    acts: Callable[[], Fence | None]
    partial: PartialFiles | None = None
    looks: float = LOOKS
    _look_at: float = 0.0
    _sweep_at: float = 0.0
    _rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self._rounds = Rounds(
            "image keeping", self.step, lambda: SECONDS, "the image store is not tidied", log
        )

    def start(self) -> None:
        """Run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Finish the round that runs."""
        self._rounds.stop()

    def step(self) -> None:
        """One round."""
        fence = self.acts()
        if fence is None:
            return
        self.forget_uploads(fence)
        now = self.clock.monotonic()
        with self.look() as tx:
            link = grid_members.link(tx)
        if link is not None:
            self._evict(fence, link.region, choose=now >= self._look_at)
            if now >= self._look_at:
                self._look_at = now + self.looks
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEPS
            self.sweep(fence)

    def _evict(self, fence: Fence, region: str, *, choose: bool) -> None:
        at = self.clock.now()
        if choose:
            total, used = self.disk()
            self._done(fence, lambda tx: evicting.choose(tx, self.ids, region, total, used, at))
        with self.look() as tx:
            leaving = evictions.of(tx, [EvictionState.LEAVING])
        if any(at - each.at >= evicting.SETTLES for each in leaving):
            self._done(fence, lambda tx: evicting.go(tx, region, at))
        with self.look() as tx:
            gone = [each for each in evictions.of(tx, [EvictionState.DONE]) if not each.erased]
        for each in gone:
            self._done(fence, partial(self._erase, each))

    def _erase(self, gone: Eviction, tx: Tx) -> None:
        """Its bytes, unless they were brought anew since."""
        self._remove(gone.parts, gone.at, tx)
        evictions.erased(tx, gone)

    def forget_uploads(self, fence: Fence) -> int:
        """Uploads with which nobody went on for too long, and what is left of those that are over; how many were forgotten.

        One whose file grew lately is under way, though its row says so only at the end of a connection.
        """
        if self.partial is None:
            return 0
        here = self.partial.ids()
        with self.look() as tx:
            before = self.clock.now() - timedelta(seconds=settings.get(tx, IMAGE_UPLOAD_SECONDS))
            old = [
                each
                for each in image_uploads.abandoned(tx, before)
                if here.get(each, 0.0) < before.timestamp()
            ]
        forgotten = 0
        if old:
            forgotten = self._done(fence, lambda tx: image_uploads.forget(tx, old, before))
        with self.look() as tx:
            under_way = image_uploads.open_among(tx, here)
        for each in here.keys() - under_way:
            with suppress(OSError):
                self.partial.forget(each)
        return forgotten

    def sweep(self, fence: Fence) -> int:
        """Forget parts that nobody made a version of, and bytes that belong to nobody; how many of either.

        A file that is new may belong to an upload whose transaction is on its way.
        """
        before = self.clock.now() - KEEP_UNUSED

        def forget(tx: Tx) -> int:
            unused = images.unused_parts(tx, before)
            for account, sha256 in unused:
                images.forget_part(tx, account, sha256)
            return len(unused)

        with self.look() as tx:
            some = bool(images.unused_parts(tx, before))
        swept = self._done(fence, forget) if some else 0
        here = self.images.parts()
        with self.look() as tx:
            known = images.known_parts(tx)
        old = sorted(sha256 for sha256 in here - known if self._age(sha256, before))
        for at in range(0, len(old), _TOGETHER):
            swept += self._done(fence, partial(self._remove, old[at : at + _TOGETHER], before))
        if swept:
            log.info("%d parts of images belonged to nobody, and are gone", swept)
        return swept

    def _remove(self, parts: Iterable[str], before: datetime, tx: Tx) -> int:
        """Of these files those that nobody knows, and that were not brought since."""
        parts = list(parts)
        known = images.known_among(tx, parts)
        gone = [each for each in parts if each not in known and self._age(each, before)]
        for sha256 in gone:
            with suppress(OSError):
                self.images.remove(sha256)
        return len(gone)

    def _age(self, sha256: str, before: datetime) -> bool:
        """Whether the file was brought before that."""
        try:
            return self.images.path(sha256).stat().st_mtime < before.timestamp()
        except (NotFound, FileNotFoundError):
            return False

    def _done(self, fence: Fence, work: Callable[[Tx], Any]) -> Any:
        def fenced(tx: Tx) -> Any:
            fence(tx)
            return work(tx)

        return self.transact(fenced)
