"""Copied as text and put elsewhere, a database is the same, whichever engine it was on and is on now."""

import re
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from arable.domain.errors import Conflict, Corrupt
from arable.store import copies
from arable.store.copies import Layout
from arable.store.database import Database
from databases import fresh
from everything_kept import everything_kept
from store.test_migrate import catalogue

NASTY = ["", "\\N", "\\", "a\tb", "a\nb\r\n", "\\n", "\\.", "é\u2028😀", "t", "f", "0", "\x08\x0b\x0c", "NULL"]  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request, tmp_path) -> Iterator[Database]:
    """Another one with empty tables."""
    (tmp_path / "other").mkdir()
    with fresh(request.param, tmp_path / "other", request) as made:
        yield made


def fill(database: Database, texts: list[str]) -> None:
    with database.write() as tx:
        for at, each in enumerate(texts):
            tx.execute(
                text('insert into role (name, "rank", permissions) values (:name, :rank, :may)'),
                {"name": each, "rank": -at, "may": msgspec.json.encode(each).decode()},
            )
        tx.execute(text("insert into domain (id, parent, path, name, created_at) values ('domain-b', null, 'root', 'r', 1)"))  # fmt: skip
        tx.execute(text("insert into domain (id, parent, path, name, created_at) values ('domain-a', 'domain-b', 'root/a', 'a', 9007199254740993)"))  # fmt: skip
        tx.execute(text("insert into account (id, domain, name, enabled, created_at) values ('account-a', 'domain-a', 'x', :no, 2)"), {"no": False})  # fmt: skip
        tx.execute(text("insert into account (id, domain, name, created_at) values ('account-b', 'domain-a', 'y', 2)"))  # fmt: skip


def moved(one: Database, to: Database) -> None:
    with copies.moment(one) as tx:
        taken = [(layout, list(copies.out(tx, layout))) for layout in copies.layouts()]
        numbers = copies.numbers(tx)
    with to.write() as tx, copies.taking(tx):
        for layout, pieces in taken:
            assert copies.take(tx, layout, pieces) == sum(p.count(b"\n") for p in pieces)
        copies.go_on(tx, numbers)


def test_every_row_arrives_as_it_was(database, other):
    fill(database, NASTY)
    moved(database, other)
    assert everything_kept(other, but=()) == everything_kept(database, but=())
    assert len(everything_kept(other)["role"]) == len(NASTY)


def test_rows_may_refer_to_rows_that_come_later(database, other):
    fill(database, [])
    moved(database, other)
    with other.read() as tx:
        row = tx.execute(text("select parent from domain where id = 'domain-a'")).scalar_one()
    assert row == "domain-b"


def test_numbers_that_were_drawn_are_never_drawn_again(database, other):
    into = text(
        "insert into event (account, at, kind, subject, text) values (null, 1, 'k', 's', 't')"
    )
    with database.write() as tx:
        for _ in range(5):
            tx.execute(into)
        tx.execute(text("delete from event"))
    moved(database, other)
    with other.write() as tx:
        tx.execute(into)
        assert tx.execute(text("select number from event")).scalar_one() == 6


def test_what_others_write_meanwhile_is_not_in_the_copy(database):
    fill(database, ["before"])
    layout = next(each for each in copies.layouts() if each.table == "role")
    with copies.moment(database) as tx:
        copies.numbers(tx)
        with database.write() as another:
            another.execute(text("""insert into role (name, "rank", permissions) values ('after', 1, '[]')"""))  # fmt: skip
        lines = b"".join(copies.out(tx, layout))
    assert lines.count(b"\n") == 1


def test_a_name_that_would_be_a_statement_is_refused(sqlite):
    with sqlite.write() as tx, pytest.raises(Corrupt):
        copies.take(tx, Layout('role"; drop table role; --', ("name",)), [])


def test_a_copy_holds_every_column_that_is_not_computed(sqlite):
    with sqlite.read() as tx:
        for layout in copies.layouts():
            there = {row[1] for row in tx.execute(text(f'pragma table_info("{layout.table}")'))}
            assert there == set(layout.columns), layout.table


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), unique=True))  # fmt: skip
def test_no_text_is_changed_on_its_way(sqlite, texts):
    layout = next(each for each in copies.layouts() if each.table == "role")
    with sqlite.write() as tx:
        tx.execute(text("delete from role"))
        for each in texts:
            tx.execute(text("""insert into role (name, permissions) values (:name, '[]')"""), {"name": each})  # fmt: skip
        pieces = list(copies.out(tx, layout))
        tx.execute(text("delete from role"))
        assert copies.take(tx, layout, pieces) == len(texts)
        assert set(tx.execute(text("select name from role")).scalars()) == set(texts)


def test_indexes_and_references_are_as_before_when_all_rows_are_there(database):
    with database.read() as tx:
        before = catalogue(tx)
    with database.write() as tx, copies.taking(tx):
        assert len(catalogue(tx)) < len(before), "they are not looked after meanwhile"
    with database.read() as tx:
        now = {line for line in catalogue(tx) if not line.startswith("sqlite_stat")}
    assert {_plain(line) for line in now} == {_plain(line) for line in before}


def _plain(line: str) -> str:
    """PostgreSQL writes the types of a list's values, or the list's own, as it happens to have read them."""
    return re.sub(r"::(character varying|text)(\[\])?|[()]", "", line)


def test_a_row_that_refers_to_nothing_is_refused(database):
    layout = next(each for each in copies.layouts() if each.table == "domain")
    line = "\t".join({"id": "domain-a", "parent": "domain-b"}.get(name, "1") for name in layout.columns)  # fmt: skip

    def take() -> None:
        with database.write() as tx, copies.taking(tx):
            copies.take(tx, layout, [f"{line}\n".encode()])

    with pytest.raises(Conflict):
        take()
    assert not everything_kept(database)["domain"]
