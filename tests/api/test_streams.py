"""The live stream of events over real HTTP: who sees what, in which order, and how one goes on after an interruption."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice

import pytest

from arable.api import streams
from arable.client import errors
from arable.client.arable import Arable
from arable.domain.event import Event
from arable.store import events
from arable.store.database import Database
from arable.store.writer import Writer
from arable.wire.events import EventOut, EventQuery, EventStreamQuery
from serving import Served, wait_until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def happened(account: str, text: str, kind: str = "machine.running", subject: str = "") -> Event:
    return Event(at=NOW, account=account, kind=kind, subject=subject or "machine-1", text=text)


def happen(served: Served, *what: Event) -> None:
    served.writer.submit(lambda tx: events.add_many(tx, what)).result(30)


def follow(client: Arable, count: int, **query) -> list[str]:
    """The next texts of a stream from its beginning on."""
    asked = EventStreamQuery(**{"kind": "machine"} | query)
    return [event.text for event in islice(client.events.stream(asked, last=0), count)]


def following(served: Served) -> int:
    return len(served.server._adaptor._streams._streams)


class Follower:
    """Reads a stream on a thread of its own, and keeps what came."""

    def __init__(self, stream: Iterator[EventOut], count: int) -> None:
        self.seen: list[EventOut] = []
        self._thread = threading.Thread(target=self._read, args=(stream, count), daemon=True)
        self._thread.start()

    def _read(self, stream: Iterator[EventOut], count: int) -> None:
        with suppress(errors.CallError):  # some tests leave while it still follows
            for event in islice(stream, count):
                self.seen.append(event)

    def all(self) -> list[str]:
        self._thread.join(60)
        assert not self._thread.is_alive(), [event.text for event in self.seen]
        return [event.text for event in self.seen]


def test_a_follower_is_told_what_happens_from_then_on(served_both):
    alice = served_both.customer("alice")
    account = served_both.accounts["alice"]
    happen(served_both, happened(account, "before"))
    follower = Follower(alice.events.stream(EventStreamQuery(kind="machine")), 3)
    wait_until(lambda: following(served_both) == 1)
    for text in ("first", "second", "third"):
        happen(served_both, happened(account, text))
    assert follower.all() == ["first", "second", "third"]
    wait_until(lambda: following(served_both) == 0)


def test_a_stream_goes_on_after_the_last_number_without_gap_or_repetition(served_both):
    alice = served_both.customer("alice")
    account = served_both.accounts["alice"]
    happen(served_both, *(happened(account, f"{n}") for n in range(5)))
    first = list(islice(alice.events.stream(EventStreamQuery(kind="machine"), last=0), 3))
    assert [each.text for each in first] == ["0", "1", "2"]
    happen(served_both, *(happened(account, f"{n}") for n in range(5, 8)))
    rest = alice.events.stream(EventStreamQuery(kind="machine"), last=first[-1].number)
    assert [each.text for each in islice(rest, 5)] == ["3", "4", "5", "6", "7"]
    numbers = [each.number for each in alice.events.all(EventQuery(kind="machine"))]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 8


def test_nothing_is_told_up_to_the_number_that_was_named(served):
    """Also when that one has not been given yet."""
    alice = served.customer("alice")
    account = served.accounts["alice"]
    happen(served, happened(account, "0"))
    (first,) = alice.events.page(EventQuery(kind="machine")).items
    ahead = alice.events.stream(EventStreamQuery(kind="machine"), last=first.number + 2)
    follower = Follower(ahead, 1)
    wait_until(lambda: following(served) == 1)
    for text in ("1", "2", "3"):
        happen(served, happened(account, text))
    assert follower.all() == ["3"]


def test_more_than_a_page_was_missed(served):
    alice = served.customer("alice")
    account = served.accounts["alice"]
    many = 2 * streams._PAGE + 7
    happen(served, *(happened(account, f"{n}") for n in range(many)))
    assert follow(alice, many) == [f"{n}" for n in range(many)]


def test_nobody_is_told_what_concerns_others(served):
    alice, bob = served.customer("alice"), served.customer("bob")
    mine, his = served.accounts["alice"], served.accounts["bob"]
    happen(served, happened(his, "his"), happened(mine, "mine"), happened(his, "his again"))
    live = Follower(alice.events.stream(EventStreamQuery(kind="machine"), last=0), 2)
    wait_until(lambda: following(served) == 1)
    happen(served, happened(his, "his last"), happened(mine, "mine too"))
    assert live.all() == ["mine", "mine too"]
    asked = EventStreamQuery(kind="machine", account=mine)
    stranger = Follower(bob.events.stream(asked, last=0), 1)
    wait_until(lambda: following(served) == 1)
    happen(served, happened(mine, "mine"), happened(his, "his"))
    assert follow(served.operator, 7) == [
        "his",
        "mine",
        "his again",
        "his last",
        "mine too",
        "mine",
        "his",
    ]
    assert stranger.seen == []


def test_a_stream_keeps_to_its_filters(served):
    alice = served.customer("alice")
    account = served.accounts["alice"]
    happen(
        served,
        happened(account, "no", kind="machines.running"),
        happened(account, "one"),
        happened(account, "two", kind="machine.stopped"),
        happened(account, "other", subject="machine-2"),
    )
    assert follow(alice, 3) == ["one", "two", "other"]
    assert follow(alice, 1, kind="machine.stopped") == ["two"]
    assert follow(alice, 1, subject="machine-2") == ["other"]


def test_writers_on_several_servers_lose_no_event_of_a_stream(served_both):
    """On PostgreSQL numbers are given before commits: one that is committed late must not be passed by."""
    alice = served_both.customer("alice")
    account = served_both.accounts["alice"]
    url = served_both.database.url
    others = [] if served_both.database.is_sqlite else [Database(url) for _ in range(4)]
    writers = [Writer(each) for each in others]
    for writer in writers:
        writer.start()
    try:
        follower = Follower(alice.events.stream(EventStreamQuery(kind="machine"), last=0), 200)
        wait_until(lambda: following(served_both) == 1)

        def write(number: int) -> None:
            writer = [served_both.writer, *writers][number % (1 + len(writers))]
            event = happened(account, f"{number}")
            writer.submit(lambda tx: events.add_many(tx, [event])).result(60)

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(write, range(200)))
        told = follower.all()
    finally:
        for writer, database in zip(writers, others, strict=True):
            writer.stop()
            database.close()
    assert sorted(told, key=int) == [f"{n}" for n in range(200)]
    numbers = [each.number for each in follower.seen]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 16, "٣", "1, 2"])
def test_what_is_no_number_is_no_place_to_go_on_from(served, last):
    with served.http(served.token(served.operator)) as http:
        answer = http.get("/v1/events/stream", headers={"last-event-id": last.encode()})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "last-event-id"


def test_nobody_takes_all_streams(served):
    alice = served.customer("alice")
    token = served.token(alice)
    followers = [served.client(token) for _ in range(streams.PER_USER)]
    for client in followers:
        Follower(client.events.stream(EventStreamQuery(kind="machine")), 1)
    wait_until(lambda: following(served) == streams.PER_USER)
    with pytest.raises(errors.TooOften):
        next(served.client(token).events.stream())
    other = served.customer("bob")
    happen(served, happened(served.accounts["bob"], "bob is not in her way"))
    assert follow(other, 1) == ["bob is not in her way"]
    happen(served, happened(served.accounts["alice"], "the end"))
    wait_until(lambda: following(served) == 0)
    happen(served, happened(served.accounts["alice"], "room again"))
    assert follow(alice, 2) == ["the end", "room again"]


def test_a_credential_that_is_revoked_ends_its_streams(served, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    alice = served.customer("alice")
    path = "/v1/events/stream?kind=machine"
    with served.http(served.token(alice)) as http, http.stream("GET", path) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if "still here" in line)
        alice.sessions.end()
        assert all(not line or line.startswith(":") for line in lines)  # and then it ends


def test_a_reader_that_is_too_slow_is_sent_away_and_misses_nothing(served, monkeypatch):
    monkeypatch.setattr(streams, "_BACKLOG", 10)
    alice = served.customer("alice")
    account = served.accounts["alice"]
    follower = Follower(alice.events.stream(EventStreamQuery(kind="machine"), last=0), 300)
    wait_until(lambda: following(served) == 1)
    happen(served, *(happened(account, f"{n}") for n in range(300)))
    assert follower.all() == [f"{n}" for n in range(300)]


def test_streams_end_when_their_server_is_about_to_stop(served):
    token = served.token(served.operator)
    with served.http(token) as http, http.stream("GET", "/v1/events/stream?kind=machine") as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": following"
        served.server.leaving()
        assert list(lines) == [""]
    with pytest.raises(errors.Unavailable):
        next(served.operator.events.stream())
