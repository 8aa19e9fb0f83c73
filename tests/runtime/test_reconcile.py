"""One round of whatever runs by itself: an action that fails holds up no other, a bug stops the round loudly."""

import errno
import os
from collections.abc import Sequence

import pytest

from arable.domain.errors import Unavailable
from arable.runtime.reconcile import run_once


class Counting:
    """Applies numbers; some of them fail."""

    name = "counting"

    def __init__(self, failures: dict[int, Exception]) -> None:
        self.failures = failures
        self.applied: list[int] = []

    def observe(self) -> int:
        return 4

    def plan(self, seen: int, /) -> Sequence[int]:
        return range(seen)

    def apply(self, action: int, /) -> None:
        if action in self.failures:
            raise self.failures[action]
        self.applied.append(action)


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "failure",
    [Unavailable("not now"), os_error(errno.ENOSPC), os_error(errno.EDQUOT)],
    ids=["foreseen", "full disk", "full quota"],
)
def test_what_may_pass_holds_up_no_other(failure, caplog) -> None:
    it = Counting({1: failure})
    done = run_once(it)
    assert it.applied == [0, 2, 3]
    assert (done.actions, done.failed) == (4, 1)
    assert ("the disk is full" in caplog.text) == isinstance(failure, OSError)


@pytest.mark.parametrize("bug", [ValueError("a bug"), os_error(errno.ENOENT)])
def test_a_bug_stops_the_round(bug) -> None:
    it = Counting({1: bug})
    with pytest.raises(type(bug)):
        run_once(it)
    assert it.applied == [0]
