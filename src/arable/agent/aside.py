"""What takes long is done beside the agent's rounds: one thing at a time for each who has such things to do.

Whoever owns the agent says how: in a thread, or at once where nothing takes time. What became of it is taken in by a
later round, which is begun when it is over; nothing of the agent's is touched in between.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from arable.domain.errors import CloudError, Unavailable

log = logging.getLogger(__name__)

W = TypeVar("W")
R = TypeVar("R")

Aside = Callable[[Callable[[], None]], None]


def at_once(work: Callable[[], None]) -> None:
    """Not aside at all: where nothing takes time."""
    work()


@dataclass(slots=True)
class Errand(Generic[W, R]):
    """One that was begun. Whoever does it says how it ended, and that it has, in this order."""

    what: W
    made: R | None = None
    error: CloudError | None = None
    over: bool = False


class Errands(Generic[W, R]):
    """One at a time. `aside` does what it is given, now or later, and has the agent look then."""

    def __init__(self, aside: Aside = at_once) -> None:
        self._aside = aside
        self._errand: Errand[W, R] | None = None

    @property
    def under_way(self) -> W | None:
        """What was begun, and whose end nobody has taken in."""
        return self._errand.what if self._errand else None

    def begin(self, what: W, work: Callable[[], R], sorry: str) -> None:
        """Have it done; nothing else may be under way. `sorry` is said of what fails in a way that nobody foresaw."""
        errand: Errand[W, R] = Errand(what)
        self._errand = errand

        def go() -> None:
            try:
                errand.made = work()
            except CloudError as error:
                errand.error = error
            except Exception:
                log.exception("%s: %s", sorry, what)
                errand.error = Unavailable(sorry)
            finally:
                errand.over = True

        self._aside(go)

    def ended(self) -> Errand[W, R] | None:
        """What was begun, once, when it is over."""
        errand = self._errand
        if errand is None or not errand.over:
            return None
        self._errand = None
        return errand
