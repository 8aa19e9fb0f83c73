"""Other regions, and what they hold, as this region was told. All of it may be old; nothing here is its own.

What is told is numbered by the region that it is of: a snapshot replaces all that was known of that region, a change is
applied once and in its order, so pushing twice, late or in the wrong order does no harm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row, and_, delete, func, or_, select, text, update

from arable.domain.errors import NotFound
from arable.domain.grid import (
    Applied,
    CatalogueChange,
    CataloguedVersion,
    Peer,
    PeerState,
    VersionKey,
)
from arable.domain.manifest import ImagePart
from arable.store import kept
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge
from arable.store.rows import json_text, put_rows, stamp

TOPIC = "catalogue"
"""Nudged when more is known of other regions, or they can be reached again."""

_p, _r, _v, _h = t.grid_peer.c, t.grid_region.c, t.grid_version.c, t.grid_holding.c
_PEER = ("name", "url", "fingerprint", "authority", "state", "seen_at")
_VERSION = (
    *("region", "account", "image", "number", "digest", "parts"),
    *("public", "command_line", "minimum_memory_mib", "created_at"),
)
_OVER = "(region, account, image, number) do update set " + ", ".join(
    f"{name} = excluded.{name}" for name in _VERSION[4:]
)
_PUT_PEER = "(name) do update set " + ", ".join(f"{name} = excluded.{name}" for name in _PEER[1:])
_SEEN = text("""
    insert into grid_region (region, number, at) values (:region, :number, :at)
    on conflict (region) do update set number = excluded.number, at = excluded.at
""")


# --- peers


def peers(tx: Tx) -> list[Peer]:
    """All other regions, by name."""
    return [kept.value(Peer, row) for row in tx.execute(select(t.grid_peer).order_by(_p.name))]


def peer(tx: Tx, name: str) -> Peer:
    """One of them; raises `NotFound`."""
    row = tx.execute(select(t.grid_peer).where(_p.name == name)).first()
    if row is None:
        raise NotFound(f"the grid has no region named {name}")
    return kept.value(Peer, row)


class SeenPeer(NamedTuple):
    """How a region was seen last, and of when this region's knowledge of what it holds is."""

    state: PeerState
    seen_at: datetime | None
    known_at: datetime | None


def seen(tx: Tx, names: Iterable[str]) -> dict[str, SeenPeer]:
    """Of these regions, those that are known."""
    query = (
        select(_p.name, _p.state, _p.seen_at, _r.at)
        .join_from(t.grid_peer, t.grid_region, _r.region == _p.name, isouter=True)
        .where(among(tx, _p.name, names))
    )
    return {
        name: SeenPeer(PeerState(state), seen_at, known_at)
        for name, state, seen_at, known_at in tx.execute(query)
    }


def put_peers(tx: Tx, told: Iterable[Peer]) -> None:
    """These are known from now on, and as they are told here."""
    rows = [
        (
            each.name,
            each.url,
            each.fingerprint,
            each.authority,
            each.state.value,
            stamp(each.seen_at),
        )
        for each in told
    ]
    put_rows(tx, t.grid_peer, _PEER, rows, _PUT_PEER)
    nudge(tx, TOPIC)


def forget_peer(tx: Tx, name: str) -> None:
    """There is no such region any more, and nobody holds anything there."""
    tx.execute(delete(t.grid_peer).where(_p.name == name))
    for table in (t.grid_region, t.grid_version, t.grid_holding):
        tx.execute(delete(table).where(table.c.region == name))


def peer_seen(tx: Tx, name: str, state: PeerState, at: datetime) -> None:
    """It answered, or it did not: `seen_at` is when it last did."""
    values: dict[str, Any] = {"state": state.value}
    if state is PeerState.REACHED:
        values["seen_at"] = at
    tx.execute(update(t.grid_peer).where(_p.name == name).values(**values))


# --- what they hold


def known(tx: Tx) -> dict[str, tuple[int, datetime]]:
    """Of each region, the number of the last change that was applied, and when."""
    query = select(_r.region, _r.number, _r.at)
    return {region: (number, at) for region, number, at in tx.execute(query)}


def replace_region(
    tx: Tx,
    region: str,
    number: int,
    versions: Sequence[CataloguedVersion],
    parts: Iterable[str],
    at: datetime,
) -> Applied:
    """A snapshot: all that the region holds as of its change `number`. `KNOWN` when something newer is here."""
    before = _number(tx, region)
    if before is not None and before > number:
        return Applied.KNOWN
    tx.execute(delete(t.grid_version).where(_v.region == region))
    tx.execute(delete(t.grid_holding).where(_h.region == region))
    _put(tx, region, versions)
    _hold(tx, region, parts)
    tx.execute(_SEEN, {"region": region, "number": number, "at": micros(at)})
    nudge(tx, TOPIC)
    return Applied.NEW


