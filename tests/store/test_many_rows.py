"""Rows by the thousand: whatever their number, each is written once, with its own values."""

import pytest
from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, select

from arable.store.rows import change_rows, insert_rows, put_rows, save_rows

COUNTS = [0, 1, 15, 16, 17, 63, 64, 65, 64 + 16 + 3, 200]
COLUMNS = ("id", "word", "flag", "generation")
thing = Table(
    "thing",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("word", String),
    Column("flag", Boolean, nullable=False),
    Column("generation", Integer, nullable=False),
)


def things(count: int) -> list[tuple]:
    return [
        (f"thing-{at:03}", None if at % 7 == 0 else f"{at}", at % 2 == 0, 1) for at in range(count)
    ]


@pytest.fixture
def tx(database):
    with database.write() as made:
        thing.create(made)
        yield made
        thing.drop(made)


def kept(tx) -> list[tuple]:
    return [tuple(row) for row in tx.execute(select(thing).order_by(thing.c.id))]


def test_any_number_of_rows_comes_in(tx):
    for count in COUNTS:
        tx.execute(thing.delete())
        insert_rows(tx, thing, COLUMNS, things(count))
        assert kept(tx) == things(count)


def test_each_row_is_changed_to_its_own_values_and_no_other_is(tx):
    for count in COUNTS:
        tx.execute(thing.delete())
        insert_rows(tx, thing, COLUMNS, things(201))
        wanted = [(f"new {at}", at % 3 == 0, id_) for at, (id_, *_) in enumerate(things(count))]
        change_rows(tx, thing, ("word", "flag"), wanted)
        assert kept(tx) == [(id_, *new, 1) for *new, id_ in wanted] + things(201)[count:]


def test_rows_that_somebody_else_changed_meanwhile_are_not_saved_and_counted(tx):
    for count in COUNTS:
        tx.execute(thing.delete())
        insert_rows(tx, thing, COLUMNS, things(count))
        foreign = {id_ for at, (id_, *_) in enumerate(things(count)) if at % 5 == 1}
        change_rows(tx, thing, ("generation",), [(9, id_) for id_ in sorted(foreign)])
        rows = [("new", 2, id_, 1) for id_, *_ in things(count)]
        assert save_rows(tx, thing, ("word", "generation"), rows) == count - len(foreign)
        assert {id_ for id_, _, _, generation in kept(tx) if generation == 9} == foreign
        assert sum(word == "new" for _, word, *_ in kept(tx)) == count - len(foreign)


def test_what_is_there_already_is_treated_as_was_said(tx):
    for count in COUNTS:
        tx.execute(thing.delete())
        insert_rows(tx, thing, COLUMNS, things(count)[::2])
        rows = [(id_, "put", False, 5) for id_, *_ in things(count)]
        put_rows(tx, thing, COLUMNS, rows, "(id) do update set word = excluded.word")
        old = {id_ for id_, *_ in things(count)[::2]}
        assert {id_ for id_, *_ in kept(tx)} == {id_ for id_, *_ in rows}
        assert all(
            word == "put" and (generation == 1) == (id_ in old)
            for id_, word, _, generation in kept(tx)
        )
