"""Rows in bulk: thousands of them in one call of the driver, as tuples that already look like columns.

SQLAlchemy's typed executemany costs 30-60 µs a row of thirty columns; a driver's own costs 5-15. So the stores that
write by the thousand turn their values into column form themselves (whole microseconds, JSON text) and come here.
Names of tables and columns come from the schema, never from a caller's input.

SQLite gets them by sixty-fours and by sixteens, and the rest one by one. Its driver lets go of the interpreter's lock for
each step, and has to wait for it again where another thread took it; so one step for many rows has the database work
beside the other threads, and a row of 36 columns takes 6 µs instead of 9. PostgreSQL gets all rows as one JSON document in
one statement: of 30 columns a row takes 18 µs there instead of 43, and its client 2 instead of 15 (as arrays for
`unnest` it would be 120 and 30).
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from itertools import chain
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
from arable.store.copied import COPIED, copy_rows
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
    if len(rows) < COPIED or tx.dialect.name == "sqlite":
        if rows:
            _run(tx, _insert, table, names, rows)
        return
    copy_rows(tx, table, names, rows)


def save_rows(tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> int:
    """Compare-and-set many rows, of different ids; how many were written.

    Each tuple is the new values in the order of `names` (`generation` among them), then the id and the generation
    that must be there now.
    """
    return _run(tx, _save, table, names, rows) if rows else 0


def change_rows(
    tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Set columns of many rows: each tuple is their values in the order of `names`, then the row's id, once each."""
    if rows:
        _run(tx, _change, table, names, rows)


def put_rows(
    tx: Tx, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]], clash: str
) -> None:
    """Add rows; `clash` says what to do about those whose key is there, as SQL has it after `on conflict`."""
    if rows:
        _run(tx, _insert, table, names, rows, f" on conflict {clash}")


_Words = Callable[[str, Table, tuple[str, ...], int], str]
"""A statement for a dialect, a table, its columns and so many rows (SQLite alone)."""


def _run(
    tx: Tx,
    words: _Words,
    table: Table,
    names: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
    more: str = "",
) -> int:
    if tx.dialect.name != "sqlite":
        return tx.exec_driver_sql(
            words("postgresql", table, names, 1) + more, (json_text(rows),)
        ).rowcount
    done, written = 0, 0
    for most in () if _SAVEPOINT in tx.info else _AT_ONCE:
        while len(rows) - done >= most:
            values = tuple(chain.from_iterable(rows[done : done + most]))
            said = words("sqlite", table, names, most) + more
            written += tx.exec_driver_sql(said, values).rowcount
            done += most
    if done < len(rows):
        said = words("sqlite", table, names, 1) + more
        written += tx.exec_driver_sql(said, list(rows[done:])).rowcount
    return written


_AT_ONCE = (64, 16)
_SAVEPOINT = "arable-savepoint"


def within_savepoint(tx: Tx, is_so: bool) -> None:
    """Whoever makes a savepoint says so: within one SQLite pays for a statement of many rows what it costs and more."""
    if is_so:
        tx.info[_SAVEPOINT] = True
    else:
        tx.info.pop(_SAVEPOINT, None)


@cache
def _change(dialect: str, table: Table, names: tuple[str, ...], count: int) -> str:
    return _updating(dialect, table, names, ("id",), count)


@cache
def _save(dialect: str, table: Table, names: tuple[str, ...], count: int) -> str:
    return _updating(dialect, table, names, ("id", "generation"), count)


def _updating(
    dialect: str, table: Table, names: tuple[str, ...], found_by: tuple[str, ...], count: int
) -> str:
    if dialect == "sqlite" and count == 1:
        sets = ", ".join(f'"{name}" = ?' for name in names)
        where = " and ".join(f'"{name}" = ?' for name in found_by)
        return f'update "{table.name}" set {sets} where {where}'  # noqa: S608 - names of the schema
    every = (*names, *found_by)
    if dialect == "sqlite":
        source = f"(values {_places(len(every), count)}) as given"
        values = [f"given.column{at}" for at in range(1, len(every) + 1)]
    else:
        source = _GIVEN
        values = [_given(table, name, at) for at, name in enumerate(every)]
    split = len(names)
    sets = ", ".join(f'"{name}" = {value}' for name, value in zip(names, values, strict=False))
    where = " and ".join(
        f'"{table.name}"."{name}" = {value}'
        for name, value in zip(found_by, values[split:], strict=True)
    )
    return f'update "{table.name}" set {sets} from {source} where {where}'  # noqa: S608 - names of the schema


@cache
def _insert(dialect: str, table: Table, names: tuple[str, ...], count: int) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    if dialect == "sqlite":
        return f'insert into "{table.name}" ({columns}) values {_places(len(names), count)}'  # noqa: S608 - names of the schema
    values = ", ".join(_given(table, name, at) for at, name in enumerate(names))
    return f'insert into "{table.name}" ({columns}) select {values} from {_GIVEN}'  # noqa: S608 - names of the schema


def _places(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


_GIVEN = "jsonb_array_elements(%s::jsonb) as given"


def _given(table: Table, name: str, at: int) -> str:
    """A value of PostgreSQL's given rows, as its column wants it."""
    text = f"(given.value ->> {at})"
    kind = table.c[name].type
    if isinstance(kind, Boolean):
        return f"{text}::boolean"
    return f"{text}::bigint" if isinstance(kind, Integer | Moment) else text
