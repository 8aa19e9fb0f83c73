"""Lists of values in one statement, the same text whatever their number, on both databases.

`column in (?, ?, …)` has a text for each length: the compiled-statement cache misses, and SQLite has a limit.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from arable.store.database import Tx


def among(tx: Tx, column: ColumnElement[Any], values: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a text column is one of `values`."""
    texts = list(values)
    if tx.dialect.name == "sqlite":
        given = bindparam(None, msgspec.json.encode(texts).decode(), type_=Text)
        return column.in_(select(func.json_each(given).table_valued("value").c.value))
    return column == func.any(bindparam(None, texts, type_=ARRAY(Text)))
