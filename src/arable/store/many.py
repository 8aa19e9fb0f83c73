"""Lists of values in one statement, the same text whatever their number, on both databases.

`column in (?, ?, …)` has a text for each length: the compiled-statement cache misses, and SQLite has a limit.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Text, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from arable.store.database import Tx

# Not `table_valued`: each use makes a table of it, in circles that only the collector of cycles takes apart.
_VALUE: ColumnElement[str] = literal_column("value")


def among(tx: Tx, column: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a text column is one of `values`."""
    texts = list(values)
    if tx.dialect.name == "sqlite":
        given = bindparam(None, msgspec.json.encode(texts).decode(), type_=Text)
        return column.in_(select(_VALUE).select_from(func.json_each(given)))
    return column == func.any(bindparam(None, texts, type_=ARRAY(Text)))
