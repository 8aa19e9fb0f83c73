"""One part from several regions: every fault that a source, a line or a disk can have, with sources in memory."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_regions import Source, bring, noise, said

from arable.client.errors import CallError, Unreachable
from arable.controllers import fetching
from arable.controllers.fetching import Fetched, Pace, Progress, fetch
from arable.domain import chunks as cut
from arable.domain.chunks import CHUNK
from arable.domain.errors import Conflict, Corrupt, NoRoom, Unavailable
from arable.drivers.storage.image_store import ImageStore
from arable.runtime.clock import RealClock

CONTENT = noise(20 * CHUNK) + bytes(3 * CHUNK) + noise(700, 1)
FULL = 21  # chunks of it that are something


@pytest.fixture(autouse=True)
def small_steps(monkeypatch) -> None:
    monkeypatch.setattr(fetching, "_AGAIN", 0.001)
    monkeypatch.setattr(fetching.cut.requests, "__defaults__", (4,))


@pytest.fixture
def here(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "here")


def brought(here: ImageStore, *sources: Source, content: bytes = CONTENT) -> Fetched:
    done = fetch(said(content), sources, here.chunked, Pace(RealClock()), threading.Event())
    assert here.path(done.part.sha256).read_bytes() == content
    return done


def nothing_is_named(here: ImageStore) -> None:
    assert not here.parts()


def test_a_part_comes_whole_and_nothing_comes_twice(here) -> None:
    source = Source("london", CONTENT)
    done = brought(here, source)
    assert sorted(source.sent) == [*range(20), 23], "what is nothing does not move"
    assert done.progress.done == done.progress.of == len(CONTENT)
    assert done.sources == ("london",)


def test_several_sources_share_the_work(here) -> None:
    asked = {name: threading.Event() for name in ("london", "york")}

    def source(name: str, other: str) -> Source:
        def together(_number: int, data: bytes) -> bytes:
            asked[name].set()
            assert asked[other].wait(20), "each goes on only with the other"
            return data

        return Source(name, CONTENT, chunk=together)

    done = brought(here, source("london", "york"), source("york", "london"))
    assert set(done.sources) == {"london", "york"}


def test_one_source_goes_on_where_another_fails(here) -> None:
    def dies(number: int, data: bytes) -> bytes:
        if number % 3 == 0:
            raise CallError("cut")
        return data

    assert brought(
        here, Source("london", CONTENT, chunk=dies), Source("york", CONTENT)
    ).part.bytes == len(CONTENT)


def test_a_cut_line_is_taken_up_again_where_it_was_cut(here) -> None:
    cut_at = set()

    def often(number: int, data: bytes) -> bytes:
        if number % 3 == 2 and number not in cut_at:
            cut_at.add(number)
            raise Unreachable("cut")
        return data

    source = Source("london", CONTENT, chunk=often)
    brought(here, source)
    assert len(source.sent) == len(set(source.sent)) == FULL


def test_what_came_before_a_failure_is_kept_for_the_next_attempt(here) -> None:
    left = [9]

    def then_never(_number: int, data: bytes) -> bytes:
        left[0] -= 1
        if left[0] < 0:
            raise Unreachable("gone")
        return data

    with pytest.raises(Unavailable, match="gone"):
        brought(here, Source("london", CONTENT, chunk=then_never))
    nothing_is_named(here)
    again = Source("york", CONTENT)
    brought(here, again)
    assert len(again.sent) == FULL - 9


def test_damaged_chunks_are_refused_and_come_from_elsewhere(here) -> None:
    bad = Source("london", CONTENT, chunk=lambda _number, data: data[:-1] + b"!")
    done = brought(here, bad, Source("york", CONTENT))
    assert done.sources == ("york",)
    assert len(bad.sent) <= fetching.LINES, "each of its lines once, and never again"


def test_damaged_everywhere_there_is_no_part(here) -> None:
    bad = [
        Source(name, CONTENT, chunk=lambda _n, data: data[:-1] + b"!")
        for name in ("london", "york")
    ]
    with pytest.raises(Corrupt, match=r"london.*york"):
        brought(here, *bad)
    nothing_is_named(here)


def test_a_list_that_lies_is_found_out_and_another_one_serves(here) -> None:
    """The liar even has chunks for its list; they make another part, which gets no name."""
    other = noise(len(CONTENT), 9)
    pieces = [other[at : at + CHUNK] for at in range(0, len(other), CHUNK)]
    lie = cut.list_of(said(CONTENT).sha256 or "", len(CONTENT), pieces)
    liar = Source("london", other, listed=lie)
    done = brought(here, liar, Source("york", CONTENT))
    assert done.part.sha256 == said(CONTENT).sha256


def test_a_list_of_something_else_is_no_list(here) -> None:
    odd = cut.list_of("00" * 32, 5, [b"hello"])
    brought(here, Source("london", CONTENT, listed=odd), Source("york", CONTENT))
    with pytest.raises(Corrupt, match="london"):
        fetch_anew(here, Source("london", CONTENT, listed=odd), noise(5000, 3))


def fetch_anew(here: ImageStore, source: Source, content: bytes) -> Fetched:
    return brought(here, source, content=content)


def test_who_does_not_go_on_is_overtaken(here) -> None:
    """A source that stands still holds nobody up: what it was to bring is brought by others, and it is hung up on."""

    def stands_still(_number: int, data: bytes) -> bytes:
        assert slow.hung_up.wait(20)
        raise Unreachable("hung up")

    slow = Source("london", CONTENT)
    slow.chunk = stands_still
    done = brought(here, slow, Source("york", CONTENT))
    assert done.sources == ("york",)
    assert slow.hung_up.is_set()


def test_a_region_that_is_down_is_passed_over(here) -> None:
    brought(here, Source("london", CONTENT, down=True), Source("york", CONTENT))


def test_with_nobody_to_ask_it_says_so(here) -> None:
    with pytest.raises(Unavailable, match="london is down"):
        brought(here, Source("london", CONTENT, down=True))
    with pytest.raises(Unavailable, match="no region"):
        brought(here)


def test_near_versions_move_little(here) -> None:
    """95 % of a version's clusters are those of the one before, at other places."""
    bring(here, CONTENT)
    after = noise(CHUNK, 77) + CONTENT[: 20 * CHUNK] + noise(512, 78)
    source = Source("london", after)
    done = brought(here, source, content=after)
    assert done.progress.borrowed == 20 * CHUNK
    assert sorted(source.sent) == [0, 21]
    assert done.progress.moved < 0.1 * len(after)


