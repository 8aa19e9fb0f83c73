r"""A whole database as text, table by table, and back: the same text from either engine, for either engine.

The text is that of PostgreSQL's `COPY`: a line for each row, tabs between values, `\N` for null. PostgreSQL writes and
reads it by itself; SQLite writes it by an expression of SQL, so neither costs Python anything for a value. All tables
are read in one transaction that sees one moment and keeps nobody from writing (on SQLite by its write-ahead log).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Column, Table, inspect, text

from arable.domain.errors import Corrupt
from arable.store.database import Database, Tx
from arable.store.schema import metadata

CHUNK = 4 << 20  # bytes of text in one piece, about

_ROWS = 5000
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r"))
_SEPARATORS = bytes.maketrans(b"\xff\xfd", b"\t\n")
_PLAIN = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
_TRUTH = "case ? when 't' then 1 when 'f' then 0 else ? end"
_SQLITE_INDEXES = text(
    "select sql from sqlite_master where type = 'index' and sql is not null order by name"
)
_SQLITE_INDEX_NAMES = text(
    "select name from sqlite_master where type = 'index' and sql is not null order by name"
)
# Foreign keys before the indexes that they need; made again the other way round.
_POSTGRESQL_LATER = text("""
    select format('alter table %s drop constraint %I', conrelid::regclass, conname) as gone,
           format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    from pg_constraint where contype = 'f' and connamespace = current_schema()::regnamespace
    union all
    select format('drop index %I', c.relname), pg_get_indexdef(i.indexrelid)
    from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = current_schema()::regnamespace
      and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype <> 'f')
""")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as it is copied: what its lines hold, in order. `flags` are its truth values among them."""

    table: str
    columns: tuple[str, ...]
    flags: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises `Corrupt` for names that are none of ours: they become part of statements."""
        for name in (self.table, *self.columns):
            if not _NAME.fullmatch(name):
                raise Corrupt(f"{name!r} is not the name of a table or a column")
        if not set(self.flags) <= set(self.columns):
            raise Corrupt(f"{self.table}: not all of {self.flags} are among its columns")


def layouts() -> list[Layout]:
    """Every table of this version's schema, what others refer to first. What the engine computes is left out."""
    return [
        Layout(
            str(table.name),
            tuple(str(each.name) for each in _kept(table)),
            tuple(str(each.name) for each in _kept(table) if isinstance(each.type, Boolean)),
        )
        for table in metadata.sorted_tables
    ]


@contextmanager
def moment(database: Database) -> Iterator[Tx]:
    """A transaction in which everything is as it was at its first look."""
    if database.is_sqlite:
        with database.read() as tx:
            yield tx
        return
    options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with database.engine.connect().execution_options(**options) as tx, tx.begin():
        yield tx


def out(tx: Tx, layout: Layout) -> Iterator[bytes]:
    """The table's lines, whole ones in each piece."""
    kept = [metadata.tables[layout.table].c[name] for name in layout.columns]
    pieces = _from_sqlite(tx, layout, kept) if _sqlite(tx) else _from_postgresql(tx, layout)
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def take(tx: Tx, layout: Layout, pieces: Iterable[bytes]) -> int:
    """Put these lines into the empty table; how many. Foreign keys are looked at when the transaction ends, at the latest."""
    layout.check()
    return (_to_sqlite if _sqlite(tx) else _to_postgresql)(tx, layout, pieces)


def numbers(tx: Tx) -> dict[str, int]:
    """The last number that was drawn, for each table whose rows are numbered: none is ever drawn again."""
    if _sqlite(tx):
        return {str(name): int(last) for name, last in tx.execute(text("select name, seq from sqlite_sequence"))}  # fmt: skip
    found = {}
    for table, sequence in _sequences(tx):
        query = text(f"select case when is_called then last_value else 0 end from {sequence}")  # noqa: S608
        found[table] = int(tx.execute(query).scalar_one())
    return found


def go_on(tx: Tx, last: dict[str, int]) -> None:
    """Draw the next numbers after these."""
    for table, number in last.items():
        if _sqlite(tx):
            given = {"name": table, "number": number}
            tx.execute(text("delete from sqlite_sequence where name = :name"), given)
            tx.execute(text("insert into sqlite_sequence (name, seq) values (:name, :number)"), given)  # fmt: skip
        else:
            sequence = dict(_sequences(tx)).get(table)
            if sequence and number:
                tx.execute(text("select setval(:sequence, :number)"), {"sequence": sequence, "number": number})  # fmt: skip


