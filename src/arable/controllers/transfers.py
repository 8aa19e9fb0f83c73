"""Brings image versions from other regions, on threads of its own: no request and no controller waits for a network.

What is wanted stands in the store (`transfer`), and any management server takes it: a claim with a time, renewed while
bytes come. Whoever dies leaves what came on the disk; the next one goes on with it. A version counts as here in the
transaction that also ends the operations and wakes the machines that wait for it.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from arable.controllers import fetching
from arable.controllers.fetching import Pace, Progress, Source
from arable.controllers.source_looks import Looks, reserved_share
from arable.domain import transfer as rules
from arable.domain.errors import BadInput, CloudError, Conflict, NotFound, Unavailable
from arable.domain.event import Event
from arable.domain.grid import Peer, PeerState
from arable.domain.ids import TransferId
from arable.domain.image import KeptPart
from arable.domain.image_files import ImageFiles, PartChunks, PartSaid
from arable.domain.image_header import HEAD_BYTES, judge
from arable.domain.manifest import ImagePart
from arable.domain.settings import IMAGE_FETCH_MIB_PER_SECOND, IMAGE_FETCH_SECONDS
from arable.domain.sources import TOGETHER, ranked, told
from arable.domain.transfer import Transfer
from arable.domain.units import MIB
from arable.runtime.clock import Clock
from arable.runtime.log import milliseconds, tell, units
from arable.runtime.rounds import Rounds
from arable.store import events, grid, images, operations, settings, transfers
from arable.store.database import Database, Tx
from arable.store.transfers import Claimed
from arable.store.writer import Writer

log = logging.getLogger(__name__)
_units = units("transfers")

_TICK = 2.0  # seconds
_AT_ONCE = 3
_HELD = timedelta(seconds=60)
"""How long a claim counts. A fetch renews it with each word about its progress."""
_TELL = timedelta(seconds=2)
_STEPS = 10  # of an operation, at most, for one transfer

Reach = Callable[[Peer], Source]
"""How another region is asked."""


@dataclass(slots=True)
class Transfers:
    """`me` is this management server; `reach` is None while this region is in no grid."""

    database: Database
    writer: Writer
    clock: Clock
    me: str
    images: ImageFiles
    chunks: PartChunks
    reach: Callable[[], Reach | None]
    threads: Executor = field(
        default_factory=lambda: ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="transfers")
    )
    apart: bool = True
    """Each line to another region has a thread of its own (`fetching.fetch`)."""
    _busy: set[TransferId] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    looks: Looks = field(init=False)
    _pace: Pace = field(init=False)
    _rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self._pace = Pace(self.clock)
        self.looks = Looks(self.clock)
        self._rounds = Rounds(
            "transfers", self.begin, lambda: _TICK, "images of other regions have to wait", log
        )

    def nudge(self) -> None:
        """There is something to fetch; from any thread."""
        self._rounds.nudge()

    def start(self) -> None:
        """Run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Leave what is under way as it is: it is on the disk, and another server goes on."""
        self._stop.set()
        self._rounds.stop()
        self.threads.shutdown()

    def step(self) -> None:
        """Fetch what is due, and return when that is done or has failed. The writer must run in a thread of its own."""
        for future in self.begin():
            future.result()

    def begin(self) -> list[Future[None]]:
        """Begin with what is due and not under way here."""
        if len(self._busy) >= _AT_ONCE:
            return []
        with self.database.read() as tx:
            due = transfers.due(tx, self.me, self.clock.now(), 2 * _AT_ONCE)
            if due:
                self._pace.rate = settings.get(tx, IMAGE_FETCH_MIB_PER_SECOND) * MIB
        if not due or self.reach() is None:
            return []
        free = [id_ for id_ in due if id_ not in self._busy][: _AT_ONCE - len(self._busy)]
        self._busy |= set(free)
        return [self.threads.submit(self._serve, id_) for id_ in free]

    def _serve(self, id_: TransferId) -> None:
        try:
            now = self.clock.now()
            until = now + _HELD
            claimed = self.writer.submit(
                lambda tx: transfers.claim(tx, id_, self.me, now, until)
            ).result()
            if claimed is not None:
                self._attend(claimed)
        except CloudError as error:
            log.warning("what became of transfer %s is not kept: %s", id_, error.public)
        except Exception:
            log.exception("transfer %s", id_)
        finally:
            self._busy.discard(id_)

    def _attend(self, claimed: Claimed) -> None:
        began = self.clock.monotonic()
        telling = _Telling(self, claimed)
        try:
            sources = self._bring(claimed, telling)
        except CloudError as error:
            what = error
            log.warning("%s/%d: %s", claimed.name, claimed.version.number, error.public)
            self.writer.submit(lambda tx: self._failed(tx, claimed, what)).result()
            return
        self.writer.submit(lambda tx: self._arrived(tx, claimed)).result()
        tell(
            _units,
            f"{claimed.name}/{claimed.version.number} is here",
            sources=", ".join(sorted(sources)),
            moved=telling.moved,
            borrowed=telling.borrowed,
            bytes=claimed.version.bytes,
            ms=milliseconds(self.clock.monotonic() - began),
        )

    def _bring(self, claimed: Claimed, telling: "_Telling") -> set[str]:
        """All parts of it; from where they came."""
        here = self.images.parts()
        for part in claimed.version.parts:
            if part.sha256 in here:
                self._check(part)
                telling.before += part.bytes
        brought: set[str] = set()
        for part in claimed.version.parts:
            if part.sha256 not in here:
                brought |= self._fetch(claimed, part, telling)
        return brought

    def _fetch(self, claimed: Claimed, part: ImagePart, telling: "_Telling") -> set[str]:
        sources, why = self._sources(part, claimed)
        said = PartSaid(role=part.role, format=part.format, sha256=part.sha256, bytes=part.bytes)
        try:
            telling.begin(sources, why)
            done = fetching.fetch(
                said, sources, self.chunks, self._pace, self._stop, telling.heard, apart=self.apart
            )
        finally:
            for source in sources:
                source.hang_up()
        if done.part != part:
            raise BadInput("the catalogue says something else of the image than its file does")
        telling.end(done.progress)
        return set(done.sources)

    def _check(self, part: ImagePart) -> None:
        """Somebody brought the same bytes, perhaps as something else."""
        try:
            with self.images.path(part.sha256).open("rb") as file:
                head = file.read(HEAD_BYTES)
        except (NotFound, OSError) as error:
            raise Unavailable("a part is gone again") from error
        said = PartSaid(role=part.role, format=part.format)
        header = judge(head, part.bytes, part.role, part.format, said.limits)
        if header.virtual_bytes != part.virtual_bytes:
            raise BadInput("the catalogue says something else of the image than its file does")

    def _sources(self, part: ImagePart, claimed: Claimed) -> tuple[list[Source], str]:
        """Regions that hold it and can be reached, the nearest first, or another one at each try; and why these."""
        reach = self.reach()
        if reach is None:
            raise Unavailable("this region is in no grid")
        with self.database.read() as tx:
            known = {peer.name: peer for peer in grid.peers(tx)}
            holding = set(grid.holders(tx, [part.sha256]).get(part.sha256, ()))
            holding |= {each.region for each in grid.with_digest(tx, claimed.version.digest)}
            holding |= {claimed.home}
            found = [known[name] for name in holding if name in known and known[name].url]
            asked = [peer for peer in found if peer.state is not PeerState.GONE]
            if not asked:
                raise Unavailable("no region of the grid has it, as far as is known here")
            if len(asked) == 1:
                return [reach(asked[0])], ""
            asked = self.looks.worth(asked)
            reserved = {peer.name: reserved_share(tx, peer.name) for peer in asked}
        sources = {peer.name: reach(peer) for peer in asked}
        seen = self.looks.at(list(sources.values()), reserved)
        ranking = ranked(seen, claimed.transfer.tries)
        name = f"{claimed.name}/{claimed.version.number}"
        why = told(name, ranking[:TOGETHER], len(found))
        return [sources[each.region] for each in ranking], why

    def went_on(self, claimed: Claimed, done: int, sources: str, step: str) -> None:
        """Renew the claim, and tell. Raises `Conflict` when it is another server's by now."""
        now = self.clock.now()
        ours = self.writer.submit(lambda tx: self._note(tx, claimed, done, sources, step, now))
        if not ours.result():
            raise Conflict("another management server has taken over")

    def _note(
        self, tx: Tx, claimed: Claimed, done: int, sources: str, step: str, now: datetime
    ) -> bool:
        id_ = claimed.transfer.id
        if not transfers.went_on(tx, id_, self.me, now + _HELD, done, sources, now):
            return False
        if step:
            waiting = transfers.waiting(tx, id_)
            operations.advance_many(tx, {each.operation: step for each in waiting}, now)
        return True

    def _arrived(self, tx: Tx, claimed: Claimed) -> None:
        transfer = transfers.hold(tx, claimed.transfer.id, self.me)
        if transfer is None:
            return  # somebody else has brought it, or nobody wants it any more
        now = self.clock.now()
        for part in claimed.version.parts:
            images.keep_part(tx, KeptPart(account=claimed.account, part=part, created_at=now))
        waiting = transfers.waiting(tx, transfer.id)
        transfers.arrived(tx, transfer)
        text = f"image {claimed.name}/{claimed.version.number} is here"
        operations.advance_many(tx, {each.operation: text for each in waiting}, now)
        ended = {each.operation: (1, None) for each in waiting if each.ends}
        operations.settle_many(tx, ended, now)
        self._event(tx, claimed, "image.fetched", text, now)

    def _failed(self, tx: Tx, claimed: Claimed, error: CloudError) -> None:
        transfer = transfers.hold(tx, claimed.transfer.id, self.me)
        if transfer is None:
            return
        now = self.clock.now()
        patience = timedelta(seconds=settings.get(tx, IMAGE_FETCH_SECONDS))
        verdict = rules.judge(transfer, error, now, patience)
        waiting = transfers.waiting(tx, transfer.id)
        if verdict.next_at is not None:
            if error.public != transfer.told and not isinstance(error, Conflict):
                step = f"image {claimed.name}/{transfer.number} has to wait: {error.public}"
                operations.advance_many(tx, {each.operation: step for each in waiting}, now)
            transfers.release(tx, transfer.id, error.public, verdict.tries, verdict.next_at)
            return
        transfers.give_up(tx, transfer, error.public)
        text = f"image {claimed.name}/{transfer.number} can't be fetched: {error.public}"
        told = type(error)(text, why=error.why)
        ended = {each.operation: (1, told) for each in waiting if each.ends}
        operations.settle_many(tx, ended, now)
        self._event(tx, claimed, "image.not-fetched", text, now)
        self._forget(claimed, transfer)

    def _forget(self, claimed: Claimed, transfer: Transfer) -> None:
        """What came of it takes room that may be needed."""
        for part in claimed.version.parts:
            with suppress(CloudError, OSError):
                self.chunks.forget(part.sha256)
        log.warning("%s/%d is given up", claimed.name, transfer.number)

    def _event(self, tx: Tx, claimed: Claimed, kind: str, text: str, now: datetime) -> None:
        subject = claimed.transfer.image
        event = Event(at=now, account=claimed.account, kind=kind, subject=subject, text=text)
        events.add_many(tx, [event])


