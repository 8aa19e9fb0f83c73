"""Fetches one image part from other regions, by several at once, until it is here whole or nobody has it.

What is missing lies in one heap, and each line to a source takes the next requests from it: a fast source brings more,
one that fails gives back what it took. When the heap is empty, whoever has nothing to do asks once more for what another
still brings, so nobody waits for the slowest. A chunk is checked as it arrives; who sends another one is asked nothing
more. What came stays on the disk, whatever happens here.

Whose chunk list is right is known in the end only, by the part's own digest. So when a list leads nowhere, that of
another source is tried, and every source is believed anew.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from arable.client.errors import CallError
from arable.domain import chunks as cut
from arable.domain.chunks import ChunkList
from arable.domain.errors import CloudError, Corrupt, Unavailable
from arable.domain.image_files import Arrival, PartChunks, PartSaid
from arable.domain.manifest import ImagePart
from arable.domain.sources import TOGETHER
from arable.runtime.clock import Clock

log = logging.getLogger(__name__)

LINES = 2
"""To each source: while one answer travels, the next is made."""

_TRIES = 3  # without any chunk between them, until a source is given up
_AGAIN = 0.2  # seconds after the first failure; doubled with each
_TELL = 1.0  # seconds between two words about progress
_TWICE = 2  # lines that may bring the same chunks
_JOIN = 30.0


class Line(Protocol):
    """One connection to a source (`client/regions.py`)."""

    def load(self) -> float:
        """The share of what the source can send at once that is on its way."""

    def chunk_list(self, sha256: str, most: int) -> bytes:
        """Of a part."""

    def chunks(self, sha256: str, want: str) -> Iterator[bytes]:
        """Of a part, packed."""

    def close(self) -> None:
        """Hang up."""


class Source(Protocol):
    """A region that has the part."""

    name: str

    def line(self) -> Line:
        """One more connection, or the one that was kept."""

    def keep(self, line: Any) -> None:
        """A line of its own: it was not used up: the next who wants a line gets it."""

    def hang_up(self) -> None:
        """All of its lines end; from any thread."""


@dataclass(slots=True)
class Pace:
    """How many bytes a second all that is fetched may take together; 0: as many as come."""

    clock: Clock
    rate: int = 0
    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, count: int) -> float:
        """So many bytes came; seconds to wait before more are read."""
        if not self.rate:
            return 0.0
        with self._lock:
            now = self.clock.monotonic()
            self._free_at = max(now, self._free_at) + count / self.rate
            return self._free_at - now


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of the part that are here, and of how many; what went over the wire, and what other parts here had."""

    done: int
    of: int
    moved: int = 0
    borrowed: int = 0


@dataclass(frozen=True, slots=True)
class Fetched:
    """It is here."""

    part: ImagePart
    progress: Progress
    sources: tuple[str, ...]  # that brought something


Tell = Callable[[Progress], None]


def fetch(
    said: PartSaid,
    sources: Sequence[Source],
    files: PartChunks,
    pace: Pace,
    stop: threading.Event,
    tell: Tell = lambda _: None,
    *,
    apart: bool = True,
) -> Fetched:
    """The part (`sha256` and `bytes` are said), from these sources, the best one first. Blocks.

    Each line has a thread of its own (`apart`), or one source is asked after the other, once, by this thread.
    Raises `Unavailable` when no source brings the rest (what came is kept), `Corrupt` when none has the right bytes,
    `Conflict` while somebody else fetches it into the same store, `NoRoom`.
    """
    assert said.sha256 is not None
    assert said.bytes is not None
    using = sources[:TOGETHER]
    why: CloudError = Unavailable("no region that can be reached has it")
    for chunks in _lists(said, using, files):
        if isinstance(chunks, CloudError):
            why = chunks
            continue
        try:
            return _by_list(said, chunks, using, files, pace, stop, tell, apart)
        except Corrupt as error:
            log.warning("part %s, by one chunk list: %s", chunks.sha256[:12], error.public)
            why = error
    raise why


