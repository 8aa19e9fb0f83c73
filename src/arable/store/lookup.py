"""Statements about many ids, put into words once for each database.

What thousands of machines a second go through asks the same few questions again and again. To build such a statement
anew and to find it among those that SQLAlchemy has compiled costs more than the ten rows that it gives.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Executable, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from arable.store.database import Tx

Among = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""The condition that a text column is one of the ids that are asked for."""

_IDS = "asked_ids"


@dataclass(frozen=True, slots=True)
class _Words:
    text: str
    names: tuple[str, ...]  # of the places, in order; empty where they are named in the text
    given: Mapping[str, Any]  # values that are always the same


@dataclass(slots=True)
class Lookup:
    """`build` gets the condition and answers with the whole statement; its rows come as the driver has them.

    So columns should be in their stored form (`rows.raw`), and truth values are 0 and 1 on SQLite. Other values that
    differ from time to time are places with a name (`bindparam`).
    """

    build: Callable[[Among], Executable]
    _words: dict[str, _Words] = field(default_factory=dict)

    def rows(self, tx: Tx, ids: Iterable[str], **named: Any) -> list[Any]:
        """Those of these ids, and with these values in their places. Where there are no ids nobody is asked."""
        ids = list(ids)
        if not ids:
            return []
        dialect = tx.dialect.name
        words = self._words.get(dialect)
        if words is None:
            words = self._words[dialect] = self._put(tx)
        if dialect == "sqlite":
            given = {**words.given, **named, _IDS: msgspec.json.encode(ids).decode()}
            return list(
                tx.exec_driver_sql(words.text, tuple(given[name] for name in words.names)).all()
            )
        return list(tx.exec_driver_sql(words.text, {**words.given, **named, _IDS: ids}).all())

    def _put(self, tx: Tx) -> _Words:
        sqlite = tx.dialect.name == "sqlite"

        def among(column: ColumnElement[Any]) -> ColumnElement[bool]:
            if sqlite:
                given = bindparam(_IDS, type_=Text)
                return column.in_(select(func.json_each(given).table_valued("value").c.value))
            return column == func.any(bindparam(_IDS, type_=ARRAY(Text)))

        statement: Any = self.build(among)
        compiled = statement.compile(dialect=tx.dialect)
        given = {name: value for name, value in compiled.params.items() if name != _IDS}
        return _Words(str(compiled), tuple(compiled.positiontup or ()), given)