def apply(tx: Tx, change: CatalogueChange, at: datetime) -> Applied:
    """One change; `GAP` when there was no snapshot yet, or a change before this one is missing."""
    before = _number(tx, change.region)
    if before is not None and before >= change.number:
        return Applied.KNOWN
    if before is None or before + 1 != change.number:
        return Applied.GAP
    _drop(tx, change.region, change.dropped)
    _put(tx, change.region, change.put)
    _hold(tx, change.region, change.parts)
    if change.parts_gone:
        gone = among(tx, _h.sha256, change.parts_gone)
        tx.execute(delete(t.grid_holding).where(_h.region == change.region, gone))
    tx.execute(_SEEN, {"region": change.region, "number": change.number, "at": micros(at)})
    nudge(tx, TOPIC)
    return Applied.NEW


def counts(tx: Tx) -> dict[str, int]:
    """How many versions each region holds."""
    query = select(_v.region, func.count()).group_by(_v.region)
    return {row[0]: row[1] for row in tx.execute(query)}


def holders(tx: Tx, parts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The regions that hold each of these parts, by name; parts that nobody holds are not in the answer."""
    query = select(_h.sha256, _h.region).where(among(tx, _h.sha256, parts))
    found: dict[str, list[str]] = {}
    for sha256, region in tx.execute(query.order_by(_h.sha256, _h.region)):
        found.setdefault(sha256, []).append(region)
    return {sha256: tuple(regions) for sha256, regions in found.items()}


def find(
    tx: Tx,
    image: str,
    *,
    account: str | None = None,
    number: int | None = None,
    digest: str | None = None,
) -> list[CataloguedVersion]:
    """Versions of images of that name: public ones, and those of the `account` (a path), the newest first.

    A version that several regions hold is there several times.
    """
    mine = or_(_v.public, _v.account == account) if account is not None else _v.public
    query = select(t.grid_version).where(_v.image == image, mine)
    if number is not None:
        query = query.where(_v.number == number)
    if digest is not None:
        query = query.where(_v.digest == digest)
    ordered = query.order_by(_v.number.desc(), _v.account, _v.region)
    return [_version(row) for row in tx.execute(ordered)]


def numbers(tx: Tx, images: Iterable[str]) -> dict[tuple[str, str], set[int]]:
    """Versions that other regions have of images of these names, by account (a path) and image."""
    query = select(_v.account, _v.image, _v.number).where(among(tx, _v.image, images)).distinct()
    found: dict[tuple[str, str], set[int]] = {}
    for account, image, number in tx.execute(query):
        found.setdefault((account, image), set()).add(number)
    return found


def with_digest(tx: Tx, digest: str) -> list[CataloguedVersion]:
    """Every version with that content, whoever's it is: for the system itself, never for a caller."""
    query = select(t.grid_version).where(_v.digest == digest).order_by(_v.region, _v.account)
    return [_version(row) for row in tx.execute(query)]


def _number(tx: Tx, region: str) -> int | None:
    found: int | None = tx.execute(
        select(_r.number).where(_r.region == region).with_for_update()
    ).scalar()
    return found


def _put(tx: Tx, region: str, versions: Iterable[CataloguedVersion]) -> None:
    rows = [
        (
            region,
            each.account,
            each.image,
            each.number,
            each.digest,
            json_text([asdict(part) for part in each.parts]),
            each.public,
            each.command_line,
            each.minimum_memory_mib,
            stamp(each.created_at),
        )
        for each in versions
    ]
    put_rows(tx, t.grid_version, _VERSION, rows, _OVER)


def _hold(tx: Tx, region: str, parts: Iterable[str]) -> None:
    rows = [(sha256, region) for sha256 in sorted(set(parts))]
    put_rows(tx, t.grid_holding, ("sha256", "region"), rows, "do nothing")


def _drop(tx: Tx, region: str, keys: Iterable[VersionKey]) -> None:
    for key in keys:
        here = and_(_v.account == key.account, _v.image == key.image, _v.number == key.number)
        tx.execute(delete(t.grid_version).where(_v.region == region, here))


def _version(row: Row[Any]) -> CataloguedVersion:
    return CataloguedVersion(
        region=row.region,
        account=row.account,
        image=row.image,
        number=row.number,
        digest=row.digest,
        parts=tuple(msgspec.convert(row.parts, tuple[ImagePart, ...])),
        public=row.public,
        command_line=row.command_line,
        minimum_memory_mib=row.minimum_memory_mib,
        created_at=row.created_at,
    )
