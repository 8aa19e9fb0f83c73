"""Leases as rows: read, claimed and renewed by compare-and-set, and asked for by every write that depends on one."""

from datetime import datetime

from sqlalchemy import select, text

from arable.domain.errors import Conflict
from arable.store import schema
from arable.store.database import Tx

_l = schema.lease.c
_CLAIM = text("""
    insert into lease (name, holder, epoch, until) values (:name, :holder, :epoch, :until)
    on conflict (name) do update set holder = excluded.holder, epoch = excluded.epoch, until = excluded.until
    where lease.epoch < excluded.epoch or (lease.epoch = excluded.epoch and lease.holder = excluded.holder)
""")


def get(tx: Tx, name: str) -> tuple[str, int, datetime] | None:
    """Holder, epoch and end."""
    row = tx.execute(select(_l.holder, _l.epoch, _l.until).where(_l.name == name)).first()
    return None if row is None else (row[0], row[1], row[2])


def now(tx: Tx, ours: datetime) -> datetime:
    """The time that counts for leases: the database's, which all servers share; `ours` where it has no other user."""
    if tx.dialect.name == "sqlite":
        return ours
    shared: datetime = tx.execute(text("select clock_timestamp()")).scalar_one()
    return shared


def put(tx: Tx, name: str, holder: str, epoch: int, until_micros: int) -> bool:
    """Claim (a higher epoch) or renew (the same epoch and holder); False when somebody was faster."""
    done = tx.execute(
        _CLAIM, {"name": name, "holder": holder, "epoch": epoch, "until": until_micros}
    )
    return done.rowcount == 1


def demand(tx: Tx, name: str, holder: str, epoch: int) -> None:
    """Raises `Conflict` unless the lease is still held so, and keeps it so until the end of this transaction."""
    query = select(_l.holder, _l.epoch).where(_l.name == name).with_for_update(read=True)
    row = tx.execute(query).first()
    if row is None or (row[0], row[1]) != (holder, epoch):
        raise Conflict(f"the lease {name} is no longer held", detail=f"{holder} had epoch {epoch}")
