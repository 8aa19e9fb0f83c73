"""Writes a migration: what differs between the newest revision and `src/arable/store/schema.py`.

    .venv/bin/python tools/new_revision.py "add volume snapshots"
    .venv/bin/python tools/new_revision.py --first      # until the first release: write the one revision anew

Read what it wrote before you keep it: a renamed column looks like a dropped and an added one. Column types are written
as the database's own, so that a revision never changes because our code did.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.types import TypeDecorator

from arable.store import migrate
from arable.store.database import Database
from arable.store.schema import metadata

VERSIONS = Path(migrate.__file__).parent / "migrations" / "versions"
SHAPE = '''"""{message}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision: str | None = {before}
serves = {serves}  # the oldest version that may work with this schema; itself when something was taken away
branch_labels = None
depends_on = None


def upgrade() -> None:
    {body}
'''


def plain(kind: str, thing: Any, _context: Any) -> str | bool:
    """Our own column types as what they are in the database."""
    if kind == "type" and isinstance(thing, TypeDecorator):
        return f"sa.{thing.impl_instance!r}"
    return False


def difference(database: Database) -> str:
    with database.read() as tx:
        options = {
            "version_table": "schema_version",
            "compare_type": True,
            "compare_server_default": False,
            "render_item": plain,
        }
        context = MigrationContext.configure(tx, opts=options)
        steps = produce_migrations(context, metadata).upgrade_ops
        if steps is None or steps.is_empty():
            return ""
        code = render_python_code(steps, render_item=plain, migration_context=context)
        # Alembic puts SQLite's defaults into parentheses; the schema declares them without.
        return re.sub(r"text\('\((true|false)\)'\)", r"text('\1')", code)


def main() -> None:
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("message", nargs="?", default="")
    ask.add_argument("--first", action="store_true")
    given = ask.parse_args()
    database = Database("sqlite://")
    if given.first:
        if len(list(VERSIONS.glob("r*.py"))) > 1:
            raise SystemExit("there are later revisions; they can't be written anew")
        message, revision, before = "The first schema", "r0001", None
    else:
        if not given.message:
            raise SystemExit("say what the revision does")
        before = migrate.upgrade(database)
        message, revision = (
            given.message[0].upper() + given.message[1:],
            f"r{int(before[1:]) + 1:04}",
        )
    body = difference(database)
    if not body:
        raise SystemExit("the schema has not changed")
    name = re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")
    path = VERSIONS / f"{revision}_{name}.py"
    quoted = f'"{before}"' if before else "None"
    serves = quoted if before else f'"{revision}"'
    path.write_text(
        SHAPE.format(message=message, revision=revision, before=quoted, serves=serves, body=body)
    )
    check(path)


def check(path: Path) -> None:
    """The migrated schema is the declared one, or what was written is of no use."""
    database = Database("sqlite://")
    migrate.upgrade(database)
    with database.read() as tx:
        tables = set(inspect(tx).get_table_names()) - {"schema_version"}
    if tables != set(metadata.tables) or difference(database):
        raise SystemExit(f"{path} does not lead to the schema; correct it by hand")
    print(path)


if __name__ == "__main__":
    main()
