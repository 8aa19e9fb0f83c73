"""Regions of the grid as rows, the tokens by which they join, and a region's own link to the grid manager."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from arable.domain.errors import Conflict, Forbidden, NotFound
from arable.domain.ids import GridTokenId, RegionId
from arable.domain.region import Member, MemberState
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "region"
TOPIC = "grid"
"""Nudged when a region joins or leaves a grid, at the region."""

_m, _k, _l = t.grid_member.c, t.grid_token.c, t.grid_link.c
_LINK = "grid"
_LINKED = select(*(c for c in t.grid_link.c if c.name != "id")).where(_l.id == _LINK)
_LINKED_ALONE = _LINKED.with_for_update()


@dataclass(frozen=True, slots=True, kw_only=True)
class GridToken:
    """Lets one region join, once. `region`: it alone may."""

    id: GridTokenId
    region: str | None = None
    secret_hash: str
    request_hash: str = ""
    used_by: RegionId | None = None
    expires_at: datetime
    used_at: datetime | None = None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A region's place in its grid.

    `acked`: up to which version of its facts the grid manager has them; `cursor`: up to which number of the grid
    manager's it has others'; `incarnation`: of whose numbers.
    """

    region: str
    grid: str  # HOST:PORT
    authorities: tuple[str, ...]
    certificate: str
    key_sealed: str
    incarnation: str = ""
    acked: int = 0
    cursor: int = 0
    told: str = ""
    tried_at: datetime | None = None
    heard_at: datetime | None = None
    snapshot_at: datetime | None = None
    refused: tuple[str, ...] = ()  # facts that could not be read, there or here
    joined_at: datetime | None = None


def get(tx: Tx, region: RegionId, *, lock: bool = False) -> Member:
    """Raises `NotFound`."""
    return kept.get(tx, t.grid_member, Member, WHAT, _m.id == region, lock=lock)


def by_name(tx: Tx, name: str, *, lock: bool = False) -> Member | None:
    """One of them."""
    query = select(t.grid_member).where(_m.name == name)
    row = tx.execute(query.with_for_update() if lock else query).first()
    return None if row is None else kept.value(Member, row)


def demand(tx: Tx, name: str, epoch: int) -> None:
    """Raises `Forbidden` unless that region is in the grid, and its certificates are of that epoch."""
    found = by_name(tx, name)
    if found is None:
        raise Forbidden(
            f"{name} is not known here as a region of the grid; it will be in a moment if it has just joined"
        )
    if found.state is MemberState.GONE or found.epoch != epoch:
        raise Forbidden(f"{name} is not in the grid any more, or not by this certificate")


def check_no_region(tx: Tx) -> None:
    """Raises `Conflict` for the database of a management server: a grid manager has one of its own."""
    if tx.execute(select(t.segment.c.id).limit(1)).first() is not None:
        raise Conflict(
            "this is the database of a region's management servers; the grid manager needs one of its own"
        )


def page(
    tx: Tx, name: str | None = None, *, after: str | None = None, limit: int = 1000
) -> list[Member]:
    """By age."""
    where = [] if name is None else [_m.name == name]
    return kept.page(tx, t.grid_member, Member, where, after=after, limit=limit)


def every(tx: Tx) -> list[Member]:
    """All of them, by name."""
    return [kept.value(Member, row) for row in tx.execute(select(t.grid_member).order_by(_m.name))]


def add(tx: Tx, member: Member) -> None:
    """A new one."""
    kept.add(tx, t.grid_member, member)


def save(tx: Tx, member: Member) -> None:
    """As it is now; it was locked."""
    tx.execute(update(t.grid_member).where(_m.id == member.id).values(**asdict(member)))


def replace_all(tx: Tx, members: Iterable[Member]) -> None:
    """A region's copy of all of them, as it was told."""
    tx.execute(delete(t.grid_member))
    rows = [asdict(each) for each in members]
    if rows:
        tx.execute(insert(t.grid_member), rows)


# --- tokens


def add_token(tx: Tx, token: GridToken) -> None:
    """A new one."""
    kept.add(tx, t.grid_token, token)


def token_by_hash(tx: Tx, secret_hash: str) -> GridToken | None:
    """The token whose secret has this digest, locked."""
    query = select(t.grid_token).where(_k.secret_hash == secret_hash).with_for_update()
    row = tx.execute(query).first()
    return None if row is None else kept.value(GridToken, row)


def use_token(
    tx: Tx, token: GridTokenId, region: RegionId, request_hash: str, at: datetime
) -> bool:
    """False when somebody else has."""
    done = tx.execute(
        update(t.grid_token)
        .where(_k.id == token, _k.used_at.is_(None))
        .values(used_at=at, used_by=region, request_hash=request_hash)
    )
    return done.rowcount == 1


def forget_tokens(tx: Tx, before: datetime) -> None:
    """Those whose time was over then."""
    tx.execute(delete(t.grid_token).where(_k.expires_at < before))


# --- a region's link


def link(tx: Tx, *, lock: bool = False) -> Link | None:
    """None: this region is in no grid."""
    row = tx.execute(_LINKED_ALONE if lock else _LINKED).first()
    return None if row is None else kept.value(Link, row)


def add_link(tx: Tx, new: Link) -> None:
    """Raises `Conflict` when there is one."""
    if link(tx, lock=True) is not None:
        raise Conflict("this region is in a grid already; `arable region leave` first")
    tx.execute(insert(t.grid_link).values(id=_LINK, **asdict(new)))


def change_link(tx: Tx, **values: Any) -> None:
    """What is said; nothing when the region has left meanwhile."""
    tx.execute(update(t.grid_link).where(_l.id == _LINK).values(**values))


def remove_link(tx: Tx) -> Link:
    """Be in no grid any more; raises `NotFound` when it was in none."""
    found = link(tx, lock=True)
    if found is None:
        raise NotFound("this region is in no grid")
    tx.execute(delete(t.grid_link))
    tx.execute(delete(t.eviction))
    for table in (t.grid_member, t.grid_fact, t.grid_peer, t.grid_region, t.grid_version, t.grid_holding):  # fmt: skip
        tx.execute(delete(table))
    return found
