"""Streams of events of another region: over a real grid port, with its rights and its numbers, and an end when either side does."""

import threading
from itertools import islice
from types import SimpleNamespace

import pytest
from passing_on import Two, hung_up
from websockets.protocol import State
from websockets.server import ServerProtocol

from api.test_streams import Follower, happen, happened
from arable.api import passed_streams, streams
from arable.api.console import ConsoleWebSocket
from arable.client.arable import Arable
from arable.client.errors import BadInput, CallError, Forbidden, TooOften, Unavailable
from arable.domain.grid import Peer
from arable.store import grid as store_grid
from arable.wire.events import EventStreamQuery
from arable.wire.regions import FederationIn
from cli.command_line import as_user
from serving import wait_until

ASKED = EventStreamQuery(kind="far")


def happens(two: Two, *texts: str) -> None:
    """Something, to alice's account at south."""
    happen(two.south, *(happened(two.south.accounts["alice"], each, "far.thing") for each in texts))


def followed(two: Two) -> int:
    """How many streams north passes on just now."""
    return two.north.server._elsewhere._streams._open


@pytest.fixture(autouse=True)
def nobody_follows(two):
    yield
    for each in two.clients:
        each.close()
    two.clients.clear()
    wait_until(lambda: followed(two) == 0)
    wait_until(lambda: not two.south.server._adaptor._streams._streams)


def test_what_happens_there_is_seen_here_and_nobody_elses(two):
    happens(two, "first")
    happen(two.south, happened(two.south.accounts["bob"], "bob's", "far.thing"))
    follower = Follower(two.alice().events.stream(ASKED, last=0), 3)
    wait_until(lambda: len(follower.seen) == 1)
    happens(two, "second", "third")
    assert follower.all() == ["first", "second", "third"]


def test_one_goes_on_after_the_last_one_when_the_way_was_cut(two):
    happens(two, "before")
    stream = two.alice().events.stream(ASKED, last=0)
    seen = [event.number for event in islice(stream, 1)]
    two.run(hung_up(two.port))
    wait_until(lambda: followed(two) == 0)
    happens(two, "while it was cut")
    again = two.alice().events.stream(ASKED, last=seen[-1])
    texts = []
    for event in again:
        assert event.number > seen[-1]
        texts.append(event.text)
        if event.text == "while it was cut":
            break
    assert texts[-1] == "while it was cut"


def test_who_may_not_there_sees_nothing(two):
    with Arable(two.north.url) as here:
        token = here.sign_in("bob", "a password of a test").token
    with Arable(two.north.url, token, region="south") as bob, pytest.raises(Forbidden):
        next(bob.events.stream(ASKED))


def test_what_is_asked_wrongly_is_refused_by_the_other_region(two):
    with pytest.raises(BadInput):
        next(two.alice().events.stream(EventStreamQuery(account="../../x")))


def test_a_region_that_can_not_be_reached_is_said(two):
    with two.north.database.write() as tx:
        gone = Peer(name="oslo", url="https://127.0.0.1:1", fingerprint="f", authority="a")
        store_grid.put_peers(tx, [gone])
    with pytest.raises(Unavailable, match="oslo can't be reached"):
        next(two.alice("oslo").events.stream(ASKED))


def test_it_ends_when_the_other_region_takes_its_word_back(two, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT", 0.05)
    happens(two, "while she may")
    operator, account = two.south.operator, two.south.accounts["alice"]
    told: list[BaseException] = []

    def follows(stream) -> None:
        try:
            for _event in stream:
                begun.set()
        except CallError as error:
            told.append(error)

    begun = threading.Event()
    thread = threading.Thread(target=follows, args=(two.alice().events.stream(ASKED, last=0),))
    thread.start()
    assert begun.wait(30)
    try:
        operator.accounts.federate(account, FederationIn(origins=()))
        thread.join(30)
        assert isinstance(told[0], Forbidden)
    finally:
        operator.accounts.federate(account, FederationIn(origins=("north",)))


def test_it_ends_when_the_credential_by_which_it_was_begun_does(two, monkeypatch):
    monkeypatch.setattr(passed_streams, "HEARTBEAT", 0.05)
    happens(two, "while she is signed in")
    alice = two.alice()
    with Arable(two.north.url, alice.connection.token) as here:
        follower = Follower(alice.events.stream(ASKED, last=0), 10_000)
        wait_until(lambda: follower.seen)
        here.sessions.end()
    wait_until(lambda: followed(two) == 0)


def test_nobody_follows_too_many(two, monkeypatch):
    monkeypatch.setattr(passed_streams, "PER_USER", 1)
    happens(two, "one")
    first = two.alice().events.stream(ASKED, last=0)
    next(first)
    with pytest.raises(TooOften):
        next(two.alice().events.stream(ASKED, last=0))


def test_a_terminal_follows(two, tmp_path):
    happens(two, "on a terminal")
    arable = as_user(two.north, tmp_path, two.alice().connection.token)
    words = (
        "event",
        "follow",
        "--region",
        "south",
        "--kind",
        "far",
        "--after",
        "0",
        "--limit",
        "1",
    )
    assert "far.thing" in arable(*words).out


def test_a_port_stops_though_somebody_is_hanging_up_just_then():
    """The other end's goodbye was answered and its connection is not gone yet: nothing more can be said to it."""
    socket = ConsoleWebSocket.__new__(ConsoleWebSocket)
    closed = threading.Event()
    socket.conn = ServerProtocol()
    socket.conn.state = State.CLOSING
    socket.transport = SimpleNamespace(close=closed.set)
    socket.keepalive_task = socket.close_timer = None
    socket.close_sent, socket.handshake_complete = False, True
    socket.stop_keepalive = lambda: None
    socket.shutdown()
    assert closed.is_set()
