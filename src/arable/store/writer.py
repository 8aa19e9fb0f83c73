"""Group commit: requests that wait are executed together in one transaction.

A commit costs a flush to disk, whoever waits for it; so one thread takes everything that is waiting, executes each
piece of work in a savepoint of its own (one refusal spoils nobody's), commits once and only then answers (rule 6).
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
from typing import Any, Generic, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError

from arable.domain.errors import CloudError, Conflict, Unavailable
from arable.store.database import Database, Tx
from arable.store.nudges import Nudges, collected

log = logging.getLogger(__name__)

T = TypeVar("T")
Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

Batch = Callable[[Tx, Sequence[Ask]], Sequence[Answer | CloudError]]
"""Executes many asks of a kind at once: one answer or refusal each, in order. A refused one has written nothing."""

_MOST = 2000  # pieces of work in one transaction


@dataclass
class DryRun(Exception):
    """Raised by a piece of work to have its answer given and everything it wrote undone."""

    answer: Any


@dataclass
class _Piece:
    done: "Future[Any]"
    work: Callable[[Tx], Any] | None = None
    batch: Batch[Any, Any] | None = None
    ask: Any = None
    order: str = ""


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
    """

    database: Database
    committed: Callable[[Nudges], None] = lambda _nudges: None
    settle: Callable[[Callable[[], None]], None] = lambda deliver: deliver()
    _waiting: deque[_Piece] = field(default_factory=deque)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _closing: bool = False

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
        return self._put(_Piece(Future(), work=work, order=order))

    def submit_batch(self, batch: Batch[Ask, Answer], ask: Ask) -> "Future[Answer]":
        """Execute `ask` together with all others waiting for the same `batch`."""
        return self._put(_Piece(Future(), batch=batch, ask=ask))

    def run_waiting(self) -> int:
        """Execute what is waiting on this thread; how many pieces. For a writer without a thread of its own."""
        pieces = self._take()
        if pieces:
            self._commit(pieces)
        return len(pieces)

    def _put(self, piece: _Piece) -> "Future[Any]":
        with self._wake:
            if self._closing:
                raise Unavailable("this management server is shutting down; ask again")
            self._waiting.append(piece)
            self._wake.notify()
        return piece.done

    def _take(self) -> list[_Piece]:
        with self._wake:
            count = min(len(self._waiting), _MOST)
            taken = [self._waiting.popleft() for _ in range(count)]
        return sorted(taken, key=lambda piece: piece.order)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    if self._closing:
                        return
                    self._wake.wait()
            self._commit(self._take())

    def _commit(self, pieces: list[_Piece]) -> None:
        outcomes: list[_Outcome[Any]] = []
        try:
            with self.database.write() as tx:
                for group in _groups(pieces):
                    outcomes += _execute(tx, group)
                nudges = collected(tx)
        except BaseException as error:
            if not isinstance(error, CloudError):
                log.exception("a transaction failed as a whole")
            outcomes = [_Outcome(piece, error=error) for piece in pieces]
            nudges = Nudges()
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


def _execute(tx: Tx, group: list[_Piece]) -> list[_Outcome[Any]]:
    tx.exec_driver_sql("SAVEPOINT piece")
    try:
        outcomes = _perform(tx, group)
    except DryRun as dry:
        tx.exec_driver_sql("ROLLBACK TO SAVEPOINT piece")
        return [_Outcome(group[0], answer=dry.answer)]
    except Exception as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        tx.exec_driver_sql("ROLLBACK TO SAVEPOINT piece")
        if len(group) > 1:  # find out whose it was
            return [outcome for piece in group for outcome in _execute(tx, [piece])]
        return [_Outcome(group[0], error=_ours(error))]
    tx.exec_driver_sql("RELEASE SAVEPOINT piece")
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
        return Conflict("this collides with something that is there already", detail=str(error))
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
