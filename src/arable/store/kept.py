"""How one value is kept as one row, where columns and fields have the same names: the nouns that change rarely.

What thousands of rows a second go through has its own way (`rows.py`); here clear and short is worth more. Every
change is a compare-and-set on the generation.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Row, Table, delete, insert, select, update

from arable.domain.errors import NotFound, Stale
from arable.store.database import Tx

V = TypeVar("V")


def value(kind: type[V], row: Row[Any]) -> V:
    """The value that a row keeps."""
    columns = {str(name): each for name, each in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public name for it
    return msgspec.convert(columns, kind)


def add(tx: Tx, table: Table, new: Any) -> None:
    """Keep a new value."""
    tx.execute(insert(table).values(**asdict(new)))


def save(tx: Tx, table: Table, changed: Any, what: str) -> None:
    """Keep the next generation of a value, unless somebody got there first."""
    here = (table.c.id == changed.id, table.c.generation == changed.generation - 1)
    if tx.execute(update(table).where(*here).values(**asdict(changed))).rowcount != 1:
        raise stale(what)


def get(
    tx: Tx, table: Table, kind: type[V], what: str, *where: ColumnElement[bool], lock: bool = False
) -> V:
    """The one value; raises `NotFound`. Locked, it stays as it is until this transaction ends."""
    query = select(table).where(*where)
    row = tx.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(f"there is no such {what}")
    return value(kind, row)


def page(
    tx: Tx,
    table: Table,
    kind: type[V],
    where: Sequence[ColumnElement[bool]],
    *,
    after: str | None,
    limit: int,
) -> list[V]:
    """Some values in order of age, by key."""
    query = select(table).where(*where).order_by(table.c.id).limit(limit)
    if after is not None:
        query = query.where(table.c.id > after)
    return [value(kind, row) for row in tx.execute(query)]


def forget(tx: Tx, table: Table, old: Any, what: str) -> None:
    """Remove a value as it was seen, unless it changed since."""
    here = (table.c.id == old.id, table.c.generation == old.generation)
    if tx.execute(delete(table).where(*here)).rowcount != 1:
        raise stale(what)


def stale(what: str) -> Stale:
    """Somebody got there first."""
    return Stale(f"the {what} changed meanwhile; read it again and decide anew")
