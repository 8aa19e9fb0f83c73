"""Expand, then contract: each schema can be worked with by the version before it (docs/architecture.md)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from arable.store import migrate
from arable.store.database import Database
from store.shrinks import losses


def revisions() -> list[str]:
    """The eldest first."""
    script = ScriptDirectory.from_config(migrate._config())
    return [each.revision for each in reversed(list(script.walk_revisions()))]


PAIRS = list(zip(revisions(), revisions()[1:], strict=False))


@contextmanager
def at(directory, revision: str) -> Iterator[Connection]:
    made = Database(f"sqlite:///{directory}/{revision}.db")
    try:
        with made.write() as tx:
            migrate.build(tx, revision)
        with made.read() as tx:
            yield tx
    finally:
        made.close()


def test_the_version_before_can_work_with_each_schema_that_says_it_serves_it(tmp_path):
    for before, after in PAIRS:
        module = ScriptDirectory.from_config(migrate._config()).get_revision(after).module
        with at(tmp_path, before) as one, at(tmp_path, after) as other:
            found = losses(one, other)
        if module.serves == after:
            assert found, f"{after} takes nothing away, so it serves {before}: say so"
        else:
            assert module.serves in revisions()[: revisions().index(after)]
            assert not found, f"{after} does not serve {before}; do it in two versions: {found}"


def test_every_revision_says_whom_it_serves():
    script = ScriptDirectory.from_config(migrate._config())
    for each in script.walk_revisions():
        assert each.module.serves in (each.revision, each.down_revision), each.revision


HAD = "create table thing (id text primary key, name text not null, size integer, fast boolean not null default true)"
FINE = [
    "create table other (id text primary key, thing text not null references thing (id))",
    "alter table thing add column colour text",
    "alter table thing add column weight integer not null default 0",
    "create index ix_thing_size on thing (size)",
]
WRONG = {
    "drop table thing": "table thing is gone",
    "alter table thing drop column size": "column thing.size is gone",
    "alter table thing rename column name to title": "column thing.name is gone",
    "create unique index uq_thing_name on thing (name)": "thing demands more: unique index ('name',)",
}


@contextmanager
def changed(directory, *statements: str) -> Iterator[tuple[Connection, Connection]]:
    with ExitStack() as stack:
        made = []
        for name, more in (("before", ()), ("after", statements)):
            database = Database(f"sqlite:///{directory}/{name}.db")
            stack.callback(database.close)
            with database.write() as tx:
                for statement in (HAD, *more):
                    tx.execute(text(statement))
            made.append(stack.enter_context(database.read()))
        yield made[0], made[1]


def test_what_is_added_takes_nothing_away(tmp_path):
    with changed(tmp_path, *FINE) as (before, after):
        assert losses(before, after) == []


@pytest.mark.parametrize(("statement", "loss"), WRONG.items())
def test_what_is_taken_away_is_noticed(tmp_path, statement, loss):
    with changed(tmp_path, statement) as (before, after):
        assert loss in losses(before, after)


@pytest.mark.parametrize(
    ("now", "loss"),
    [
        ("id text primary key, name text not null, size integer not null, fast boolean not null default true", "column thing.size must be given now"),
        ("id text primary key, name text not null, size integer, fast boolean not null", "column thing.fast has lost its default"),
        ("id text primary key, name text not null, size text, fast boolean not null default true", "column thing.size is another type"),
        ("id text primary key, name text not null, size integer, fast boolean not null default true, new text not null", "column thing.new is new and must be given"),
        ("id text primary key, name text not null, size integer, fast boolean not null default true, constraint ck_size check (size > 0)", "thing demands more: check ck_size"),
    ],
)  # fmt: skip
def test_what_is_asked_for_more_is_noticed(tmp_path, now, loss):
    with changed(tmp_path, "drop table thing", f"create table thing ({now})") as (before, after):
        assert losses(before, after) == [loss]
