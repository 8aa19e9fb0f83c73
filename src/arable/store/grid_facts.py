"""What regions say of themselves, as rows: in the grid manager's store of all regions, in a region's its own and copies.

Which facts are kept is decided by `domain/region.py`; here they are read and written. In the grid manager's store each
write takes the next number (`seq`) with the counter's row held, so whoever asks for what came after a number misses
nothing, however many write at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Protocol

import msgspec
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)

from arable.domain.region import Fact, FactKey, FactKind
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among, among_given, given
from arable.store.rows import json_text, put_rows, raw

_f, _c, _q = t.grid_fact.c, t.grid_counter.c, t.grid_quarantine.c
_COLUMNS = ("region", "kind", "key", "version", "seq", "body", "audience")
_OVER = "(region, kind, key) do update set " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS[3:]
)
_COUNTER = "grid"
_HERE = (
    raw(t.grid_fact, _COLUMNS)
    .where(_f.region == bindparam("there"), _f.body.is_not(None))
    .order_by(_f.kind, _f.key)
)


@dataclass(frozen=True, slots=True)
class Known:
    """Versions of all that is kept of a region, and which of it is the case."""

    versions: dict[FactKey, int]
    live: frozenset[FactKey]


class Aside(Protocol):
    """A fact that could not be read, and why."""

    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def told(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Told:
    """A fact as others are told it: whose it is, and the number under which the grid manager learned of it."""

    region: str
    seq: int
    fact: Fact


def known(tx: Tx, region: str, keys: Iterable[FactKey] | None = None) -> Known:
    """Of a region all, or what is about these keys alone."""
    query = select(_f.kind, _f.key, _f.version, _f.body.is_not(None)).where(_f.region == region)
    if keys is not None:
        wanted = set(keys)
        query = query.where(among(tx, _f.key, {key for _kind, key in wanted}))
    versions: dict[FactKey, int] = {}
    live = set()
    for kind, key, version, there in tx.execute(query):
        versions[(kind, key)] = version
        if there:
            live.add((kind, key))
    return Known(versions, frozenset(live))


def put(tx: Tx, region: str, facts: Sequence[Fact], first: int = 0) -> None:
    """Keep these instead of what was kept of the same things; numbered from `first` on, if it is not 0."""
    rows = [
        (
            region,
            str(fact.kind),
            fact.key,
            fact.version,
            first + at if first else 0,
            None if fact.body is None else json_text(fact.body),
            fact.audience,
        )
        for at, fact in enumerate(facts)
    ]
    put_rows(tx, t.grid_fact, _COLUMNS, rows, _OVER)


def of(tx: Tx, region: str, *kinds: FactKind) -> list[Fact]:
    """What is the case there, of all kinds or of these."""
    values: dict[str, Any] = {"there": region}
    query = _HERE
    if kinds:
        values["some"] = given(tx, map(str, kinds))
        query = _of_kinds(tx.dialect.name)
    return [_fact(row) for row in tx.execute(query, values)]


@cache
def _of_kinds(dialect: str) -> Select[Any]:
    return _HERE.where(among_given(dialect, _f.kind, "some"))


def some(tx: Tx, region: str, kind: FactKind, keys: Iterable[str]) -> dict[str, Fact]:
    """What is the case there of a kind, by key, of these keys."""
    query = raw(t.grid_fact, _COLUMNS).where(
        _f.region == region,
        _f.kind == str(kind),
        among(tx, _f.key, sorted(set(keys))),
        _f.body.is_not(None),
    )
    return {row.key: _fact(row) for row in tx.execute(query)}


def page(
    tx: Tx,
    kind: FactKind,
    *,
    first: str = "",
    last: str = "",
    regions: Iterable[str] | None = None,
    after: tuple[str, str] = ("", ""),
    limit: int = 100,
) -> list[tuple[str, Fact]]:
    """What is the case of a kind in all regions, or these, with the region, by key and then region.

    Keys from `first` on, before `last`; `after` is the key and the region where the page before ended.
    """
    query = raw(t.grid_fact, _COLUMNS).where(_f.kind == str(kind), _f.body.is_not(None))
    if first:
        query = query.where(_f.key >= first)
    if last:
        query = query.where(_f.key < last)
    if regions is not None:
        query = query.where(among(tx, _f.region, sorted(set(regions))))
    if after[0]:
        query = query.where(tuple_(_f.key, _f.region) > tuple_(*map(literal, after)))
    found = tx.execute(query.order_by(_f.key, _f.region).limit(limit))
    return [(row.region, _fact(row)) for row in found]


def of_kinds(tx: Tx, kinds: Iterable[FactKind]) -> dict[str, list[Fact]]:
    """What is the case, of these kinds, in each region."""
    found: dict[str, list[Fact]] = {}
    query = raw(t.grid_fact, _COLUMNS).where(
        among(tx, _f.kind, map(str, kinds)), _f.body.is_not(None)
    )
    for row in tx.execute(query.order_by(_f.region, _f.kind, _f.key)):
        found.setdefault(row.region, []).append(_fact(row))
    return found


def after(tx: Tx, region: str, version: int, limit: int) -> list[Fact]:
    """What a region said since that version, the oldest first; what is gone among it."""
    query = raw(t.grid_fact, _COLUMNS).where(_f.region == region, _f.version > version)
    return [_fact(row) for row in tx.execute(query.order_by(_f.version).limit(limit))]


def last_version(tx: Tx, region: str) -> int:
    """The newest; 0: it said nothing yet."""
    return tx.execute(select(func.max(_f.version)).where(_f.region == region)).scalar() or 0


def has_version(tx: Tx, region: str, version: int) -> bool:
    """Whether a fact of exactly that version is kept."""
    query = select(_f.key).where(_f.region == region, _f.version == version).limit(1)
    return tx.execute(query).first() is not None


def counts(tx: Tx, kind: FactKind) -> dict[str, int]:
    """How many of a kind each region has."""
    query = (
        select(_f.region, func.count())
        .where(_f.kind == str(kind), _f.body.is_not(None))
        .group_by(_f.region)
    )
    return {row[0]: row[1] for row in tx.execute(query)}


def keys(tx: Tx, region: str, kind: FactKind) -> frozenset[str]:
    """What a region has of a kind."""
    where = (_f.region == region, _f.kind == str(kind), _f.body.is_not(None))
    return frozenset(tx.execute(select(_f.key).where(*where)).scalars())


def forget(tx: Tx, region: str) -> None:
    """All that it said."""
    tx.execute(delete(t.grid_fact).where(_f.region == region))


def forget_gone(tx: Tx, region: str, version: int) -> int:
    """What is gone as of that version or before; the newest number that it had."""
    where = (_f.region == region, _f.body.is_(None), _f.version <= version)
    newest = tx.execute(select(func.max(_f.seq)).where(*where)).scalar()
    if newest is not None:
        tx.execute(delete(t.grid_fact).where(*where))
    return newest or 0


# --- for the grid manager alone


def numbers(tx: Tx, count: int) -> int:
    """The first of so many further numbers. Who has them holds the counter until the transaction ends."""
    tx.execute(update(t.grid_counter).where(_c.id == _COUNTER).values(seq=_c.seq + count))
    last = tx.execute(select(_c.seq).where(_c.id == _COUNTER)).scalar()
    if last is None:
        tx.execute(insert(t.grid_counter).values(id=_COUNTER, seq=count, swept=0))
        last = count
    return last - count + 1


def hold(tx: Tx) -> None:
    """Let one at a time do what follows, until the transaction ends."""
    numbers(tx, 0)


def any_aside(tx: Tx, region: str) -> bool:
    """Whether something that a region said was put aside."""
    return tx.execute(select(_q.key).where(_q.region == region).limit(1)).first() is not None


def aside(tx: Tx, region: str) -> dict[FactKey, str]:
    """What of a region's facts could not be read, and why."""
    query = select(_q.kind, _q.key, _q.told).where(_q.region == region)
    return {(kind, key): told for kind, key, told in tx.execute(query)}


