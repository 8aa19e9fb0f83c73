"""Nudges from one server to the others, by a real PostgreSQL."""

import queue
from contextlib import contextmanager

import pytest

from arable.store import notices
from arable.store.database import Database
from arable.store.notices import Listener
from arable.store.nudges import Nudges, nudge, nudge_hosts
from arable.store.writer import Writer
from databases import fresh

WAIT = 20.0


@pytest.fixture
def shared(request, tmp_path):
    with fresh("postgresql", tmp_path, request) as made:
        yield made


@contextmanager
def listening(shared: Database, me: str):
    heard: queue.SimpleQueue[Nudges] = queue.SimpleQueue()
    database = Database(shared.url, me)
    listener = Listener(database, me, heard.put)
    listener.start()
    try:
        assert listener.listening.wait(WAIT)
        yield heard, listener
    finally:
        listener.stop()
        database.close()


@contextmanager
def writing(shared: Database, name: str):
    writer = Writer(Database(shared.url, name))
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()
        writer.database.close()


def test_what_one_server_commits_the_others_hear_and_it_does_not(shared):
    with (
        writing(shared, "server-a") as writer,
        listening(shared, "server-a") as (own, _),
        listening(shared, "server-b") as (other, _),
    ):

        def work(tx):
            nudge(tx, "machines")
            nudge_hosts(tx, {"host-1", "host-2"})

        writer.submit(work).result()
        assert other.get(timeout=WAIT) == Nudges({"host-1", "host-2"}, {"machines"})
        with writing(shared, "server-b") as elsewhere:
            elsewhere.submit(lambda tx: nudge(tx, "end")).result()
        assert own.get(timeout=WAIT) == Nudges(set(), {"end"}), "nothing of its own came before"


def test_what_is_rolled_back_is_told_to_nobody(shared):
    def fails(tx):
        notices.tell(tx, "server-a", Nudges(set(), {"never"}))
        raise RuntimeError("on purpose")

    with listening(shared, "server-b") as (heard, _):
        with pytest.raises(RuntimeError), shared.write() as tx:
            fails(tx)
        with shared.write() as tx:
            notices.tell(tx, "server-a", Nudges(set(), {"after"}))
        assert heard.get(timeout=WAIT) == Nudges(set(), {"after"})


def test_thousands_of_hosts_and_operations_are_told_in_several_notices(shared):
    hosts = {f"host-{number:020}" for number in range(3000)}
    topics = {f"operation-{number:020}" for number in range(5000)}
    with listening(shared, "server-b") as (heard, _):
        with shared.write() as tx:
            notices.tell(tx, "server-a", Nudges(set(hosts), set(topics)))
        told, listened = [], []
        while len(told) < len(hosts) or len(listened) < len(topics):
            notice = heard.get(timeout=WAIT)
            told += notice.hosts
            listened += notice.topics
    assert (set(told), set(listened)) == (hosts, topics)
    assert (len(told), len(listened)) == (len(hosts), len(topics)), "each is told once"


def test_a_listener_whose_connection_was_cut_listens_again(shared):
    with listening(shared, "server-b") as (heard, listener):
        with shared.write() as tx:
            tx.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'server-b'"
            )
        cut = shared_again(shared, heard, listener)
    assert cut == Nudges(set(), {"again"})


def shared_again(shared: Database, heard, listener: Listener) -> Nudges:
    """Told until it is heard: what was told while nobody listened is lost, as it may be."""
    for _ in range(int(WAIT * 4)):
        assert listener.listening.wait(WAIT)
        with shared.write() as tx:
            notices.tell(tx, "server-a", Nudges(set(), {"again"}))
        try:
            return heard.get(timeout=0.25)
        except queue.Empty:
            continue
    raise AssertionError("it does not listen again")


def test_an_embedded_store_tells_nobody(sqlite):
    with sqlite.write() as tx:
        notices.tell(tx, "server-a", Nudges({"host-1"}, {"machines"}))
    listener = Listener(sqlite, "server-a", lambda _: None)
    listener.start()
    listener.stop()
    assert not listener.listening.is_set()
