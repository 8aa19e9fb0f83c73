"""Rows in bulk: thousands of them in one call of the driver, as tuples that already look like columns.

SQLAlchemy's typed executemany costs 30-60 µs a row of thirty columns; a driver's own costs 5-15. So the stores that
write by the thousand turn their values into column form themselves (whole microseconds, JSON text) and come here.
Names of tables and columns come from the schema, never from a caller's input.

SQLite takes a statement for each row. PostgreSQL gets all rows as one JSON document in one statement: of 30 columns a
row takes 18 µs there instead of 43, and its client 2 instead of 15 (as arrays for `unnest` it would be 120 and 30).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    Select,
    String,
    Table,
    Text,
    select,
    type_coerce,
)

from arable.store.columns import Json, Moment, micros, moment
from arable.store.database import Tx

encoder = msgspec.json.Encoder()


def json_text(value: Any) -> str:
    """A JSON column's form."""
    return encoder.encode(value).decode()


def stamp(at: datetime | None) -> int | None:
    """A moment column's form."""
    return None if at is None else micros(at)


def stamped(value: int | None) -> datetime | None:
    """What a nullable moment column holds."""
    return None if value is None else moment(value)


def raw(table: Table, names: Iterable[str]) -> Select[Any]:
    """Select these columns in their stored form: no processor runs for each value, the mapping decodes what it needs."""
    return select(*(_raw(table.c[name]) for name in names))


def _raw(column: Column[Any]) -> Any:
    if isinstance(column.type, Moment):
        return type_coerce(column, BigInteger)
    if isinstance(column.type, Json):
        return type_coerce(column, Text)
    return type_coerce(column, String) if isinstance(column.type, String) else column


def insert_rows(
    tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Add rows given as tuples in the order of `names`."""
    if rows:
        _run(tx, _insert(tx.dialect.name, table, names), rows)


def save_rows(tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
    """Compare-and-set many rows; how many were written.

    Each tuple is the new values in the order of `names` (`generation` among them), then the id and the generation
    that must be there now.
    """
    if not rows:
        return 0
    return _run(tx, _update(tx.dialect.name, table, names), rows)


def change_rows(
    tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Set columns of many rows: each tuple is their values in the order of `names`, then the row's id."""
    if rows:
        _run(tx, _change(tx.dialect.name, table, names), rows)


def put_rows(
    tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]], clash: str
) -> None:
    """Add rows; `clash` says what to do about those whose key is there, as SQL has it after `on conflict`."""
    if rows:
        _run(tx, f"{_insert(tx.dialect.name, table, names)} on conflict {clash}", rows)


def _run(tx: Tx, words: str, rows: Sequence[tuple[Any, ...]]) -> int:
    if tx.dialect.name == "sqlite":
        return tx.exec_driver_sql(words, list(rows)).rowcount
    return tx.exec_driver_sql(words, (json_text(rows),)).rowcount


@cache
def _change(dialect: str, table: Table, names: tuple[str, ...]) -> str:
    return _updating(dialect, table, names, ("id",))


@cache
def _update(dialect: str, table: Table, names: tuple[str, ...]) -> str:
    return _updating(dialect, table, names, ("id", "generation"))


def _updating(dialect: str, table: Table, names: tuple[str, ...], found_by: tuple[str, ...]) -> str:
    if dialect == "sqlite":
        sets = ", ".join(f'"{name}" = ?' for name in names)
        where = " and ".join(f'"{name}" = ?' for name in found_by)
        return f'update "{table.name}" set {sets} where {where}'  # noqa: S608 - names of the schema
    sets = ", ".join(f'"{name}" = {_given(table, name, at)}' for at, name in enumerate(names))
    where = " and ".join(
        f'"{table.name}"."{name}" = {_given(table, name, at)}'
        for at, name in enumerate(found_by, len(names))
    )
    return f'update "{table.name}" set {sets} from {_GIVEN} where {where}'  # noqa: S608 - names of the schema


@cache
def _insert(dialect: str, table: Table, names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    if dialect == "sqlite":
        places = ", ".join("?" * len(names))
        return f'insert into "{table.name}" ({columns}) values ({places})'  # noqa: S608 - names of the schema
    values = ", ".join(_given(table, name, at) for at, name in enumerate(names))
    return f'insert into "{table.name}" ({columns}) select {values} from {_GIVEN}'  # noqa: S608 - names of the schema


_GIVEN = "jsonb_array_elements(%s::jsonb) as given"


def _given(table: Table, name: str, at: int) -> str:
    """A value of PostgreSQL's given rows, as its column wants it."""
    text = f"(given.value ->> {at})"
    kind = table.c[name].type
    if isinstance(kind, Boolean):
        return f"{text}::boolean"
    return f"{text}::bigint" if isinstance(kind, Integer | Moment) else text