@contextmanager
def taking(tx: Tx) -> Iterator[None]:
    """Around every `take`: rows that refer to each other may come in any order, and what looks after each row looks
    after all of them together at the end, which takes a third of the time.
    """
    if _sqlite(tx):
        tx.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        later = [str(row[0]) for row in tx.execute(_SQLITE_INDEXES)]
        names = [str(row[0]) for row in tx.execute(_SQLITE_INDEX_NAMES)]
        for name in names:
            tx.exec_driver_sql(f'drop index "{name}"')
    else:
        found = [(str(drop), str(make)) for drop, make in tx.execute(_POSTGRESQL_LATER)]
        for drop, _make in found:
            tx.exec_driver_sql(drop)
        later = [make for _drop, make in reversed(found)]
    yield
    for statement in later:
        tx.exec_driver_sql(statement.replace("%", "%%"))
    tx.exec_driver_sql("analyze")


def is_empty(tx: Tx) -> bool:
    """Whether there is no table at all."""
    return not inspect(tx).get_table_names()


def _kept(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if column.computed is None]


def _sqlite(tx: Tx) -> bool:
    return tx.dialect.name == "sqlite"


def _raw(tx: Tx) -> Any:
    """The driver's own connection."""
    raw = tx.connection.dbapi_connection
    assert raw is not None, "the transaction is open"
    return raw


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# --- PostgreSQL


def _from_postgresql(tx: Tx, layout: Layout) -> Iterator[bytes]:
    statement = f'copy (select {_quoted(layout.columns)} from "{layout.table}") to stdout'  # noqa: S608
    with _cursor(tx) as cursor, cursor.copy(statement) as copy:
        yield from map(bytes, copy)


def _to_postgresql(tx: Tx, layout: Layout, pieces: Iterable[bytes]) -> int:
    statement = f'copy "{layout.table}" ({_quoted(layout.columns)}) from stdin'
    with _cursor(tx) as cursor:
        with cursor.copy(statement) as copy:
            for piece in pieces:
                copy.write(piece)
        return int(cursor.rowcount)


def _cursor(tx: Tx) -> Any:
    return _raw(tx).cursor()


def _sequences(tx: Tx) -> list[tuple[str, str]]:
    """Tables whose rows are numbered, each with its sequence's name."""
    query = text("""
        select c.table_name, pg_get_serial_sequence(quote_ident(c.table_name), c.column_name)
        from information_schema.columns c
        where c.table_schema = current_schema()
          and pg_get_serial_sequence(quote_ident(c.table_name), c.column_name) is not null
    """)
    return [(str(table), str(sequence)) for table, sequence in tx.execute(query)]


# --- SQLite


def _from_sqlite(tx: Tx, layout: Layout, columns: Sequence[Column[Any]]) -> Iterator[bytes]:
    """A row comes as one value, put together from bytes that no text has; what they mean is said for many rows at once."""
    values = " || x'ff' || ".join(f"coalesce(\"{column.name}\", x'fe')" for column in columns)
    cursor = _raw(tx).cursor()
    try:
        cursor.execute(f'select cast({values} as blob) from "{layout.table}"')  # noqa: S608 - names of our own schema
        while rows := cursor.fetchmany(_ROWS):
            text = b"\xfd".join([*(row[0] for row in rows), b""])
            for byte, escaped in _ESCAPES:
                text = text.replace(byte, escaped)
            yield text.translate(_SEPARATORS).replace(b"\xfe", b"\\N")
    finally:
        cursor.close()


def _to_sqlite(tx: Tx, layout: Layout, pieces: Iterable[bytes]) -> int:
    """Columns turn digits into numbers by themselves; truth values alone have to be told (`t` is PostgreSQL's)."""
    slots = [
        _TRUTH.replace("?", f"?{at}") if name in layout.flags else f"?{at}"
        for at, name in enumerate(layout.columns, 1)
    ]
    statement = (
        f'insert into "{layout.table}" ({_quoted(layout.columns)}) values ({", ".join(slots)})'  # noqa: S608
    )
    cursor = _raw(tx).cursor()
    count = 0
    try:
        for piece in pieces:
            rows = [_values(line) for line in piece.decode().split("\n")[:-1]]
            cursor.executemany(statement, rows)
            count += len(rows)
    finally:
        cursor.close()
    return count


def _values(line: str) -> list[str | None]:
    if "\\" not in line:
        return list(line.split("\t"))
    return [None if each == "\\N" else _unescaped(each) for each in line.split("\t")]


def _unescaped(value: str) -> str:
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda found: _PLAIN.get(found[1], found[1]), value)
