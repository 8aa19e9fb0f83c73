"""Volumes that go to other hosts' pools, and come from there, for `CarryWish`es (docs/decisions/0041).

The host that has one lets the other one read it (`Lending`): only the one that is named, only while the wish stands, and only
while nobody here has the volume or may have it by another item. That host (`Carrying`) reads it aside, compares it, and tells
when it has it. Whoever dies in between begins anew.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial

from arable.agent.aside import Aside, Errands, at_once
from arable.agent.patience import Waiting
from arable.agent.sight import Ground, Sight
from arable.agent.storage import held_by_guests
from arable.domain.carry import CarrySeen, CarryWish
from arable.domain.errors import CloudError, Forbidden, NotFound
from arable.domain.ids import HostId, OperationId, VolumeId
from arable.drivers.storage.protocol import (
    Carries,
    Fetch,
    InUse,
    Passing,
    Stranger,
    VolumeFound,
)

log = logging.getLogger(__name__)

Borrow = Callable[[CarryWish], AbstractContextManager[Passing]]
"""Reads a volume at the host that has it. Raises `Waiting` while it can't be reached, or does not lend it yet."""


@contextmanager
def from_nobody(wish: CarryWish) -> Iterator[Passing]:
    """For an agent that reaches no other host."""
    raise Waiting(f"{wish.source} can't be reached from here")
    yield Passing(0, 0, iter(()))


