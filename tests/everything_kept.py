"""Every row of every table, to see that nothing changed; who asked and was refused may be in the audit."""

from sqlalchemy import select

from arable.store.database import Database
from arable.store.schema import metadata

_USE = {"used_at"}  # of a credential: not a change of what it is
# Made once: hundreds of tests look before and after, and to make a hundred statements anew took most of their time.
_STATEMENTS = {
    table.name: select(*(column for column in table.c if column.name not in _USE))
    for table in metadata.sorted_tables
}
_TEXTS = {name: str(statement) for name, statement in _STATEMENTS.items()}


def everything_kept(
    database: Database, *, but: tuple[str, ...] = ("audit",)
) -> dict[str, list[str]]:
    """By table, so that a failing test says where. Tables are named here by none, so none can be forgotten."""
    with database.read() as tx:
        return {
            name: sorted(map(repr, tx.execute(statement)))
            for name, statement in _STATEMENTS.items()
            if name not in but
        }


def every_row(database: Database) -> dict[str, list[str]]:
    """The same as the driver has it: to compare with what it was, not with another database nor with a text."""
    with database.read() as tx:
        cursor = tx.connection.cursor()
        kept = {}
        for name, text in _TEXTS.items():
            if name != "audit":
                cursor.execute(text)
                kept[name] = sorted(map(repr, cursor.fetchall()))
        cursor.close()
        return kept
