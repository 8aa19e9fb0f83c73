"""The mastership, suspicions and the history of elections as rows. What they mean stands in `cluster/election.py`."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import OperationalError

from arable.domain.errors import Unavailable
from arable.domain.ids import SegmentId
from arable.domain.segment import NOBODY, Cause, Election, Mastership, Suspicion
from arable.store import schema
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.leases import MASTER
from arable.store.nudges import nudge

TOPIC = "elections"

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = 1000  # elections in the history
_LOCKED = "55P03"  # PostgreSQL's lock_not_available
_l, _s, _e = schema.lease.c, schema.suspicion.c, schema.election.c
# What every server asks each second is made once.
_MASTERSHIP = (
    select(_l.holder, _l.epoch, _l.until, _e.at)
    .outerjoin(schema.election, _e.epoch == _l.epoch)
    .where(_l.name == MASTER)
)
_SUSPICIONS = select(_s.by, _s.epoch, _s.since, _s.at, _s.why).order_by(_s.by)
_THROWN_OVER = text(f"""
    select count(*) from election where cause = '{Cause.SUSPECTED}' and at >= :since
""")  # noqa: S608 - our own word
_ABSOLVE = text("delete from suspicion where by = :by")
_EXTEND = text(f"""
    update lease set until = :until
    where name = '{MASTER}' and holder = :holder and epoch = :epoch and until > :now
""")  # noqa: S608 - our own word
_ROW = text("""
    insert into lease (name, holder, epoch, until) values (:name, '', 0, 0) on conflict (name) do nothing
""")
_SUSPECT = text("""
    insert into suspicion (by, epoch, since, at, why) values (:by, :epoch, :since, :at, :why)
    on conflict (by) do update set
      since = case when suspicion.epoch = excluded.epoch then suspicion.since else excluded.since end,
      epoch = excluded.epoch, at = excluded.at, why = excluded.why
""")


def prepare(tx: Tx) -> None:
    """There is a row to lock, even before the first election."""
    tx.execute(_ROW, {"name": MASTER})


def mastership(tx: Tx) -> Mastership:
    """As it is."""
    row = tx.execute(_MASTERSHIP).first()
    if row is None:
        return Mastership(NOBODY, 0, _NEVER, _NEVER)
    return Mastership(SegmentId(row[0]), row[1], row[2], row[3] or _NEVER)


def lock(tx: Tx) -> Mastership:
    """As it is, and as it stays until the end of this transaction.

    Waits for writes of the present master that are on their way, but not for long: raises `Unavailable` when one of
    them does not end, as that of a frozen server would not (`segments.hang_up`).
    """
    if tx.dialect.name != "sqlite":
        tx.execute(text("set local lock_timeout = '300ms'"))
    try:
        tx.execute(select(_l.epoch).where(_l.name == MASTER).with_for_update())
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCKED:
            raise Unavailable("a write of the present master does not end") from error
        raise
    return mastership(tx)


def elect(tx: Tx, won: Election, until: datetime) -> None:
    """Whoever won holds the lease with its epoch. Only under `lock`.

    Suspicions of the epochs before count for nothing and stay until those who said them take them back: whoever is
    frozen while it says one would hold us up.
    """
    tx.execute(
        update(schema.lease)
        .where(_l.name == MASTER)
        .values(holder=won.holder, epoch=won.epoch, until=until)
    )
    tx.execute(
        schema.election.insert().values(
            epoch=won.epoch, holder=won.holder, at=won.at, cause=won.cause, agreed=list(won.agreed)
        )
    )
    tx.execute(delete(schema.election).where(_e.epoch <= won.epoch - _KEPT))
    nudge(tx, TOPIC)


def renew(tx: Tx, holder: SegmentId, epoch: int, now: datetime, until: datetime) -> bool:
    """Whether it is still its own; a lease that has ended is not renewed, it is elected anew."""
    values = {"holder": holder, "epoch": epoch, "now": micros(now), "until": micros(until)}
    return tx.execute(_EXTEND, values).rowcount == 1


def resign(tx: Tx, holder: SegmentId, epoch: int, now: datetime) -> None:
    """The lease ends here, if it is still its own."""
    renew(tx, holder, epoch, now, now)


def suspect(tx: Tx, said: Suspicion) -> None:
    """Say, or say again."""
    values: dict[str, Any] = {"by": said.by, "epoch": said.epoch, "why": said.why}
    tx.execute(_SUSPECT, values | {"since": micros(said.since), "at": micros(said.at)})


def absolve(tx: Tx, by: SegmentId) -> None:
    """It suspects nobody any more."""
    tx.execute(_ABSOLVE, {"by": by})


def suspicions(tx: Tx) -> tuple[Suspicion, ...]:
    """All that were said and not taken back."""
    return tuple(
        Suspicion(SegmentId(by), epoch, since, at, why)
        for by, epoch, since, at, why in tx.execute(_SUSPICIONS)
    )


def thrown_over(tx: Tx, since: datetime) -> int:
    """How many elections by suspicion there were."""
    found: int = tx.execute(_THROWN_OVER, {"since": micros(since)}).scalar_one()
    return found


def history(tx: Tx, limit: int = 20) -> list[Election]:
    """The newest first."""
    query = (
        select(_e.epoch, _e.holder, _e.at, _e.cause, _e.agreed)
        .order_by(_e.epoch.desc())
        .limit(limit)
    )
    return [
        Election(
            epoch=epoch,
            holder=SegmentId(holder),
            at=at,
            cause=Cause(cause),
            agreed=tuple(SegmentId(each) for each in agreed),
        )
        for epoch, holder, at, cause, agreed in tx.execute(query)
    ]