@dataclass(slots=True)
class Lending:
    """What this host lends. `look` is the agent's; `lend` is for any thread."""

    ground: Ground
    host: HostId
    shared: Callable[[], set[VolumeId]] = set
    _offers: dict[OperationId, tuple[CarryWish, Carries]] = field(default_factory=dict)
    _wished: dict[OperationId, CarryWish] = field(default_factory=dict)
    _absent: frozenset[OperationId] = frozenset()  # of those, where it is in no pool of this host

    def look(self) -> None:
        """What may be read from now on."""
        ground, seen = self.ground, self.ground.seen
        wished = {
            key: wish
            for key, wish in ground.wishes.manifest.carries.items()
            if wish.source == self.host
        }
        offers: dict[OperationId, tuple[CarryWish, Carries]] = {}
        pools = ground.drivers.pools
        all_seen = all(pool.pool in seen.shelves for pool in pools)
        absent = [
            key
            for key, wish in wished.items()
            if all_seen and not any(_has(seen, pool, wish) for pool in pools)
        ]
        known = seen.guests is not None or ground.drivers.hypervisor is None
        by_guests = held_by_guests(ground, seen) if wished and known else None
        if by_guests is not None:
            held = by_guests | self.shared() | ground.busy()
            for key, wish in wished.items():
                pool = next((p for p in pools if _has(seen, p, wish)), None)
                if isinstance(pool, Carries) and wish.volume not in held:
                    offers[key] = (wish, pool)
        self._offers, self._wished, self._absent = offers, wished, frozenset(absent)

    def speed(self, operation: OperationId) -> int:
        """Bytes per second at which it may be read; 0: no limit."""
        wish = self._wished.get(operation)
        return wish.bytes_per_second if wish else 0

    @contextmanager
    def lend(self, asker: HostId, operation: OperationId) -> Iterator[Passing]:
        """The volume that waits to be read by that host.

        Raises `Forbidden` for anybody else, `InUse` for what can't be lent now, `NotFound` for what was never made.
        """
        wish = self._wished.get(operation)
        if wish is None:  # the other host may have heard of it first
            raise InUse(f"{self.host} was not told to lend that yet")
        if wish.target != asker:
            raise Forbidden("this is not lent to this host")
        offer = self._offers.get(operation)
        if offer is None and operation in self._absent:
            raise NotFound(
                f"{wish.volume} is not on {self.host}: a disk is made when its machine first starts"
            )
        if offer is None:
            raise InUse(f"{wish.volume} is in use, or not there yet")
        with offer[1].lend(wish.volume) as passing:
            passing.pieces = self._while_wished(operation, passing.pieces)
            yield passing

    def _while_wished(self, operation: OperationId, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if operation not in self._offers:
                raise Forbidden("it is not to be read any more")
            yield piece


@dataclass(frozen=True, slots=True)
class TakeIn:
    """Have this volume."""

    wish: CarryWish

    def __str__(self) -> str:
        return f"take in {self.wish.volume} of {self.wish.source}"


class Carrying:
    """Those that are to come here."""

    name = "carries"

    def __init__(
        self,
        ground: Ground,
        host: HostId,
        fetch: Fetch,
        aside: Aside = at_once,
        borrow: Borrow = from_nobody,
    ) -> None:
        self._ground = ground
        self._host = host
        self._fetch = fetch
        self._borrow = borrow
        self._attempt: Errands[CarryWish, VolumeFound] = Errands(aside)
        self._done: set[OperationId] = set()
        self._strange: set[OperationId] = set()
        self._copied = 0  # bytes of what is under way

    def observe(self) -> Sight:
        error = self._ended()
        if error is not None:
            log.warning("%s: %s", self.name, error.public)
        return self._ground.seen

    def plan(self, seen: Sight, /) -> Sequence[TakeIn]:
        wished = self._coming()
        self._done &= wished.keys()
        self._strange &= wished.keys()
        if self._attempt.under_way:
            return []
        wanting = (
            TakeIn(wish)
            for key, wish in sorted(wished.items())
            if key not in self._done
            and key not in self._strange
            and wish.pool in seen.shelves
            and self._ground.patience.may(key)
        )
        return [one for one, _ in zip(wanting, range(1), strict=False)]

    def apply(self, action: TakeIn, /) -> None:
        self._copied = 0
        make = partial(self._make, action.wish)
        self._attempt.begin(action.wish, make, "the volume could not be taken in")
        error = self._ended()
        if error is not None:
            raise error

    def busy(self) -> set[VolumeId]:
        """Volumes that are coming just now: nothing else is to be done with them."""
        wish = self._attempt.under_way
        return {wish.volume} if wish else set()

    def tell(self) -> dict[OperationId, CarrySeen]:
        """How each that is to come here stands."""
        found = {}
        under_way = self._attempt.under_way
        for key in self._coming():
            trouble = None if key in self._done else self._ground.patience.of(key)
            found[key] = CarrySeen(
                operation=key,
                done=key in self._done,
                told=trouble.told if trouble else "",
                tries=trouble.tries if trouble else 0,
                copied_bytes=self._copied if under_way and under_way.operation == key else 0,
                stranger=key in self._strange,
            )
        return found

    def _coming(self) -> dict[OperationId, CarryWish]:
        carries = self._ground.wishes.manifest.carries
        return {key: wish for key, wish in carries.items() if wish.target == self._host}

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
            if isinstance(attempt.error, Stranger):
                self._strange.add(key)
            return attempt.error
        self._ground.patience.fine(key)
        self._done.add(key)
        shelf = self._ground.seen.shelves.get(attempt.what.pool)
        if shelf and attempt.made:
            shelf.volumes[attempt.made.volume] = attempt.made
            if attempt.what.image:
                shelf.images.add(attempt.what.image.sha256)
        return None

    def _make(self, wish: CarryWish) -> VolumeFound:
        pool = self._ground.drivers.pool(wish.pool)
        if not isinstance(pool, Carries):
            raise NotFound("this host does not serve that pool, or it takes no volumes of others")
        if wish.image:
            pool.admit(wish.image, self._fetch)
        return pool.take_in(
            wish.volume, wish.bytes, wish.image, partial(self._counted, wish), wish.operation
        )

    @contextmanager
    def _counted(self, wish: CarryWish) -> Iterator[Passing]:
        with self._borrow(wish) as passing:
            pieces = passing.pieces

            def count() -> Iterator[bytes]:
                for piece in pieces:
                    self._copied += len(piece)
                    yield piece

            passing.pieces = count()
            yield passing


def _has(seen: Sight, pool: object, wish: CarryWish) -> bool:
    if not isinstance(pool, Carries):
        return False
    shelf = seen.shelves.get(pool.pool)
    return shelf is not None and wish.volume in shelf.volumes