def _lists(
    said: PartSaid, sources: Sequence[Source], files: PartChunks
) -> Iterator[ChunkList | CloudError]:
    """The list that was begun with, then those of the sources, each once; and what is to be said of those without."""
    sha256, size = said.sha256 or "", said.bytes or 0
    known = set()
    kept = files.kept(sha256)
    if kept is not None:
        known.add(kept.hashes)
        yield kept
    for source in sources:
        try:
            line = source.line()
            try:
                found = cut.decode(line.chunk_list(sha256, cut.most_of_list(size)))
            except BaseException:
                line.close()
                raise
            source.keep(line)
            if (found.sha256, found.size) != (sha256, size):
                raise Corrupt("its chunk list is of another part")
        except CallError as error:
            yield Unavailable(f"{source.name}: {error}")
        except CloudError as error:
            yield type(error)(f"{source.name}: {error.public}")
        else:
            if found.hashes not in known:
                known.add(found.hashes)
                yield found


def _by_list(
    said: PartSaid,
    chunks: ChunkList,
    sources: Sequence[Source],
    files: PartChunks,
    pace: Pace,
    stop: threading.Event,
    tell: Tell,
    apart: bool,
) -> Fetched:
    arrival = files.receive(said, chunks)
    try:
        borrowed = arrival.borrow()
        work = _Work(chunks, arrival, borrowed, pace, stop)
        tell(work.progress())
        if work.left and apart:
            work.run(sources, tell)
        elif work.left:
            work.run_in_turn(sources, tell)
        part = arrival.finish()
        return Fetched(part, work.progress(), tuple(sorted(work.brought)))
    finally:
        arrival.close()


