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

    def _put(self, piece: Any) -> None:
        told = piece.done
        if self.fails("before commit"):
            told.set_exception(Unavailable("simulated: the transaction was not committed"))
            return
        heard: Future[Any] = Future()
        piece.done = heard
        self._commit([piece])
        if self.fails("after commit"):
            told.set_exception(Unavailable("simulated: the answer was lost"))
        elif (error := heard.exception()) is not None:
            told.set_exception(error)
        else:
            told.set_result(heard.result())
