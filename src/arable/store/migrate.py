"""Brings a database to the schema of this version, whoever else tries at the same time.

Every management server calls `upgrade` when it starts. One transaction holds all steps: on PostgreSQL an advisory lock
lets one server in and the others wait until it is done, on SQLite the right to write does. A step that fails leaves
the schema as it was. A database of a newer version is left alone and refused.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from arable.domain.errors import Conflict
from arable.store.database import Database, Tx

_LOCK = 0x6172_6162_6C65  # "arable"
_TABLE = "schema_version"


def upgrade(database: Database) -> str:
    """Take every step that is missing; the revision that the database has now."""
    with database.write() as tx:
        if not database.is_sqlite:
            tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found, script = _current(tx), ScriptDirectory.from_config(_config())
        if found is not None and found not in _known(script):
            raise Conflict(
                f"this database has schema {found}, which is newer than this version of Arable"
            )
        if found != newest():
            command.upgrade(_config(tx), "head")
    return newest()


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


def _known(script: ScriptDirectory) -> set[str]:
    return {revision.revision for revision in script.walk_revisions()}


def _config(tx: Tx | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = tx
    return config
