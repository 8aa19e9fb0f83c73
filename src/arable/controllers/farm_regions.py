"""Other regions are told what farms of this one are to be there, and say how that stands; on a thread of its own.

Only the server that acts does it. What is to be said stands in the store (`farm_region`) with a version and the time when
it is due; it is said until it is known there, and asked about from then on. Each region is asked by itself, beside the
rounds if it takes long, so one that can't be reached holds up no other; nothing but one call leads there for many farms.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import msgspec

from arable.domain.access import EVERYTHING
from arable.domain.errors import CloudError, NotFound, Unavailable
from arable.domain.farm import Farm
from arable.domain.farm_part import FarmPart
from arable.domain.grid import PeerState
from arable.domain.ids import FarmId
from arable.domain.settings import FARM_KEY_DAYS
from arable.domain.volume_copies import SentVolume
from arable.runtime.clock import Clock
from arable.runtime.rounds import Rounds
from arable.runtime.secret import Secret
from arable.store import (
    accounts,
    came_volumes,
    domains,
    farm_regions,
    farms,
    grid,
    grid_members,
    sent_volumes,
    settings,
)
from arable.store.database import Tx
from arable.store.farm_documents import DONE
from arable.store.grid_members import Link
from arable.store.grid_own import path
from arable.store.nudges import nudge
from arable.wire.grid import FarmPartIn, FarmPartOut, FarmPartsIn, FarmPartsOut, FarmTextIn

log = logging.getLogger(__name__)

TOPICS = frozenset({farm_regions.TOPIC, grid_members.TOPIC})
MOST = 200  # in one round
_AT_ONCE, _BYTES = 50, 4 << 20  # in one call
_COPIES = 20  # of volumes, looked at in one round
_REGIONS = 32  # asked at the same time
_SECONDS = 3.0
_KEYS_SECONDS, _KEYS_MOST = 60.0, 20  # between looks at keys, and of how many farms at once

Fence = Callable[[Tx], None]
Look = Callable[[], AbstractContextManager[Tx]]


class Wire(Protocol):
    """To other regions, as the one that the link says."""

    def farms(self, link: Link, url: str, region: str, ask: FarmPartsIn) -> FarmPartsOut:
        """Raises `Unavailable` when nobody answers, another `CloudError` for a refusal."""


class Hands(Protocol):
    """What can be asked for a farm."""

    def part_heard(self, tx: Tx, farm: Farm, region: str, said: FarmPartOut) -> None:
        """Keep what a region answered."""

    def part_texts(self, tx: Tx, part: FarmPart) -> Mapping[str, Secret]:
        """The texts of the secrets that it is to have, as far as there are any. Raises `CloudError` for one that can't be opened."""

    def part_unheard(self, tx: Tx, part: FarmPart, told: str) -> None:
        """Its region could not be asked."""

    def copy_volume(self, tx: Tx, sent: SentVolume) -> None:
        """Do what is next for a volume that other regions read."""

    def sweep_volumes(self, tx: Tx) -> int:
        """Let go what came of other regions' volumes, and of this one's for others, and nobody reads any more; how much."""

    def rotate_links(self, tx: Tx, farm: Farm) -> None:
        """Its links to other regions get other keys."""