def test_a_full_disk_is_told_and_what_came_is_kept(here, monkeypatch) -> None:
    left = [5]
    real = os.pwrite

    def fills(*args: object) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fills)
        with pytest.raises(NoRoom, match="full"):
            brought(here, Source("london", CONTENT))
    again = Source("london", CONTENT)
    brought(here, again)
    assert len(again.sent) == FULL - 5


def test_while_one_fetches_a_part_another_waits(here) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def held(_number: int, data: bytes) -> bytes:
        begun.set()
        assert go_on.wait(20)
        return data

    first = threading.Thread(target=brought, args=(here, Source("london", CONTENT, chunk=held)))
    first.start()
    assert begun.wait(20)
    with pytest.raises(Conflict):
        brought(here, Source("york", CONTENT))
    go_on.set()
    first.join(20)
    assert here.parts() == {said(CONTENT).sha256}


def test_whoever_leaves_stops_at_once(here) -> None:
    stop = threading.Event()

    def leaves(_number: int, data: bytes) -> bytes:
        stop.set()
        return data

    told: list[Progress] = []
    with pytest.raises(Unavailable, match="leaving"):
        fetch(
            said(CONTENT),
            [Source("london", CONTENT, chunk=leaves), Source("york", CONTENT, chunk=leaves)],
            here.chunked,
            SlowPace(),
            stop,
            told.append,
        )
    assert told[-1].done < len(CONTENT)


class SlowPace(Pace):
    """Makes everybody wait for a second after each piece."""

    def __init__(self) -> None:
        super().__init__(RealClock())

    def wait(self, _count: int) -> float:
        return 0.5


class Stood:
    """A clock that stands."""

    def monotonic(self) -> float:
        return 100.0


def test_a_rate_is_one_for_all_lines() -> None:
    pace = Pace(Stood(), 1000)  # type: ignore[arg-type]
    assert [pace.wait(500), pace.wait(500), pace.wait(1000)] == [0.5, 1.0, 2.0]
    pace.rate = 0
    assert pace.wait(10**9) == 0


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["good", "cut", "bad", "down"]), min_size=1, max_size=3), st.data())
def test_what_is_named_is_right_whatever_sources_do(tmp_path_factory, kinds, data) -> None:
    here = ImageStore(tmp_path_factory.mktemp("here"))
    content = noise(24 * CHUNK, 5)
    odd = data.draw(st.sets(st.integers(0, 23), max_size=6))

    def bad(number: int, content: bytes) -> bytes:
        return content[::-1] if number in odd else content

    def cuts(number: int, content: bytes) -> bytes:
        if number in odd:
            raise Unreachable("cut")
        return content

    plain = Source("x", CONTENT).chunk
    chunk = {"good": plain, "down": plain, "cut": cuts, "bad": bad}
    sources = [
        Source(f"{kind}-{at}", content, chunk=chunk[kind], down=kind == "down")
        for at, kind in enumerate(kinds)
    ]
    try:
        brought(here, *sources, content=content)
    except (Corrupt, Unavailable):
        assert "good" not in kinds
        nothing_is_named(here)
