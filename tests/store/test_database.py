"""What the database's own refusals become: a race that was lost is told from a store that does not answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError

from arable.domain.errors import Conflict, Unavailable
from arable.services.execution import lost_race
from arable.store import schema
from arable.store.database import Database


def put(database: Database, *names: str) -> None:
    with database.write() as tx:
        tx.execute(insert(schema.setting), [{"name": name, "value": 0} for name in names])


def test_of_two_transactions_in_a_ring_one_has_lost_a_race_and_may_try_again(database):
    """Its words have "blocked" in them, which is not "locked"."""
    if database.is_sqlite:
        return  # one writer at a time: there is no ring
    put(database, "a", "b")
    both = threading.Barrier(2)

    def change(first: str, second: str) -> BaseException | None:
        statement = text("update setting set value = value where name = :name")
        try:
            with database.write() as tx:
                tx.execute(statement, {"name": first})
                both.wait(30)
                tx.execute(statement, {"name": second})
        except DBAPIError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(change, "ab", "ba"))
    (error,) = [each for each in ended if each is not None]
    assert lost_race(error)


def test_what_others_hold_for_too_long_may_be_asked_for_again(database):
    if database.is_sqlite:
        return  # one writes at a time, so nobody waits for a row
    put(database, "a")
    change = update(schema.setting).values(value=1)

    def wait() -> None:
        with database.write() as tx:
            tx.execute(text("set local lock_timeout = '20ms'"))
            tx.execute(change)

    with database.write() as held:
        held.execute(change)
        with pytest.raises(Unavailable):
            wait()


def test_what_is_there_already_is_a_conflict(database):
    put(database, "a")
    with pytest.raises(Conflict):
        put(database, "a")


def test_many_that_open_a_new_file_at_once_all_get_in(tmp_path):
    """The first ones switch it to write-ahead logging while the others do, which SQLite refuses at once."""

    many = 5

    def opened(number: int) -> None:
        all_at_once = threading.Barrier(many)
        databases = [Database(f"sqlite:///{tmp_path / str(number)}") for _ in range(many)]

        def connect(database: Database) -> None:
            all_at_once.wait(30)
            database.engine.raw_connection().close()

        list(threads.map(connect, databases))
        for database in databases:
            database.close()

    with ThreadPoolExecutor(many) as threads:
        for number in range(200):
            opened(number)