class _Work:
    """What is missing, and who is bringing it."""

    def __init__(
        self, chunks: ChunkList, arrival: Arrival, borrowed: int, pace: Pace, stop: threading.Event
    ) -> None:
        self._chunks = chunks
        self._arrival = arrival
        self._pace = pace
        self._stop = stop
        self._changed = threading.Condition()
        self.left = set(arrival.missing())
        self._heap = deque(cut.requests(self.left))
        self._flying: list[tuple[str, tuple[int, ...]]] = []
        self._failed: CloudError | None = None
        self._out: dict[str, CloudError] = {}
        self._lines = 0
        self._ended = False
        self._rests = True
        self.brought: set[str] = set()
        missing = sum(chunks.length(number) for number in self.left)
        self._progress = Progress(chunks.size - missing, chunks.size, 0, borrowed)

    def progress(self) -> Progress:
        """How far it is."""
        with self._changed:
            return self._progress

    def run(self, sources: Sequence[Source], tell: Tell) -> None:
        """Until nothing is missing; raises why something still is."""
        threads = [
            threading.Thread(
                target=self._serve, args=(source,), name=f"fetch-{source.name}", daemon=True
            )
            for source in sources
            for _ in range(LINES)
        ]
        self._lines = len(threads)
        for thread in threads:
            thread.start()
        try:
            while not self._over():
                with self._changed:
                    self._changed.wait(_TELL)
                tell(self.progress())
        except CloudError as error:  # whoever is told does not want it any more
            self._fail(error)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            for source in sources:
                source.hang_up()
            for thread in threads:
                thread.join(_JOIN)
        if self.left:
            raise self._why()

    def run_in_turn(self, sources: Sequence[Source], tell: Tell) -> None:
        """The same without threads: nobody waits, and what one source does not bring is asked of the next."""
        self._rests = False
        try:
            for source in sources:
                self._lines += 1
                self._serve(source)
                tell(self.progress())
        except CloudError as error:
            self._fail(error)
        finally:
            self._ended = True
            for source in sources:
                source.hang_up()
        if self.left:
            raise self._why()

    def _over(self) -> bool:
        if self._stop.is_set():
            self._fail(Unavailable("this management server is leaving"))
        with self._changed:
            return not self.left or self._failed is not None or not self._lines

    def _why(self) -> CloudError:
        if self._failed is not None:
            return self._failed
        told = "; ".join(f"{name}: {error.public}" for name, error in sorted(self._out.items()))
        corrupt = any(isinstance(error, Corrupt) for error in self._out.values())
        return Corrupt(told) if corrupt else Unavailable(told or "there are no sources")

    def _fail(self, error: CloudError) -> None:
        with self._changed:
            if self._failed is None and self.left:
                self._failed = error
            self._changed.notify_all()

    def _serve(self, source: Source) -> None:
        try:
            self._bring(source)
        except CloudError as error:
            self._fail(error)
        except Exception as error:
            log.exception("fetching from %s", source.name)
            self._fail(Unavailable("the fetch failed", detail=repr(error)))
        finally:
            with self._changed:
                self._lines -= 1
                self._changed.notify_all()

    def _bring(self, source: Source) -> None:
        line: Line | None = None
        failures = 0
        try:
            while request := self._take(source.name):
                before = len(request)
                try:
                    line = line or source.line()
                    self._receive(source.name, line, request)
                    failures = 0
                    continue
                except CallError as error:
                    what: CloudError = Unavailable(str(error))
                except Corrupt as error:
                    what = error
                    log.warning("%s sends damaged bytes: %s", source.name, error.public)
                finally:
                    still = self._give_back(source.name, request)
                if line is not None:
                    line.close()
                    line = None
                failures = failures + 1 if still == before else 1
                if failures >= _TRIES or isinstance(what, Corrupt):
                    self._give_up(source.name, what)
                    return
                self._rest(_AGAIN * 2**failures)
        finally:
            if line is not None:
                line.close()

    def _receive(self, name: str, line: Line, request: tuple[int, ...]) -> None:
        stream = self._paced(line.chunks(self._chunks.sha256, cut.written(request)))
        wanted, came = frozenset(request), 0
        for number, data in cut.unpacked(stream, wanted):
            came += 1
            if not self._needs(number):
                continue
            self._arrival.put(number, data)
            self._came(name, number, len(data))
        if came < len(wanted) and self._needs_any(request):
            raise CallError("the answer was cut off")

    def _paced(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            with self._changed:
                self._progress = replace(self._progress, moved=self._progress.moved + len(piece))
            wait = self._pace.wait(len(piece))
            if wait > 0:
                self._rest(wait)
            yield piece

    def _take(self, name: str) -> tuple[int, ...]:
        """The next to ask for, or nothing when there is nothing to do any more."""
        with self._changed:
            while self._going_on(name):
                while self._heap:
                    request = self._still(self._heap.popleft())
                    if request:
                        self._flying.append((name, request))
                        return request
                for other, flying in self._flying:
                    request = self._still(flying)
                    twice = sum(1 for _, each in self._flying if set(each) & set(request))
                    if request and other != name and twice < _TWICE:
                        self._flying.append((name, request))
                        return request
                self._changed.wait()
        return ()

    def _give_back(self, name: str, request: tuple[int, ...]) -> int:
        """That request is over; how much of it is still missing."""
        with self._changed:
            self._flying.remove((name, request))
            still = self._still(request)
            if still:
                self._heap.appendleft(still)
            self._changed.notify_all()
            return len(still)

    def _still(self, request: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(number for number in request if number in self.left)

    def _going_on(self, name: str) -> bool:
        return not self._finished() and name not in self._out

    def _finished(self) -> bool:
        return not self.left or self._failed is not None or self._ended

    def _needs(self, number: int) -> bool:
        with self._changed:
            return number in self.left

    def _needs_any(self, request: tuple[int, ...]) -> bool:
        with self._changed:
            return bool(self._still(request))

    def _came(self, name: str, number: int, count: int) -> None:
        with self._changed:
            if number in self.left:
                self.left.discard(number)
                self._progress = replace(self._progress, done=self._progress.done + count)
                self.brought.add(name)
            if not self.left:
                self._changed.notify_all()

    def _give_up(self, name: str, why: CloudError) -> None:
        with self._changed:
            self._out[name] = why
            self._changed.notify_all()

    def _rest(self, seconds: float) -> None:
        if self._rests:
            with self._changed:
                self._changed.wait_for(self._finished, seconds)
