"""New rows that PostgreSQL copies: every text comes in as it is, and what is wrong is said as of any statement."""

import pytest
from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, select
from sqlalchemy.exc import IntegrityError

from arable.domain.manifest import ItemKind
from arable.store.copied import COPIED
from arable.store.rows import insert_rows

COLUMNS = ("id", "word", "flag")
copied = Table(
    "copied",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("word", String),
    Column("flag", Boolean, nullable=False),
    Column("number", Integer, nullable=False, server_default="7"),
)
ODD = [
    "",
    "\t",
    "\n",
    "\\",
    "\\N",
    "\\.",
    "\r\n",
    '"',
    "ü→😀",
    None,
    "a\tb\\c",
    "null",
    ItemKind.LEASE,
]


@pytest.fixture
def tx(postgresql):
    with postgresql.new() as database, database.engine.connect() as made:
        copied.create(made)
        yield made
        made.rollback()


def test_every_text_comes_in_as_it_is(tx):
    rows = [(f"thing-{at:02}", word, at % 2 == 0) for at, word in enumerate(ODD)]
    assert len(rows) >= COPIED
    insert_rows(tx, copied, COLUMNS, rows)
    assert [tuple(row) for row in tx.execute(select(copied).order_by(copied.c.id))] == [
        (*row, 7) for row in rows
    ]


def test_a_row_that_is_there_is_refused_and_the_savepoint_before_it_holds(tx):
    rows = [(f"thing-{at}", "", False) for at in range(COPIED)]
    insert_rows(tx, copied, COLUMNS, rows)
    tx.exec_driver_sql("savepoint before")
    with pytest.raises(IntegrityError) as refused:
        insert_rows(tx, copied, COLUMNS, [(f"new-{at}", "", False) for at in range(COPIED)] + rows)
    assert refused.value.orig.sqlstate == "23505"
    tx.exec_driver_sql("rollback to savepoint before")
    assert len(tx.execute(select(copied)).all()) == COPIED
