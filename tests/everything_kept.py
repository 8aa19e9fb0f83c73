"""Every row of every table, to see that nothing changed; who asked and was refused may be in the audit."""

from sqlalchemy import select

from arable.store.database import Database
from arable.store.schema import metadata

_USE = {"used_at"}  # of a credential: not a change of what it is


def everything_kept(
    database: Database, *, but: tuple[str, ...] = ("audit",)
) -> dict[str, list[str]]:
    """By table, so that a failing test says where. Tables are named here by none, so none can be forgotten."""
    kept = {}
    with database.read() as tx:
        for table in metadata.sorted_tables:
            if table.name not in but:
                columns = [column for column in table.c if column.name not in _USE]
                kept[table.name] = sorted(map(repr, tx.execute(select(*columns))))
    return kept
