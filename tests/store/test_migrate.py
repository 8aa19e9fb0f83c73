"""A migrated database is the declared one, on both engines, whoever migrates and however often."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from arable.domain.errors import Conflict
from arable.store import migrate
from arable.store.database import Database, Tx
from arable.store.schema import metadata


@pytest.fixture
def blanks(database, tmp_path) -> Iterator[list[Database]]:
    """Two empty databases of the same kind as `database`."""
    made = []
    for name in ("one", "two"):
        if database.is_sqlite:
            made.append(Database(f"sqlite:///{tmp_path}/blank-{name}.db"))
        else:
            with database.write() as tx:
                tx.execute(text(f"create schema blank_{name}"))
            sign = "&" if "?" in database.url else "?"
            made.append(Database(f"{database.url}{sign}options=-csearch_path%3Dblank_{name}"))
    yield made
    for one in made:
        one.close()


def catalogue(tx: Tx) -> set[str]:
    """Everything that the engine itself knows of the schema, as lines."""
    if tx.dialect.name == "sqlite":
        made = tx.execute(text("select name, sql from sqlite_master where sql is not null"))
        return {
            f"{name}: {line.strip().rstrip(',')}"
            for name, sql in made
            for line in sql.replace("DEFAULT (true)", "DEFAULT true").splitlines()
            if line.strip() and "schema_version" not in name
        }
    queries = (
        """select table_name, column_name, data_type, is_nullable, column_default
           from information_schema.columns where table_schema = current_schema()""",
        """select conrelid::regclass, conname, pg_get_constraintdef(c.oid)
           from pg_constraint c join pg_namespace n on n.oid = c.connamespace
           where n.nspname = current_schema()""",
        "select tablename, indexname, indexdef from pg_indexes where schemaname = current_schema()",
    )
    schema = tx.execute(text("select current_schema()")).scalar_one()
    rows = [row for query in queries for row in tx.execute(text(query))]
    lines = {" | ".join(map(str, row)).replace(f"{schema}.", "") for row in rows}
    return {line for line in lines if not line.startswith("schema_version")}


def test_a_migrated_database_is_the_declared_one(blanks):
    migrated, declared = blanks
    migrate.upgrade(migrated)
    with declared.write() as tx:
        metadata.create_all(tx)
    with migrated.read() as one, declared.read() as other:
        assert catalogue(one) == catalogue(other)
        assert len(catalogue(one)) > 300


def test_an_empty_database_has_no_revision_and_a_migrated_one_the_newest(blanks):
    blank, _ = blanks
    assert migrate.current(blank) is None
    assert migrate.upgrade(blank) == migrate.newest()
    assert migrate.current(blank) == migrate.newest()


def test_migrating_again_changes_nothing(blanks):
    blank, _ = blanks
    migrate.upgrade(blank)
    with blank.write() as tx:
        tx.execute(text("insert into setting (name, value) values ('kept', '1')"))
        before = catalogue(tx)
    migrate.upgrade(blank)
    with blank.read() as tx:
        assert catalogue(tx) == before
        assert tx.execute(text("select value from setting")).scalar_one() == "1"


def test_several_servers_that_start_at_once_migrate_once(blanks):
    blank, _ = blanks
    others = [Database(blank.url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(migrate.upgrade, others))
        assert done == [migrate.newest()] * 4
        with blank.read() as tx:
            assert tx.execute(text("select count(*) from schema_version")).scalar_one() == 1
    finally:
        for other in others:
            other.close()


def test_a_database_of_a_newer_version_is_left_alone(blanks):
    blank, _ = blanks
    migrate.upgrade(blank)
    with blank.write() as tx:
        tx.execute(text("update schema_version set version_num = 'r9999'"))
        tx.execute(text("update schema_serves set revision = 'r9999'"))
    with pytest.raises(Conflict, match="newer than this version"):
        migrate.upgrade(blank)
    assert migrate.current(blank) == "r9999"


def test_the_next_version_s_database_serves_this_one_if_it_says_so(blanks):
    blank, _ = blanks
    migrate.upgrade(blank)
    with blank.write() as tx:
        tx.execute(text("update schema_version set version_num = 'r9999'"))
    assert migrate.serves() == migrate.newest()
    assert migrate.upgrade(blank) == "r9999"
    assert migrate.current(blank) == "r9999"


def test_a_step_that_fails_leaves_nothing_behind(blanks):
    blank, _ = blanks
    with blank.write() as tx:
        tx.execute(text("create table volume (other integer)"))  # in the way of the first revision
    with pytest.raises(Exception, match="volume"):
        migrate.upgrade(blank)
    assert migrate.current(blank) is None
    with blank.read() as tx:
        names = {line.partition(" |")[0].partition(":")[0] for line in catalogue(tx)}
        assert names == {"volume"}
