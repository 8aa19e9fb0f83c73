"""What "nothing changed" rests on sees every change, of any row of any table."""

from collections.abc import Callable

import pytest
from sqlalchemy import text

from arable.store.database import Database
from everything_kept import every_row, everything_kept

Look = Callable[[Database], dict[str, list[str]]]
LOOKS = pytest.mark.parametrize("look", [every_row, everything_kept])


def write(database: Database, statement: str) -> None:
    with database.write() as tx:
        tx.execute(text(statement))


@LOOKS
def test_a_row_that_comes_changes_or_goes_is_seen_and_nothing_else(
    sqlite: Database, look: Look
) -> None:
    looks = [look(sqlite)]
    for statement in (
        "insert into hearing (name, since, last) values ('a', 1, 2)",
        "update hearing set last = 3",
        "delete from hearing",
    ):
        write(sqlite, statement)
        looks.append(look(sqlite))
    before, come, changed, gone = looks
    assert before == gone
    for one, other in ((before, come), (come, changed), (changed, gone)):
        assert {name for name in one if one[name] != other[name]} == {"hearing"}


@LOOKS
def test_two_rows_that_are_alike_but_for_one_value_are_two(sqlite: Database, look: Look) -> None:
    write(sqlite, "insert into hearing (name, since, last) values ('a', 1, 2), ('b', 1, 2)")
    assert len(look(sqlite)["hearing"]) == 2


@LOOKS
def test_every_table_is_looked_at_but_for_the_audit(sqlite: Database, look: Look) -> None:
    with sqlite.read() as tx:
        there = tx.scalars(text("select name from sqlite_master where type = 'table'")).all()
    ours = {name for name in there if not name.startswith(("sqlite_", "alembic_"))}
    assert look(sqlite).keys() == ours - {"audit"}
