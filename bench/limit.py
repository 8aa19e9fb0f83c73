"""The baseline of deployments: the same rows, written by the database's driver and nothing else.

Rows that a run has left are written again into an empty database of the same kind and schema, in groups as large as
the run's: each group is three durable transactions (accepted, placed, running), as it is for the product. What one
process can reach that checks, decides, encodes and talks to nobody is the limit of any design with these rows.
"""

import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import make_url

from arable.store import schema as t
from arable.store.database import Database

MACHINES = 6000  # written again, at most

_MACHINES = "select id from machine where state = 'running' order by id limit {limit}"
_QUERIES = {
    "machine": "select {columns} from machine where id in ({machines})",
    "machine_boot": "select * from machine_boot where machine in ({machines})",
    "volume": "select * from volume where machine in ({machines})",
    "nic": "select * from nic where machine in ({machines})",
    "operation": "select * from operation where state = 'done' order by id desc limit {operations}",
    "event": "select * from event where subject in ({machines})",
    "manifest_item": """
        select * from manifest_item where (kind = 'guest' and id in ({machines}))
        or (kind = 'lease' and id in (select id from nic where machine in ({machines})))
    """,
}


@dataclass
class Rows:
    """Of so many machines, by table."""

    machines: int
    tables: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)

    def group(self, table: str, number: int, groups: int) -> list[tuple[Any, ...]]:
        """One group's share of a table."""
        rows = self.tables[table]
        return rows[len(rows) * number // groups : len(rows) * (number + 1) // groups]


def left(database: Database, count: int) -> Rows:
    """What a run of calls for `count` machines each has left."""
    with database.read() as tx:
        machines = _MACHINES.format(limit=MACHINES)
        found = len(tx.exec_driver_sql(machines).all())
        columns = _columns("machine")
        words = {
            "machines": machines,
            "operations": max(found // count, 1),
            "columns": columns,
        }
        rows = Rows(found)
        for table, query in _QUERIES.items():
            rows.tables[table] = [tuple(r) for r in tx.exec_driver_sql(query.format(**words))]
    return rows


def write(url: str, rows: Rows, size: int) -> float:
    """Machines per second into the empty database at `url`, in groups of so many machines."""
    database = Database(url)
    with database.write() as tx:
        t.metadata.create_all(tx)
    database.close()
    connection, place = _open(url)
    groups = max(rows.machines // size, 1)
    began = time.perf_counter()
    for number in range(groups):
        mine = {table: rows.group(table, number, groups) for table in rows.tables}
        _placed(connection, place, mine)
        _running(connection, place, mine)
    took = time.perf_counter() - began
    connection.close()
    return rows.machines / took


def _open(url: str) -> tuple[Any, str]:
    """As durable as the product's, and without a look at other tables: whom the rows name stayed behind."""
    if url.startswith("sqlite"):
        made = sqlite3.connect(url.removeprefix("sqlite:///"))
        made.execute("pragma journal_mode=wal")
        made.execute("pragma synchronous=full")
        made.execute("pragma cache_size=-65536")
        made.execute("pragma wal_autocheckpoint=8192")
        return made, "?"
    parts = make_url(url)
    connection = psycopg.connect(
        dbname=parts.database, user=parts.username, host=str(parts.query["host"])
    )
    connection.execute("set session_replication_role = replica")
    connection.commit()
    return connection, "%s"


def _many(connection: Any, statement: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        connection.cursor().executemany(statement, rows)


def _insert(connection: Any, place: str, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        places = ", ".join([place] * len(rows[0]))
        words = f'insert into "{table}" ({_columns(table)}) values ({places})'
        _many(connection, words, rows)


def _columns(table: str) -> str:
    """Those that are written; what a database works out by itself can't be."""
    every = t.metadata.tables[table].c
    return ", ".join(f'"{column.name}"' for column in every if column.computed is None)


def _placed(connection: Any, place: str, mine: dict[str, list[tuple[Any, ...]]]) -> None:
    for table in ("machine", "machine_boot", "volume", "nic", "operation", "manifest_item"):
        _insert(connection, place, table, mine[table])
    _insert(connection, place, "event", mine["event"][::2])
    connection.commit()


def _running(connection: Any, place: str, mine: dict[str, list[tuple[Any, ...]]]) -> None:
    _change(connection, place, "machine", "state = 'running', ran = 1", mine)
    _change(connection, place, "operation", "state = 'done'", mine)
    _insert(connection, place, "event", mine["event"][1::2])
    connection.commit()


def _change(
    connection: Any, place: str, table: str, what: str, mine: dict[str, list[tuple[Any, ...]]]
) -> None:
    ids = [(row[0],) for row in mine[table]]
    _many(connection, f"update {table} set {what} where id = {place}", ids)
