"""A store writer without a thread: work is done when it is submitted, so a seed replays exactly.

Its transactions can fail in the two ways that matter: before the commit (nothing happened), and after it (it happened,
and nobody heard). Held, it gathers work, as one does whose server stands still or whose database is slow; what was
gathered is then one transaction.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from arable.domain.errors import CloudError, Unavailable
from arable.store.writer import DryRun, Writer


@dataclass
class DirectWriter(Writer):
    """`fails` is asked before and after each commit. `bugs` are errors that nobody meant to raise."""

    fails: Callable[[str], bool] = lambda _where: False
    held: bool = False
    whole: Callable[[], AbstractContextManager[None]] = nullcontext
    """A commit is one step: its process may stand still before it and after it."""
    here: Callable[[], None] = lambda: None
    bugs: list[BaseException] = field(default_factory=list)
    _gathered: list[Any] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return len(self._gathered)

    def release(self) -> None:
        """Do what was gathered, and wait no more."""
        self.held = False
        pieces, self._gathered = self._gathered, []
        if pieces:
            self._execute(sorted(pieces, key=lambda piece: str(piece.order)))

    def die(self, *, after_commit: bool = False) -> None:
        """Nobody hears what became of what was gathered. Nothing did, or (`after_commit`) all of it was done."""
        if after_commit:
            self.release()
        self._gathered.clear()
        self.held = True

    def _put(self, piece: Any) -> None:
        if self.held:
            self._gathered.append(piece)
        else:
            self._execute([piece])

    def _execute(self, pieces: list[Any]) -> None:
        self.here()
        told = [piece.done for piece in pieces]
        if self.fails("before commit"):
            for done in told:
                done.set_exception(Unavailable("simulated: the transaction was not committed"))
            return
        heard: list[Future[Any]] = []
        for piece in pieces:
            piece.done = Future()
            heard.append(piece.done)
        with self.whole():
            self._commit(pieces)
        self.here()
        errors = [each.exception() for each in heard]
        self.bugs += [e for e in errors if e and not isinstance(e, (CloudError, DryRun))]
        lost = self.fails("after commit")
        for done, each, error in zip(told, heard, errors, strict=True):
            if lost:
                done.set_exception(Unavailable("simulated: the answer was lost"))
            elif error is not None:
                done.set_exception(error)
            else:
                done.set_result(each.result())