@dataclass(slots=True)
class _Telling:
    """Says how far a version is: to the claim often, to operations in a few steps."""

    by: Transfers
    claimed: Claimed
    before: int = 0  # bytes of the parts that are here
    moved: int = 0
    borrowed: int = 0
    _sources: str = ""
    _told: int = field(
        init=False
    )  # tenths; who asked has told the first, and an attempt before told more
    _at: datetime | None = None
    _explained: bool = False

    def __post_init__(self) -> None:
        self._told = self._tenth(self.claimed.transfer.done)

    def begin(self, sources: Sequence[Source], why: str) -> None:
        """With another part, from these, and why from these."""
        self._sources = " and ".join(source.name for source in sources[:TOGETHER])
        if why and not self._explained:
            self._explained = True
            self._say(0, why)
        else:
            self._say(0)

    def heard(self, progress: Progress) -> None:
        """Of the part that is fetched now."""
        if self._at is None or self.by.clock.now() - self._at >= _TELL:
            self._say(progress.done)

    def end(self, progress: Progress) -> None:
        """That part is here."""
        self.before += progress.of
        self.moved += progress.moved
        self.borrowed += progress.borrowed
        self._say(0)

    def _say(self, of_part: int, step: str = "") -> None:
        version, now = self.claimed.version, self.by.clock.now()
        done = self.before + of_part
        tenth = self._tenth(done)
        if tenth > self._told:
            step = rules.told(self.claimed.name, version.number, self._sources, done, version.bytes)
            self._told = tenth
        self._at = now
        self.by.went_on(self.claimed, done, self._sources, step)

    def _tenth(self, done: int) -> int:
        return done * _STEPS // max(1, self.claimed.version.bytes)
