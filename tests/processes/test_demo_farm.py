"""The demonstration's chart and its steps, with a farm that is made up: `make demo FARM=1` shows them in a lab."""

from dataclasses import dataclass, field
from threading import Thread
from types import SimpleNamespace

import pytest

from arable.domain.errors import Unavailable
from arable.lab.visitors import Called, Visitors
from arable.processes.demo_farm import CALM, RUSH, Servers, Show, line
from arable.runtime.clock import VirtualClock


@dataclass
class Fair:
    """Has a web server more, or one less, some seconds after the load says so."""

    slow: bool = False
    clock: VirtualClock = field(default_factory=VirtualClock)
    lines: list[str] = field(default_factory=list)
    count: int = 2
    looks: int = 0

    def __post_init__(self) -> None:
        self.callers = Visitors("internet", "203.0.113.9", 80, "/who", self.clock, CALM)

    def look(self) -> Servers:
        now = self.clock.monotonic()
        self.callers.calls += [Called(now, 0.1, "fair-web-1")] * int(self.callers.rate)
        wanted = 3 if self.callers.rate == RUSH else 2
        if self.slow or wanted == self.count:
            return Servers(tuple(range(1, self.count + 1)))
        self.looks += 1
        if self.looks % 3:
            some = Servers((1, 2), coming=(3,)) if wanted == 3 else Servers((1, 2), going=(3,))
        else:
            self.count = wanted
            some = Servers(tuple(range(1, wanted + 1)))
        return some

    def play(self) -> None:
        Show(self.look, self.callers, self.clock, self.lines.append).play()


def test_a_line_of_the_chart_says_what_was_answered_and_by_how_many() -> None:
    assert line(7.4, 6, Servers((1, 2))) == (
        f"     7 s    6 requests/s  {'######':30}  web servers: 1 2"
    )
    told = line(31.0, 99, Servers((1, 2), coming=(3, 4), going=(5,)))
    assert told == (
        f"    31 s   99 requests/s  {'#' * 30}  web servers: 1 2, 3 4 on the way, 5 leaving"
    )
    assert line(0.0, 0, Servers()).endswith("web servers: none")


def test_elements_count_as_serving_coming_or_going() -> None:
    states = ("serving", "draining", "waiting", "proving", "serving", "dropping")
    elements = [SimpleNamespace(number=at, state=state) for at, state in enumerate(states, 1)]
    seen = Servers.of(SimpleNamespace(elements=elements))  # type: ignore[arg-type]
    assert seen == Servers((1, 5), coming=(3, 4), going=(2, 6))
    assert not seen.settled


def test_load_rises_and_falls_and_so_do_the_servers() -> None:
    fair = Fair()
    fair.play()
    said = "\n".join(fair.lines)
    turns = ["web servers: 1 2\n", "too much for two", "3 on the way", "web servers: 1 2 3", "… and 4 again", "3 leaving"]  # fmt: skip
    found = [said.index(each) for each in turns]
    assert found == sorted(found)
    assert fair.lines[-1].endswith(f"{len(fair.callers.calls)} requests, 0 failed")


def test_a_request_that_failed_is_told_and_is_the_end() -> None:
    fair = Fair()
    fair.callers.calls.append(Called(0.0, 0.1, failure="TimeoutError()"))
    with pytest.raises(Unavailable, match=r"1 of \d+ requests failed: TimeoutError"):
        fair.play()


def test_a_farm_that_does_not_grow_is_not_waited_for_for_ever() -> None:
    with pytest.raises(Unavailable, match="there are not 3 web servers after 180 s"):
        Fair(slow=True).play()


class Answered(Visitors):
    """Who calls is answered at once."""

    def _call(self) -> tuple[str, str]:
        return "fair-web-1", ""


def test_where_all_visitors_wait_nothing_is_made_up_for() -> None:
    few = Answered("internet", "203.0.113.9", 80, "/who", VirtualClock(), 4.0)
    for _ in range(5):
        few.give_turn()
    closing = Thread(target=few.leave, args=(1,))
    closing.start()
    few.visit()
    closing.join()
    assert [each.who for each in few.calls] == ["fair-web-1"]
