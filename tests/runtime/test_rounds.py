"""Work on a thread of its own: after each nudge, when its time has come, and in spite of failures."""

import logging
import threading

from arable.domain.errors import Unavailable
from arable.runtime.rounds import Rounds

log = logging.getLogger("rounds")
PATIENCE = 60.0


class Work:
    """Counts its rounds; the first ones fail as told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.done = threading.Semaphore(0)
        self.rounds = 0

    def __call__(self) -> None:
        self.rounds += 1
        self.done.release()
        if self.failures:
            raise self.failures.pop(0)

    def has_begun(self) -> bool:
        return self.done.acquire(timeout=PATIENCE)


def rounds(work, pause=None) -> Rounds:
    return Rounds("test-rounds", work, lambda: pause, "it could not be done", log)


def test_a_nudge_makes_a_round_and_without_one_nothing_happens():
    work = Work()
    it = rounds(work)
    it.start()
    for _ in range(3):
        it.nudge()
        assert work.has_begun()
    it.stop()
    assert work.rounds == 3


def test_a_nudge_before_the_start_is_not_lost():
    work = Work()
    it = rounds(work)
    it.nudge()
    it.start()
    assert work.has_begun()
    it.stop()


def test_time_makes_rounds_too():
    work = Work()
    it = rounds(work, pause=0.001)
    it.start()
    assert all(work.has_begun() for _ in range(5))
    it.stop()


def test_nudges_during_a_round_make_one_more():
    begun, go_on = threading.Semaphore(0), threading.Event()
    count = []

    def work():
        count.append(1)
        begun.release()
        assert go_on.wait(PATIENCE)

    it = rounds(work)
    it.nudge()
    it.start()
    assert begun.acquire(timeout=PATIENCE)
    for _ in range(5):
        it.nudge()
    go_on.set()
    assert begun.acquire(timeout=PATIENCE)
    it.stop()
    assert len(count) == 2


def test_a_failed_round_is_told_and_the_next_one_comes(caplog):
    work = Work(Unavailable("the store is away"), ValueError("a bug"))
    it = rounds(work)
    it.start()
    for _ in range(3):
        it.nudge()
        assert work.has_begun()
    it.stop()
    assert work.rounds == 3
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    assert told == [
        ("WARNING", "it could not be done: the store is away"),
        ("ERROR", "it could not be done"),
    ]


def test_stop_waits_for_the_round_that_runs_and_makes_no_other():
    begun = threading.Event()
    ended = []

    def work():
        begun.set()
        with it._wake:  # a long round, which ends when it hears that it should
            assert it._wake.wait_for(lambda: it.closing, PATIENCE)
        ended.append(it.closing)

    it = rounds(work)
    it.nudge()
    it.start()
    assert begun.wait(PATIENCE)
    it.nudge()
    it.stop()
    assert ended == [True]