@dataclass(slots=True)
class FarmRegions:
    """`step` tells and asks what is due.

    `transact` does work in a transaction that writes; `acts` gives this server's fence while it acts. A round waits
    `patience` seconds for regions to answer; those that take longer are left out of the rounds until they did.
    """

    look: Look
    transact: Callable[[Callable[[Tx], Any]], Any]
    clock: Clock
    wire: Wire
    hands: Hands
    acts: Callable[[], Fence | None]
    patience: float = 1.0
    threads: Executor = field(
        default_factory=lambda: ThreadPoolExecutor(_REGIONS, thread_name_prefix="farm regions")
    )
    _asked: dict[str, Future[None]] = field(default_factory=dict)  # regions that are being asked
    _rounds: Rounds = field(init=False)
    _keys_due: float = 0.0  # when keys are to be looked at

    def __post_init__(self) -> None:
        self._rounds = Rounds(
            "farm regions", self.step, lambda: _SECONDS, "farms' parts elsewhere have to wait", log
        )

    def nudge(self, topics: Iterable[str]) -> None:
        """Something changed; from any thread."""
        if TOPICS.intersection(topics):
            self._rounds.nudge()

    def start(self) -> None:
        """Run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Finish what is being said, then end."""
        self._rounds.stop()
        self.threads.shutdown()

    def step(self) -> None:
        """One round."""
        fence = self.acts()
        if fence is None:
            return
        self._renew_keys(fence)
        self._copy_volumes(fence)
        self._answered()
        with self.look() as tx:
            due = farm_regions.due(tx, self.clock.now(), MOST, self._asked.keys())
            link = grid_members.link(tx) if due else None
        if not due:
            return
        by_region: dict[str, list[FarmPart]] = {}
        for part in due:
            by_region.setdefault(part.region, []).append(part)
        begun = {
            region: self.threads.submit(self._region, fence, link, region, parts)
            for region, parts in sorted(by_region.items())
        }
        self._asked |= begun
        for late in wait(begun.values(), self.patience).not_done:
            late.add_done_callback(lambda _: self._rounds.nudge())
        self._answered()

    def _answered(self) -> None:
        """Regions that are not waited for any more."""
        for region, answer in list(self._asked.items()):
            if answer.done():
                del self._asked[region]
                if error := answer.exception():
                    log.error("%s could not be asked for farms", region, exc_info=error)

    def _renew_keys(self, fence: Fence) -> None:
        if (now := self.clock.monotonic()) < self._keys_due:
            return
        self._keys_due = now + _KEYS_SECONDS
        with self.look() as tx:
            left = bool(came_volumes.left(tx, 1) or came_volumes.empty(tx, 1))
        if left:
            self._fenced(fence, self.hands.sweep_volumes, "what nobody reads of other regions")
        with self.look() as tx:
            days = settings.get(tx, FARM_KEY_DAYS)
            before = self.clock.now() - timedelta(days=days)
            old = farm_regions.keyed_before(tx, before, _KEYS_MOST) if days else ()
        for id_ in old:
            self._renew(fence, id_)

    def _renew(self, fence: Fence, id_: FarmId) -> None:
        def keep(tx: Tx) -> None:
            fence(tx)
            with suppress(NotFound):
                self.hands.rotate_links(tx, farms.get(tx, EVERYTHING, id_))

        try:
            self.transact(keep)
        except CloudError as error:
            log.warning("the links of %s keep their keys: %s", id_, error.public)

    def _copy_volumes(self, fence: Fence) -> None:
        """Of what other regions read there are to be copies."""
        with self.look() as tx:
            due = sent_volumes.due(tx, self.clock.now(), _COPIES)
        for each in due:
            self._fenced(fence, partial(self.hands.copy_volume, sent=each), each.volume)

    def _fenced(self, fence: Fence, work: Callable[[Tx], Any], what: str) -> None:
        def done(tx: Tx) -> None:
            fence(tx)
            work(tx)

        try:
            self.transact(done)
        except CloudError as error:
            log.warning("%s has to wait: %s", what, error.public)

    def _region(
        self, fence: Fence, link: Link | None, region: str, parts: Sequence[FarmPart]
    ) -> None:
        first = 0
        for some in _batches(parts):
            try:
                if link is None:
                    raise Unavailable("this cloud is in no grid any more")
                url = self._url(region)
                asks, why = self._asks(some)
                answer = self.wire.farms(link, url, region, FarmPartsIn(parts=tuple(asks)))
            except CloudError as error:
                log.warning("%s could not be asked for farms: %s", region, error.public)
                for part in parts[first:]:
                    self._unheard(fence, part, error.public)
                return
            first += len(some)
            said = {each.farm: each for each in answer.parts}
            for part in some:
                if part.farm in said:
                    self._heard(fence, part, said[part.farm])
                else:
                    self._unheard(fence, part, why.get(part.farm, f"{region} said nothing of it"))

    def _url(self, region: str) -> str:
        with self.look() as tx:
            peer = grid.peer(tx, region)
        if peer.state is PeerState.GONE:
            raise NotFound(f"{region} is not in the grid any more")
        if not peer.url:
            raise Unavailable(f"{region} has no grid port")
        return peer.url

    def _asks(self, parts: Sequence[FarmPart]) -> tuple[list[FarmPartIn], dict[FarmId, str]]:
        """What is said of each; and why nothing is of those that can't be said."""
        texts: dict[FarmId, tuple[FarmTextIn, ...]] = {}
        why: dict[FarmId, str] = {}
        with self.look() as tx:
            for part in parts:
                try:
                    texts[part.farm] = self._texts(tx, part)
                except CloudError as error:
                    why[part.farm] = error.public
            names = farms.names(tx, {part.farm for part in parts})
            paths = {}
            for id_ in {part.account for part in parts}:
                account = accounts.get(tx, EVERYTHING, id_)
                domain = domains.get(tx, EVERYTHING, account.domain)
                paths[id_] = path(domain.path, account.name)
        asks = [
            FarmPartIn(
                account=paths[part.account],
                farm=part.farm,
                name=names[part.farm],
                version=part.version,
                spec=part.spec if _is_said(part) else None,
                gone=part.gone,
                texts=texts[part.farm],
            )
            for part in parts
            if part.farm in names and part.farm in texts
        ]
        return asks, why

    def _texts(self, tx: Tx, part: FarmPart) -> tuple[FarmTextIn, ...]:
        """With the document that they are for, and at no other time."""
        if not _is_said(part):
            return ()
        found = self.hands.part_texts(tx, part)
        return tuple(FarmTextIn(name=name, text=text.reveal()) for name, text in found.items())

    def _heard(self, fence: Fence, part: FarmPart, said: FarmPartOut) -> None:
        def keep(tx: Tx) -> None:
            fence(tx)
            try:
                farm = farms.get(tx, EVERYTHING, part.farm)
            except NotFound:
                return
            self.hands.part_heard(tx, farm, part.region, said)
            nudge(tx, DONE)

        self._keep(keep, part)

    def _unheard(self, fence: Fence, part: FarmPart, told: str) -> None:
        def keep(tx: Tx) -> None:
            fence(tx)
            self.hands.part_unheard(tx, part, told)

        self._keep(keep, part)

    def _keep(self, work: Callable[[Tx], None], part: FarmPart) -> None:
        """What can't be kept of one farm concerns no other; it is asked again."""
        try:
            self.transact(work)
        except CloudError as error:
            log.warning("%s, a part of %s: %s", part.region, part.farm, error.public)
            told = error.public
            self.transact(lambda tx: self.hands.part_unheard(tx, part, told))


def _batches(parts: Sequence[FarmPart]) -> Iterator[Sequence[FarmPart]]:
    """So many as go into one call, by number and by size: blueprints go with them."""
    some: list[FarmPart] = []
    size = 0
    for part in parts:
        more = len(msgspec.json.encode(part.spec)) if _is_said(part) else 0
        if some and (len(some) == _AT_ONCE or size + more > _BYTES):
            yield some
            some, size = [], 0
        some.append(part)
        size += more
    if some:
        yield some


def _is_said(part: FarmPart) -> bool:
    """Whether its region is told what it should be, and not asked only how it stands."""
    return not part.gone and part.acked != part.version
