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
    if tx.dialect.name == "sqlite":
        return _listed(column, bindparam(None, given(tx, values), type_=Text))
    return column == func.any(bindparam(None, given(tx, values), type_=ARRAY(Text)))


def among_given(dialect: str, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The same for a statement that is made once: the values come by this name when it is executed, as `given` has them."""
    if dialect == "sqlite":
        return _listed(column, bindparam(name, type_=Text))
    return column == func.any(bindparam(name, type_=ARRAY(Text)))


def given(tx: Tx, values: Iterable[str]) -> str | list[str]:
    """Values as such a condition wants them."""
    texts = list(values)
    return msgspec.json.encode(texts).decode() if tx.dialect.name == "sqlite" else texts


def _listed(column: ColumnElement[Any], values: ColumnElement[Any]) -> ColumnElement[bool]:
    return column.in_(select(_VALUE).select_from(func.json_each(values)))
