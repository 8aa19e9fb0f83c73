"""Copies of snapshots: volumes that begin as what a snapshot keeps, and images, which management servers get.

To read and write a whole disk takes minutes, for which nothing else may wait: it is done aside, one at a time, and what
became of it is looked at in a later round. A copy that was being made when the agent ended is begun anew.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from arable.agent.aside import Aside, Errands, at_once
from arable.agent.patience import Waiting
from arable.agent.sight import Ground, Sight
from arable.domain.errors import CloudError, NotFound
from arable.domain.ids import OperationId, VolumeId
from arable.domain.snapshot import SnapshotAct, SnapshotSeen, SnapshotWish
from arable.drivers.storage.protocol import Flat, KeepsSnapshots, VolumeFound

log = logging.getLogger(__name__)

COPYING = (SnapshotAct.COPY, SnapshotAct.BRING)
"""Acts that read what a snapshot keeps, and leave it as it is."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Have this volume, or have it brought to the management servers."""

    wish: SnapshotWish

    def __str__(self) -> str:
        to = self.wish.target or "an image"
        return f"copy {self.wish.snapshot} of {self.wish.volume} to {to}"


Deliver = Callable[[OperationId, Flat], None]
"""Brings the bytes of an image that an operation waits for. Blocks until somebody has them for good.

Raises `Waiting` when nobody can be reached now, anything else when they are not wanted so.
"""


def nobody(operation: OperationId, _flat: Flat) -> None:
    """For an agent that reaches no server."""
    raise Waiting(f"there is nobody to bring {operation} to")


class Copies:
    """Those that this host is to make. `aside` does what it is given, now or later, and has the agent look then."""

    name = "copies"

    def __init__(self, ground: Ground, aside: Aside = at_once, deliver: Deliver = nobody) -> None:
        self._ground = ground
        self._deliver = deliver
        self._attempt: Errands[SnapshotWish, VolumeFound | None] = Errands(aside)
        self._done: set[OperationId] = set()

    def observe(self) -> Sight:
        error = self._ended()
        if error is not None:
            log.warning("%s: %s", self.name, error.public)
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[Copy]:
        wished = self._ground.wishes.manifest.snapshots
        self._done &= wished.keys()
        wanting = (
            Copy(wish)
            for key, wish in sorted(wished.items())
            if wish.act in COPYING
            and key not in self._done
            and wish.pool in seen.shelves
            and self._ground.patience.may(key)
        )
        return [] if self._attempt.under_way else list(islice(wanting, 1))

    def apply(self, action: Copy, /) -> None:
        make = partial(self._make, action.wish)
        self._attempt.begin(action.wish, make, "the copy could not be made")
        error = self._ended()
        if error is not None:
            raise error

    def busy(self) -> set[VolumeId]:
        """Volumes that are being made or read just now: nothing else is to be done with them."""
        wish = self._attempt.under_way
        return {wish.target} if wish and wish.target else set()

    def tell(self) -> dict[OperationId, SnapshotSeen]:
        """How each that is wished for stands."""
        found = {}
        for key, wish in self._ground.wishes.manifest.snapshots.items():
            if wish.act not in COPYING:
                continue
            trouble = None if key in self._done else self._ground.patience.of(key)
            found[key] = SnapshotSeen(
                operation=key,
                act=wish.act,
                done=key in self._done,
                told=trouble.told if trouble else "",
                tries=trouble.tries if trouble else 0,
            )
        return found

    def _ended(self) -> CloudError | None:
        """Take in what became of the attempt, if it is over; the error if it failed."""
        attempt = self._attempt.ended()
        if attempt is None:
            return None
        key = attempt.what.operation
        if isinstance(attempt.error, Waiting):
            self._ground.patience.waits(key, attempt.error.public)
            return attempt.error
        if attempt.error is not None:
            self._ground.failed(key, attempt.error, attempt.what.pool)
            return attempt.error
        self._ground.patience.fine(key)
        self._done.add(key)
        shelf = self._ground.seen.shelves.get(attempt.what.pool)
        if shelf and attempt.made:
            shelf.volumes[attempt.made.volume] = attempt.made
        return None

    def _make(self, wish: SnapshotWish) -> VolumeFound | None:
        pool = self._ground.drivers.pool(wish.pool)
        if not isinstance(pool, KeepsSnapshots):
            raise NotFound("this pool keeps no snapshots")
        if wish.target is None:
            with pool.flat(wish.volume, wish.snapshot) as flat:
                self._deliver(wish.operation, flat)
            return None
        return pool.copy(wish.volume, wish.snapshot, wish.target, wish.bytes)
