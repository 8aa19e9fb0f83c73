"""Farms whose work fails, as rows: what their holder found, for operators and for whoever holds them next."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select, text

from arable.domain.ids import FarmId, SegmentId
from arable.store import alerts, schema
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.nudges import nudge

_t, _f, _a = schema.farm_trouble.c, schema.farm.c, schema.account.c
_NOTE = text("""
    insert into farm_trouble (farm, server, tries, told, since, tried_at)
    values (:farm, :server, :tries, :told, :at, :at)
    on conflict (farm) do update set
      server = excluded.server, tries = excluded.tries, told = excluded.told, tried_at = excluded.tried_at
""")
_ALL = (
    select(schema.farm_trouble, (_a.name + "/" + _f.name).label("name"))
    .join(schema.farm, _f.id == _t.farm)
    .join(schema.account, _a.id == _f.account)
    .order_by(_t.since, _t.farm)
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A farm, by id and by its account's name and its own."""

    farm: FarmId
    name: str
    server: SegmentId
    tries: int
    told: str
    since: datetime
    tried_at: datetime


def note(tx: Tx, farm: FarmId, server: SegmentId, tries: int, told: str, at: datetime) -> None:
    """Its work failed, for the so-manieth time in a row."""
    values = {"farm": farm, "server": server, "tries": tries, "told": told, "at": micros(at)}
    tx.execute(_NOTE, values)
    nudge(tx, alerts.TOPIC)


def over(tx: Tx, farm: FarmId) -> None:
    """It works again."""
    tx.execute(delete(schema.farm_trouble).where(_t.farm == farm))
    nudge(tx, alerts.TOPIC)


_OF = (
    select(_t.farm, _t.tries)
    .join(schema.farm, _f.id == _t.farm)
    .where(_f.holder == bindparam("holding"), _f.confirmed == _f.epoch)
)


def of(tx: Tx, holder: SegmentId) -> dict[FarmId, int]:
    """Of the farms that it holds: those in trouble, and how often they were tried."""
    return {FarmId(farm): tries for farm, tries in tx.execute(_OF, {"holding": holder})}


def every(tx: Tx, limit: int) -> list[Trouble]:
    """Those in trouble for longest first."""
    return [
        Trouble(
            farm=FarmId(row.farm),
            name=row.name,
            server=SegmentId(row.server),
            tries=row.tries,
            told=row.told,
            since=row.since,
            tried_at=row.tried_at,
        )
        for row in tx.execute(_ALL.limit(limit))
    ]
