"""A store writer without a thread: work is done when it is submitted, so a seed replays exactly.

Its transactions can fail in the two ways that matter: before the commit (nothing happened), and after it (it happened,
and nobody heard).
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from arable.domain.errors import Unavailable
from arable.store.writer import Writer


@dataclass
class DirectWriter(Writer):
    """`fails` is asked before and after each commit."""

    fails: Callable[[str], bool] = lambda _where: False

    def _put(self, piece: Any) -> "Future[Any]":
        if self.fails("before commit"):
            piece.done.set_exception(Unavailable("simulated: the transaction was not committed"))
            return self._given(piece)
        self._commit([piece])
        if self.fails("after commit"):
            piece.done = Future()
            piece.done.set_exception(Unavailable("simulated: the answer was lost"))
        return self._given(piece)

    @staticmethod
    def _given(piece: Any) -> "Future[Any]":
        done: Future[Any] = piece.done
        return done
