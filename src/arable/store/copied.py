"""Many new rows for PostgreSQL at once, as its COPY has them.

It reads them without a plan and adds them to a table a page at a time, which costs it half of what the rows cost as a JSON
document; and nothing comes between that depends on the number of columns. Of errors, callers learn what they would
learn of any other statement.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError

from arable.store.database import Tx

COPIED = 8
"""Fewer rows than so many are cheaper as a statement: COPY is a round trip more."""


def copy_rows(
    tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Add rows given as tuples in the order of `names`. Raises what SQLAlchemy raises."""
    raw: Any = tx.connection.driver_connection
    words = _words(table, names)
    try:
        with raw.cursor() as cursor, cursor.copy(words) as copy:
            for row in rows:
                copy.write_row(row)
    except Exception as error:
        dialect: Any = tx.dialect
        if not isinstance(error, dialect.dbapi.Error):
            raise
        raise DBAPIError.instance(
            words,
            None,
            error,
            dialect.dbapi.Error,
            hide_parameters=True,
            connection_invalidated=dialect.is_disconnect(error, raw, None),
            dialect=dialect,
        ) from error


@cache
def _words(table: Table, names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    return f'copy "{table.name}" ({columns}) from stdin'