def put_aside(
    tx: Tx, region: str, bad: Iterable[Aside], good: Iterable[FactKey] | None, at: datetime
) -> None:
    """These can't be read, and those can again (None: all others)."""
    mine = delete(t.grid_quarantine).where(_q.region == region)
    bad = {(each.kind, each.key): each for each in bad}.values()
    if good is None:
        tx.execute(mine)
    else:
        again = {*good, *((each.kind, each.key) for each in bad)}
        for kind, key in sorted(again & aside(tx, region).keys()):
            tx.execute(mine.where(_q.kind == kind, _q.key == key))
    for each in bad:
        tx.execute(
            insert(t.grid_quarantine).values(
                region=region,
                kind=each.kind,
                key=each.key,
                version=each.version,
                told=each.told,
                at=at,
            )
        )


def counted(tx: Tx) -> tuple[int, int]:
    """The last number, and the number up to which something that is gone may be missing."""
    found = tx.execute(select(_c.seq, _c.swept).where(_c.id == _COUNTER)).first()
    return (found.seq, found.swept) if found else (0, 0)


def swept(tx: Tx, seq: int) -> None:
    """What was gone up to that number is known no more."""
    tx.execute(update(t.grid_counter).where(_c.id == _COUNTER, _c.swept < seq).values(swept=seq))


def since(tx: Tx, region: str, seq: int, audiences: Iterable[str], limit: int | None) -> list[Told]:
    """What other regions said, as far as `region` may know it, in the order of numbers.

    From the beginning (`seq` 0) what is gone is left out.
    """
    conditions: list[ColumnElement[bool]] = [_f.region != region, _f.seq > seq]
    conditions.append((_f.audience == "") | among(tx, _f.audience, audiences))
    if not seq:
        conditions.append(_f.body.is_not(None))
    query = raw(t.grid_fact, _COLUMNS).where(*conditions).order_by(_f.seq)
    if limit is not None:
        query = query.limit(limit)
    return [Told(row.region, row.seq, _fact(row)) for row in tx.execute(query)]


def _fact(row: Row[Any]) -> Fact:
    return Fact(
        kind=FactKind(row.kind),
        key=row.key,
        version=row.version,
        body=None if row.body is None else msgspec.json.decode(row.body),
        audience=row.audience,
    )
