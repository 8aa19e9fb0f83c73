"""A PostgreSQL that follows another one: how far it is, and how it takes the other's place.

Nothing here needs a superuser but `promote`, which one may grant (docs/operators.md, "A second site").
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from arable.domain.errors import Forbidden, Unavailable
from arable.store.database import Database, Tx

_STANDS_BY = text("select pg_is_in_recovery() or current_setting('transaction_read_only')::bool")
_BEHIND = text("""
    select pg_last_wal_replay_lsn()::text,
           coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint,
           pg_last_xact_replay_timestamp(),
           exists (select from pg_stat_wal_receiver where pid is not null)
""")
_REACHED = text("select pg_last_wal_replay_lsn() >= cast(:position as pg_lsn)")
_PROMOTE = text("select pg_promote(true, :seconds)")
_NAME = text("select quote_ident(current_database())")
_HANG_UP = text("""
    select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and usename = current_user and pid <> pg_backend_pid()
""")


class Behind(NamedTuple):
    """How far a replica is."""

    position: str  # of what it has done, in PostgreSQL's log
    waiting: int  # bytes that are here and not done yet
    last: datetime | None  # commit time of the last transaction that it did
    follows: bool  # the other one answers it


def is_replica(tx: Tx) -> bool:
    """Whether this follows another one."""
    return tx.dialect.name != "sqlite" and bool(
        tx.execute(text("select pg_is_in_recovery()")).scalar_one()
    )


def stands_by(database: Database) -> bool:
    """Whether nobody can write here for now: a replica, or one that is about to be none."""
    with database.read() as tx:
        return not database.is_sqlite and bool(tx.execute(_STANDS_BY).scalar_one())


def behind(tx: Tx) -> Behind:
    """How far this replica is."""
    return Behind._make(tx.execute(_BEHIND).one())


def has_reached(tx: Tx, position: str) -> bool:
    """Whether this replica has done all that was written up to there."""
    return bool(tx.execute(_REACHED, {"position": position}).scalar_one())


def position(tx: Tx) -> str:
    """Up to where this one, no replica, has written."""
    return str(tx.execute(text("select pg_current_wal_lsn()::text")).scalar_one())


def shut(database: Database) -> None:
    """Let nobody write here any more: new sessions can only read, and those of servers are ended."""
    with database.write() as tx:
        name = tx.execute(_NAME).scalar_one()
        tx.exec_driver_sql(f"alter database {name} set default_transaction_read_only = on")
    with database.write() as tx:
        tx.execute(_HANG_UP)


def reopen(database: Database) -> None:
    """Let new sessions write again: what was shut there came along to its replica."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql("set default_transaction_read_only = off")
        connection.commit()
        name = connection.execute(_NAME).scalar_one()
        connection.exec_driver_sql(f"alter database {name} reset default_transaction_read_only")
        connection.commit()
        connection.invalidate()
    database.close()


def promote(tx: Tx, seconds: int) -> None:
    """Be no replica any more. Raises `Forbidden` when this role may not, `Unavailable` when it takes longer."""
    try:
        done = tx.execute(_PROMOTE, {"seconds": seconds}).scalar_one()
    except ProgrammingError as error:
        raise Forbidden(
            "the database's role may not promote it: on the primary, an administrator must say"
            " `grant execute on function pg_promote to` that role, or promote it by hand now"
        ) from error
    if not done:
        raise Unavailable(f"PostgreSQL was not promoted within {seconds} seconds; its log says why")
