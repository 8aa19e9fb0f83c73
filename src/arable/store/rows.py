"""Rows in bulk: thousands of them in one call of the driver, as tuples that already look like columns.

SQLAlchemy's typed executemany costs 30-60 µs a row of thirty columns; a driver's own costs 5-15. So the stores that
write by the thousand turn their values into column form themselves (whole microseconds, JSON text) and come here.
Names of tables and columns come from the schema, never from a caller's input.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Select, String, Table, Text, select, type_coerce

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
        tx.exec_driver_sql(_insert(tx.dialect.name, table.name, names), list(rows))


def save_rows(tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
    """Compare-and-set many rows; how many were written.

    Each tuple is the new values in the order of `names` (`generation` among them), then the id and the generation
    that must be there now.
    """
    if not rows:
        return 0
    done = tx.exec_driver_sql(_update(tx.dialect.name, table.name, names), list(rows))
    return done.rowcount


def change_rows(
    tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Set columns of many rows: each tuple is their values in the order of `names`, then the row's id."""
    if rows:
        tx.exec_driver_sql(_change(tx.dialect.name, table.name, names), list(rows))


@cache
def _change(dialect: str, table: str, names: tuple[str, ...]) -> str:
    mark = place(dialect)
    sets = ", ".join(f'"{name}" = {mark}' for name in names)
    return f'update "{table}" set {sets} where id = {mark}'  # noqa: S608 - names of the schema


@cache
def _insert(dialect: str, table: str, names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    places = ", ".join([place(dialect)] * len(names))
    return f'insert into "{table}" ({columns}) values ({places})'  # noqa: S608 - names of the schema


@cache
def _update(dialect: str, table: str, names: tuple[str, ...]) -> str:
    mark = place(dialect)
    sets = ", ".join(f'"{name}" = {mark}' for name in names)
    return f'update "{table}" set {sets} where id = {mark} and generation = {mark}'  # noqa: S608 - names of the schema


def place(dialect: str) -> str:
    """How the database's driver marks the place of a value."""
    return "?" if dialect == "sqlite" else "%s"
