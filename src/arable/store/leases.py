"""The lease of the master as a row, and what is asked of it by every write that a master decided.

Two locks that don't hold each other up: writers take the row `for key share` and the holder renews its end, which
leaves the key alone; an election takes it `for update`, so it waits for the writes that are on their way and refuses
those that come after.
"""

from datetime import datetime

from sqlalchemy import select, text

from arable.domain.errors import Conflict
from arable.store import schema
from arable.store.database import Tx

MASTER = "master"

_l = schema.lease.c
_HASTY = text("set local synchronous_commit = off")
_SURE = text("set local synchronous_commit = on")
_HELD = (
    select(_l.holder, _l.epoch).where(_l.name == MASTER).with_for_update(read=True, key_share=True)
)


def now(tx: Tx, ours: datetime) -> datetime:
    """The time that counts: the database's, which all servers share; `ours` where it has no other user."""
    if tx.dialect.name == "sqlite":
        return ours
    shared: datetime = tx.execute(text("select clock_timestamp()")).scalar_one()
    return shared


def hastily(tx: Tx, *, on: bool = True) -> None:
    """Whether this transaction's commit is not waited for to be on disk.

    For heartbeats: one that a crash of the database takes back was only older than we thought, and a disk that is busy
    with others' work should not make its server look dead.
    """
    if tx.dialect.name != "sqlite":
        tx.execute(_HASTY if on else _SURE)


def demand(tx: Tx, holder: str, epoch: int) -> None:
    """Raises `Conflict` unless it is master with this epoch, and keeps it so until the end of this transaction."""
    row = tx.execute(_HELD).first()
    if row is None or (row[0], row[1]) != (holder, epoch):
        raise Conflict("the mastership is no longer held", detail=f"{holder} had epoch {epoch}")
