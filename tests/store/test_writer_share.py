"""A flood of large asks: transactions stay of a size, and what ends earlier asks is in the very next one."""

from concurrent.futures import Future

import pytest

from arable.domain.errors import NotFound
from arable.store.writer import Writer


@pytest.fixture
def writer(sqlite) -> Writer:
    """Without a thread: a transaction for each `run_waiting`."""
    return Writer(sqlite)


def flood(writer: Writer, count: int, weight: int) -> tuple[list[list[int]], list[Future[int]]]:
    """So many asks of one kind; and the batches that they are executed in."""
    batches: list[list[int]] = []

    def batch(_tx, asks):
        batches.append(list(asks))
        return list(asks)

    waiting = []
    for number in range(count):
        future: Future[int] = Future()
        writer.take_batch(future, batch, number, weight)
        waiting.append(future)
    return batches, waiting


def test_a_transaction_takes_asks_up_to_a_weight_in_order(writer):
    batches, waiting = flood(writer, 7, 900)
    while writer.run_waiting():
        pass
    assert batches == [[0, 1], [2, 3], [4, 5], [6]]
    assert [future.result() for future in waiting] == list(range(7))


def test_an_ask_that_is_heavier_than_a_transaction_has_one_for_itself(writer):
    batches, _waiting = flood(writer, 2, 5000)
    assert writer.run_waiting() == 1
    assert writer.run_waiting() == 1
    assert batches == [[0], [1]]


def test_what_hosts_report_does_not_wait_for_a_flood_of_asks(writer):
    batches, waiting = flood(writer, 10, 1000)
    report = writer.submit(lambda _tx: "known")
    writer.run_waiting()
    assert report.result(0) == "known"
    assert batches == [[0, 1]]
    assert not waiting[2].done()


def test_each_piece_has_a_transaction_of_its_own_where_it_is_asked_for(database):
    apart, among = Writer(database, apart=True), Writer(database)
    told: list[list[object]] = []
    for writer in (apart, among):
        transactions: list[object] = []
        for _ in range(3):
            writer.submit(lambda tx, seen=transactions: seen.append(tx.get_transaction()))
        assert writer.run_waiting() == 3
        told.append(transactions)
    assert [len({id(each) for each in those}) for those in told] == [3, 1]


def test_a_piece_that_fails_apart_leaves_the_others(database):
    writer = Writer(database, apart=True)

    def fails(_tx):
        raise NotFound("no such thing")

    first, second, third = (writer.submit(work) for work in (lambda _tx: 1, fails, lambda _tx: 3))
    writer.run_waiting()
    assert (first.result(0), third.result(0)) == (1, 3)
    with pytest.raises(NotFound):
        second.result(0)


def test_lighter_asks_of_the_same_kind_do_not_overtake(writer):
    batches, _waiting = flood(writer, 3, 1500)
    future: Future[int] = Future()
    writer.take_batch(future, lambda _tx, asks: list(asks), 99)
    writer.run_waiting()
    assert batches == [[0]]
    assert not future.done()


def test_half_of_a_flood_is_executed_while_the_other_half_waits(writer):
    batches, waiting = flood(writer, 200, 1)
    assert writer.run_waiting() == 100
    assert (
        writer.run_waiting() == 100
    )  # whoever was answered will ask again: there are two hundred still
    assert [len(batch) for batch in batches] == [100, 100]
    assert [future.result() for future in waiting] == list(range(200))


def test_few_asks_are_not_divided(writer):
    batches, _waiting = flood(writer, 64, 1)
    assert writer.run_waiting() == 64
    more, _waiting = flood(writer, 5, 1)
    assert writer.run_waiting() == 5
    assert [len(batch) for batch in (*batches, *more)] == [64, 5]
