"""Farms that have parts in other regions, and farms here that are such parts."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Text, and_, cast, delete, exists, insert, or_, select, update

from arable.domain.farm_part import REMEMBERED, FarmPart, Partner
from arable.domain.ids import AccountId, BlueprintId, FarmId
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge

TOPIC = "farm-regions"
"""Nudged when another region is to be told something of a farm."""

_r, _p = t.farm_region.c, t.farm_partner.c


def of(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, list[FarmPart]]:
    """The parts that these farms have elsewhere, by region. Whoever calls has looked the farms up with a scope."""
    found: dict[FarmId, list[FarmPart]] = {}
    query = select(t.farm_region).where(among(tx, _r.farm, farms)).order_by(_r.farm, _r.region)
    for row in tx.execute(query):
        found.setdefault(row.farm, []).append(kept.value(FarmPart, row))
    return found


def held(tx: Tx, farm: FarmId) -> dict[str, FarmPart]:
    """The same of one farm by region; nobody else changes them before this transaction ends."""
    query = select(t.farm_region).where(_r.farm == farm).order_by(_r.region).with_for_update()
    return {row.region: kept.value(FarmPart, row) for row in tx.execute(query)}


def put(tx: Tx, part: FarmPart) -> None:
    """Keep it as it is now."""
    here = (_r.farm == part.farm, _r.region == part.region)
    if tx.execute(update(t.farm_region).where(*here).values(**asdict(part))).rowcount != 1:
        tx.execute(insert(t.farm_region).values(**asdict(part)))
    nudge(tx, TOPIC)


def note(tx: Tx, part: FarmPart) -> None:
    """The same, of what asks for nothing new."""
    here = (_r.farm == part.farm, _r.region == part.region)
    tx.execute(update(t.farm_region).where(*here).values(**asdict(part)))


def drop(tx: Tx, part: FarmPart) -> None:
    """Nothing is left of it there."""
    tx.execute(delete(t.farm_region).where(_r.farm == part.farm, _r.region == part.region))


def any_of(tx: Tx, farm: FarmId) -> bool:
    """Whether it has parts elsewhere, such as are to go among them."""
    return bool(tx.execute(select(exists().where(_r.farm == farm))).scalar())


def made_of(tx: Tx, blueprint: BlueprintId, account: AccountId | None) -> list[FarmPart]:
    """Parts, locked, with which that blueprint goes; of one account, or of any. For what is seldom: it reads their documents."""
    where = [cast(_r.spec, Text).contains(blueprint, autoescape=True)]
    if account is not None:
        where.append(_r.account == account)
    query = select(t.farm_region).where(*where).order_by(_r.farm, _r.region).with_for_update()
    return [kept.value(FarmPart, row) for row in tx.execute(query)]


def reading(tx: Tx, account: AccountId, *said: str) -> list[FarmPart]:
    """Parts of the account, locked, of which one of these words is said; for what is seldom, as it reads their documents."""
    text = cast(_r.spec, Text)
    any_of_them = or_(*(text.contains(each, autoescape=True) for each in said))
    query = select(t.farm_region).where(_r.account == account, ~_r.gone, any_of_them)
    found = tx.execute(query.order_by(_r.farm, _r.region).with_for_update())
    return [kept.value(FarmPart, row) for row in found]


def waits_for(tx: Tx, account: AccountId, name: str) -> bool:
    """Whether a part of the account may wait for a volume of that name."""
    said = cast(_r.spec, Text).contains(name, autoescape=True)
    return tx.execute(select(_r.farm).where(_r.account == account, ~_r.gone, said).limit(1)).first() is not None  # fmt: skip


def is_told_of(tx: Tx, region: str, sha256: str) -> bool:
    """Whether a part in that region is to read what has that (well-formed) digest, and it is of the part's own account."""
    a, i, v, p = t.account.c, t.image.c, t.image_version.c, t.image_version_part.c
    query = (
        select(p.image)
        .select_from(t.image_version_part)
        .join(t.image_version, and_(v.image == p.image, v.number == p.number))
        .join(t.image, i.id == p.image)
        .join(t.account, a.id == i.account)
        .join(t.farm_region, and_(_r.account == i.account, _r.region == region, ~_r.gone))
        .where(
            *(p.sha256 == sha256, i.home != "", a.enabled, ~v.arriving),
            cast(_r.spec, Text).contains(sha256, autoescape=True),
        )
    )
    return tx.execute(query.limit(1)).first() is not None


def due(tx: Tx, at: datetime, limit: int, but: Collection[str] = ()) -> Sequence[FarmPart]:
    """Of which other regions, `but` these, are to be told, or asked, now; those that wait for longest first."""
    query = select(t.farm_region).where(_r.due_at <= at, _r.region.not_in(sorted(but)))
    query = query.order_by(_r.due_at, _r.farm).limit(limit)
    return [kept.value(FarmPart, row) for row in tx.execute(query)]


def keyed_before(tx: Tx, at: datetime, limit: int) -> Sequence[FarmId]:
    """Farms whose links to other regions have had their keys since before that."""
    query = select(_r.farm).where(_r.keyed_at < at).order_by(_r.keyed_at, _r.farm).limit(limit)
    return list(dict.fromkeys(FarmId(id_) for id_ in tx.scalars(query)))


# --- at the other end


def partner(tx: Tx, region: str, home: str, *, lock: bool = False) -> Partner | None:
    """The part here of that region's farm; also one that was let go."""
    query = select(t.farm_partner).where(_p.region == region, _p.home == home)
    row = tx.execute(query.with_for_update() if lock else query).first()
    return None if row is None else kept.value(Partner, row)


def homes(tx: Tx, farms: Iterable[FarmId]) -> dict[FarmId, Partner]:
    """Those of these farms that are parts of others. Whoever calls has looked them up with a scope."""
    rows = tx.execute(select(t.farm_partner).where(among(tx, _p.farm, farms)))
    return {row.farm: kept.value(Partner, row) for row in rows}


def put_partner(tx: Tx, partner: Partner) -> None:
    """Keep it as it is now."""
    here = (_p.region == partner.region, _p.home == partner.home)
    values = asdict(partner)
    if tx.execute(update(t.farm_partner).where(*here).values(**values)).rowcount != 1:
        tx.execute(insert(t.farm_partner).values(**values))


def forget_partners(tx: Tx, at: datetime) -> None:
    """Those that went long ago."""
    tx.execute(
        delete(t.farm_partner).where(
            _p.gone, _p.changed_at < at - REMEMBERED, ~exists().where(t.farm.c.id == _p.farm)
        )
    )
