"""Group commit: requests that wait are executed together in one transaction.

A commit costs a flush to disk, whoever waits for it; so one thread takes everything that is waiting, executes each
piece of work so that it can be taken back alone (one refusal spoils nobody's), commits once and only then answers (rule 6).
With nothing else waiting a batch is one piece of work and waits for nobody. Work of the same *kind* that says how
(`Batch`) is executed by one call for all of it: a thousand deployments are a few `executemany`, not a thousand times
ten statements.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError

from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.runtime.clock import Clock, RealClock
from arable.runtime.metrics import WriterFigures
from arable.store import notices
from arable.store.database import Database, Tx, said
from arable.store.nudges import Nudges, collected, undone
from arable.store.rows import within_savepoint

log = logging.getLogger(__name__)

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

Batch = Callable[[Tx, Sequence[Ask]], Sequence[Answer | CloudError]]
"""Executes many asks of a kind at once: one answer or refusal each, in order. A refused one has written nothing."""

_MOST = 2000  # pieces of work in one transaction, each as many as it weighs
_LEAST = 64  # of those that wait in batches are not divided


@dataclass
class DryRun(Exception):
    """Raised by a piece of work to have its answer given and everything it wrote undone."""

    answer: Any


class Promise(Protocol[T_contra]):
    """Where an outcome goes, told by whoever `settle` lets deliver it. A `Future` is one, with locks and a condition."""

    def set_running_or_notify_cancel(self) -> bool:
        """Whether anybody still waits."""

    def set_result(self, result: T_contra, /) -> None: ...

    def set_exception(self, exception: BaseException | None, /) -> None: ...


@dataclass
class _Piece:
    done: Promise[Any]
    work: Callable[[Tx], Any] | None = None
    batch: Batch[Any, Any] | None = None
    ask: Any = None
    order: str = ""
    weight: int = 1
    ahead: bool = False


@dataclass
class _Outcome(Generic[T]):
    piece: _Piece
    answer: T | None = None
    error: BaseException | None = None


@dataclass
class Writer:
    """`submit` from any thread; answers arrive in futures, after the commit.

    `settle` delivers the outcomes of a whole commit at once; an event loop replaces it, to be woken once for each
    commit and not once for each answer. `committed` is called with what the transaction nudged.

    `apart`: each piece of work has a transaction of its own, so that none holds rows while the next one works. That is
    for work that is long and locks many: two servers that did several such pieces in one transaction would wait for
    each other in a ring, each with rows that the other one's next piece wants.
    """

    database: Database
    committed: Callable[[Nudges], None] = lambda _nudges: None
    settle: Callable[[Callable[[], None]], None] = lambda deliver: deliver()
    clock: Clock = field(default_factory=RealClock)  # for the figures alone
    figures: WriterFigures = field(default_factory=WriterFigures)
    apart: bool = False
    _waiting: deque[_Piece] = field(default_factory=deque)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _closing: bool = False
    _answered: int = 0  # what the batches of the last transaction weighed

    def start(self) -> None:
        """Begin to take work in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is waiting, then end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    def submit(self, work: Callable[[Tx], T], order: str = "") -> "Future[T]":
        """Execute `work` in a savepoint of the next transaction.

        Within a transaction, work is done by `order`: whose rows it locks first. Two servers that share a commit
        among the same accounts then wait for each other, and never in a ring.
        """
        done: Future[T] = Future()
        self.take(done, work, order)
        return done

    def submit_batch(self, batch: Batch[Ask, Answer], ask: Ask) -> "Future[Answer]":
        """Execute `ask` together with all others waiting for the same `batch`."""
        done: Future[Answer] = Future()
        self._put(_Piece(done, batch=batch, ask=ask))
        return done

    def take(self, into: Promise[T], work: Callable[[Tx], T], order: str = "") -> None:
        """`submit`, with the outcome told to `into`."""
        self._put(_Piece(into, work=work, order=order))

    def take_batch(
        self, into: Promise[Answer], batch: Batch[Ask, Answer], ask: Ask, weight: int = 1
    ) -> None:
        """`submit_batch`, with the outcome told to `into`. `weight`: of how many pieces of work it is worth.

        What is taken so goes before all else of its transaction, where it costs SQLite least (`_Whole`).
        """
        self._put(_Piece(into, batch=batch, ask=ask, weight=weight, ahead=True))

    @property
    def waiting(self) -> int:
        """How many pieces of work wait now."""
        return len(self._waiting)

    def run_waiting(self) -> int:
        """Execute what is waiting on this thread; how many pieces. For a writer without a thread of its own."""
        pieces = self._take()
        if pieces:
            self._execute_all(pieces)
        return len(pieces)

    def _put(self, piece: _Piece) -> None:
        with self._wake:
            if self._closing:
                raise Unavailable("this management server is shutting down; ask again")
            self._waiting.append(piece)
            self._wake.notify()

    def _take(self) -> list[_Piece]:
        """What has waited longest, up to a weight; but of single pieces all, whatever waits in batches before them.

        Those are what hosts report and what controllers decide: the end of what was accepted. So a flood of asks for
        thousands of machines never has to be accepted before the first of them is known to run.

        Of what waits in batches and what was just answered (whoever was, asks again in a moment) half is taken. So while one
        half is executed, the other is told and asks anew; else few would be taken, with nearly all that a transaction
        costs, while all the others come back.
        """
        taken: list[_Piece] = []
        left: deque[_Piece] = deque()
        weight = 0
        with self._wake:
            there = sum(piece.weight for piece in self._waiting if piece.batch is not None)
            most = min(max((there + self._answered + 1) // 2, _LEAST), _MOST)
            for piece in self._waiting:
                if piece.batch is None:
                    fits = len(taken) < _MOST
                else:
                    fits = not left and (weight == 0 or weight + piece.weight <= most)
                    weight += piece.weight if fits else 0
                (taken if fits else left).append(piece)
            self._waiting = left
            self._answered = weight
        return sorted(taken, key=lambda piece: (not piece.ahead, piece.order))

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    if self._closing:
                        return
                    self._wake.wait()
            self._execute_all(self._take())

    def _execute_all(self, pieces: list[_Piece]) -> None:
        for together in _groups(pieces) if self.apart else [pieces]:
            self._commit(together)

    def _commit(self, pieces: list[_Piece]) -> None:
        outcomes: list[_Outcome[Any]] = []
        began = self.clock.monotonic()
        try:
            with self.database.write() as tx:
                for group in _groups(pieces):
                    whole = self.database.is_sqlite and not outcomes
                    outcomes += _execute(tx, group, _Whole(tx) if whole else _Savepoint(tx))
                nudges = collected(tx)
                notices.tell(tx, self.database.name, nudges)
        except BaseException as error:
            self.figures.failures += 1
            if not isinstance(error, CloudError):
                log.exception("a transaction failed as a whole")
            outcomes = [_Outcome(piece, error=error) for piece in pieces]
            nudges = Nudges()
        self.figures.pieces.add(len(pieces))
        self.figures.seconds.add(self.clock.monotonic() - began)
        self.committed(nudges)
        self.settle(lambda: _deliver(outcomes))


def _groups(pieces: Iterable[_Piece]) -> list[list[_Piece]]:
    """Batchable pieces of one kind together, at the place of the first; all others alone."""
    groups: list[list[_Piece]] = []
    by_batch: dict[Any, list[_Piece]] = {}
    for piece in pieces:
        if piece.batch is None:
            groups.append([piece])
        elif piece.batch in by_batch:
            by_batch[piece.batch].append(piece)
        else:
            groups.append(by_batch.setdefault(piece.batch, [piece]))
    return groups


class _Savepoint:
    """What was done since can be taken back alone."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        tx.exec_driver_sql("SAVEPOINT piece")
        within_savepoint(tx, True)

    def back(self) -> None:
        """As if it had not been."""
        self._tx.exec_driver_sql("ROLLBACK TO SAVEPOINT piece")
        self.release()

    def release(self) -> None:
        """It stays."""
        within_savepoint(self._tx, False)
        self._tx.exec_driver_sql("RELEASE SAVEPOINT piece")


class _Whole:
    """The same for what comes first in a transaction of SQLite: the whole of it is taken back, and begun anew.

    In a savepoint SQLite keeps a copy of each page that is touched, and of a statement of many rows another, so a
    thousand machines cost half as much again.
    """

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def back(self) -> None:
        self._tx.exec_driver_sql("ROLLBACK")
        self._tx.exec_driver_sql("BEGIN IMMEDIATE")

    def release(self) -> None:
        pass


def _execute(tx: Tx, group: list[_Piece], mark: _Savepoint | _Whole) -> list[_Outcome[Any]]:
    ended = frozenset(collected(tx).ended)
    try:
        outcomes = _perform(tx, group)
    except DryRun as dry:
        mark.back()
        undone(tx)
        collected(tx).ended = set(ended)
        return [_Outcome(group[0], answer=dry.answer)]
    except Exception as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        mark.back()
        undone(tx)
        collected(tx).ended = set(ended)  # a nudge too many costs nothing, an end is told once
        if len(group) > 1:  # find out whose it was
            return [outcome for piece in group for outcome in _execute(tx, [piece], _Savepoint(tx))]
        return [_Outcome(group[0], error=_ours(error))]
    mark.release()
    return outcomes


def _perform(tx: Tx, group: list[_Piece]) -> list[_Outcome[Any]]:
    first = group[0]
    if first.work is not None:
        return [_Outcome(first, answer=first.work(tx))]
    if first.batch is None:
        raise ValueError("a piece of work needs work")
    answers = first.batch(tx, [piece.ask for piece in group])
    return [
        _Outcome(piece, error=answer)
        if isinstance(answer, CloudError)
        else _Outcome(piece, answer=answer)
        for piece, answer in zip(group, answers, strict=True)
    ]


def _ours(error: Exception) -> Exception:
    if isinstance(error, IntegrityError):
        return Conflict("this collides with something that is there already", detail=said(error))
    if not isinstance(error, CloudError):
        log.error("a piece of work failed", exc_info=error)
    return error


def _deliver(outcomes: Iterable[_Outcome[Any]]) -> None:
    for outcome in outcomes:
        if not outcome.piece.done.set_running_or_notify_cancel():
            continue
        if outcome.error is not None:
            outcome.piece.done.set_exception(outcome.error)
        else:
            outcome.piece.done.set_result(outcome.answer)
