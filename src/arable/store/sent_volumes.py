"""Shared volumes of this region that parts of farms in others read, and the image versions that have what is on them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from arable.domain.ids import AccountId, VolumeId
from arable.domain.volume_copies import SentVolume
from arable.store import farm_regions, kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.nudges import nudge

_s = t.sent_volume.c


def get(tx: Tx, volume: VolumeId, *, lock: bool = False) -> SentVolume | None:
    """None: no other region reads it."""
    query = select(t.sent_volume).where(_s.volume == volume)
    row = tx.execute(query.with_for_update() if lock else query).first()
    return None if row is None else kept.value(SentVolume, row)


def put(tx: Tx, sent: SentVolume) -> None:
    """Keep it as it is now. Of a new one somebody else may have been the first: then theirs stays."""
    values = asdict(sent)
    if tx.execute(update(t.sent_volume).where(_s.volume == sent.volume).values(**values)).rowcount != 1:  # fmt: skip
        tx.execute(insert(t.sent_volume).values(**values))
    nudge(tx, farm_regions.TOPIC)


def drop(tx: Tx, volume: VolumeId) -> None:
    """No other region reads it any more."""
    tx.execute(delete(t.sent_volume).where(_s.volume == volume))


def wake(tx: Tx, account: AccountId, at: datetime) -> None:
    """Parts of the account's farms were changed: have all of its looked at."""
    changed = update(t.sent_volume).where(_s.account == account)
    if tx.execute(changed.values(due_at=at)).rowcount:
        nudge(tx, farm_regions.TOPIC)


def look_again(tx: Tx, at: datetime) -> None:
    """What is on them may be another thing than the store knows, which was set back: it is copied anew."""
    tx.execute(update(t.sent_volume).values(shares=_s.shares + 1, operation=None, due_at=at))


def due(tx: Tx, at: datetime, limit: int) -> Sequence[SentVolume]:
    """Those that are to be looked at now; those that wait for longest first."""
    query = select(t.sent_volume).where(_s.due_at <= at).order_by(_s.due_at, _s.volume).limit(limit)
    return [kept.value(SentVolume, row) for row in tx.execute(query)]
