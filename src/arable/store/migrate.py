"""Brings a database to the schema of this version, whoever else tries at the same time.

Every management server calls `upgrade` when it starts. One transaction holds all steps: on PostgreSQL an advisory lock
lets one server in and the others wait until it is done, on SQLite the right to write does. A step that fails leaves
the schema as it was.

Two neighbouring versions work on one database at the same time, so that servers can be replaced one by one: a revision
only adds what the version before it can do without (docs/architecture.md, "Two versions on one schema"), and says which
is the oldest that it `serves`. A database that does not serve us is left alone and refused.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import delete, insert, select, text

from arable.domain.errors import Conflict
from arable.store.database import Database, Tx
from arable.store.schema import schema_serves

_LOCK = 0x6172_6162_6C65  # "arable"
_TABLE = "schema_version"


def upgrade(database: Database) -> str:
    """Take every step that is missing; the revision that the database has now."""
    with database.write() as tx:
        one_at_a_time(tx)
        found, known = _current(tx), _known(ScriptDirectory.from_config(_config()))
        if found is not None and found not in known:
            if _serves(tx) in known:
                return found
            raise Conflict(
                f"this database has schema {found}, which is newer than this version of Arable"
            )
        if found != newest():
            finish(tx)
    return newest()


def one_at_a_time(tx: Tx) -> None:
    """Until the transaction's end, of all servers that start at once; on SQLite who writes is alone anyway."""
    if tx.dialect.name != "sqlite":
        tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def build(tx: Tx, revision: str) -> None:
    """Make the tables as they were at that revision, in an empty database. Raises `Conflict` for a newer one."""
    if revision not in _known(ScriptDirectory.from_config(_config())):
        raise Conflict(
            f"this was made with schema {revision}, which is newer than this version of Arable"
        )
    command.upgrade(_config(tx), revision)


def finish(tx: Tx) -> str:
    """Take the steps that are missing, in a transaction of the caller's, who is alone there; the revision it has now."""
    command.upgrade(_config(tx), "head")
    tx.execute(delete(schema_serves))
    tx.execute(insert(schema_serves).values(revision=serves()))
    return newest()


def serves() -> str:
    """The oldest revision whose version may work with the newest schema."""
    head = ScriptDirectory.from_config(_config()).get_revision(newest())
    return str(getattr(head.module, "serves", head.revision))


def current(database: Database) -> str | None:
    """The revision that the database has; None when it is empty."""
    with database.read() as tx:
        return _current(tx)


def newest() -> str:
    """The revision that this version of Arable works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise AssertionError("there are no revisions")
    return head


def _current(tx: Tx) -> str | None:
    return MigrationContext.configure(tx, opts={"version_table": _TABLE}).get_current_revision()


def _serves(tx: Tx) -> str:
    """What the database itself says of whom it serves."""
    return str(tx.execute(select(schema_serves.c.revision)).scalar_one_or_none() or "")


def _known(script: ScriptDirectory) -> set[str]:
    return {revision.revision for revision in script.walk_revisions()}


def _config(tx: Tx | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    return config
