"""What a schema has lost compared to an earlier one, as the earlier version's code would find out."""

from collections.abc import Iterator

from sqlalchemy import Connection, inspect


def losses(before: Connection, after: Connection) -> list[str]:
    """Why the version that works with `before` could not work with `after`; empty when it can."""
    return sorted({*_tables(before, after), *_columns(before, after), *_demands(before, after)})


def _tables(before: Connection, after: Connection) -> Iterator[str]:
    there = set(inspect(after).get_table_names())
    for table in inspect(before).get_table_names():
        if table not in there:
            yield f"table {table} is gone"


def _columns(before: Connection, after: Connection) -> Iterator[str]:
    one, other = inspect(before), inspect(after)
    for table in set(one.get_table_names()) & set(other.get_table_names()):
        old = {column["name"]: column for column in one.get_columns(table)}
        new = {column["name"]: column for column in other.get_columns(table)}
        for name, column in old.items():
            if name not in new:
                yield f"column {table}.{name} is gone"
            elif str(new[name]["type"]) != str(column["type"]):
                yield f"column {table}.{name} is another type"
            elif column["nullable"] and not new[name]["nullable"]:
                yield f"column {table}.{name} must be given now"
            elif column["default"] is not None and new[name]["default"] is None:
                yield f"column {table}.{name} has lost its default"
        for name in new.keys() - old.keys():
            column = new[name]
            if not column["nullable"] and column["default"] is None and not column.get("computed"):
                yield f"column {table}.{name} is new and must be given"


def _demands(before: Connection, after: Connection) -> Iterator[str]:
    """Rows that were right may not be wrong now. Between old tables and new ones anything may be demanded."""
    one, other = inspect(before), inspect(after)
    for table in set(one.get_table_names()) & set(other.get_table_names()):
        for what, ask in (
            ("unique", lambda at, t=table: {tuple(u["column_names"]) for u in at.get_unique_constraints(t)}),
            ("unique index", lambda at, t=table: {tuple(i["column_names"]) for i in at.get_indexes(t) if i["unique"]}),
            ("check", lambda at, t=table: {str(c["name"]) for c in at.get_check_constraints(t)}),
            ("foreign key", lambda at, t=table: {tuple(f["constrained_columns"]) for f in at.get_foreign_keys(t)}),
        ):  # fmt: skip
            for new in sorted(ask(other) - ask(one), key=str):
                yield f"{table} demands more: {what} {new}"
