"""A region's shares of limits over all regions: held in `quota`, which every request takes from, with what was asked for.

What a share is and how it changes is `domain/shares.py`. The share itself stands beside the limit in the account's one
row, so it holds like that one, whatever runs concurrently and whether the grid manager is heard or not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, or_, select, text, update

from arable.domain.errors import CloudError, LimitExceeded
from arable.domain.ids import AccountId
from arable.domain.region import MANAGER, FactKind, ago
from arable.domain.shares import Share
from arable.store import grid_facts, grid_members
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.many import among
from arable.store.nudges import nudge

SHORT_FOR = timedelta(seconds=60)
"""For so long nobody keeps what is spare, after something was lacking somewhere."""
FORGOTTEN = timedelta(seconds=60)
"""What was refused before that is not asked for any more."""

_s, _q, _a, _d = t.grid_share.c, t.quota.c, t.account.c, t.domain.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An account with a limit over all regions, as it stands here."""

    account: AccountId
    path: str
    share: Share
    limits: Mapping[str, int]
    used: Mapping[str, int]
    asked: Mapping[str, int]
    wants: bool
    acked: int
    incarnation: str
    wanted_at: datetime | None
    asked_at: datetime | None
    short_at: datetime | None
    lacking: bool

    def short(self, now: datetime) -> bool:
        """Whether something is lacking somewhere, so that nothing spare is to be kept."""
        return self.short_at is not None and now - self.short_at < SHORT_FOR


def told(tx: Tx, paths: Iterable[str] | None) -> None:
    """The grid manager said something else of limits of these accounts; None: all was said anew."""
    if paths is None:
        known = {f.key for f in grid_facts.of(tx, MANAGER, FactKind.LIMIT)}
        paths = known | set(tx.execute(select(_s.path)).scalars())
    wanted = sorted(set(paths))
    names = {path.rpartition("/")[2] for path in wanted}
    query = select(_a.id, _a.name, _d.path).join(t.domain, _d.id == _a.domain)
    rows = tx.execute(query.where(among(tx, _a.name, sorted(names))))
    here = {f"{row.path}/{row.name}": row.id for row in rows}
    facts = grid_facts.some(tx, MANAGER, FactKind.LIMIT, wanted)
    for path in wanted:
        if path in here:
            _set(tx, here[path], path, facts[path].body["limits"] if path in facts else {})


def adopt(tx: Tx, account: AccountId) -> None:
    """A new account, or one of another name: what its path may hold in all regions counts from the beginning."""
    if grid_members.link(tx) is None:
        return
    query = select(_a.name, _d.path).join(t.domain, _d.id == _a.domain).where(_a.id == account)
    row = tx.execute(query).one()
    path = f"{row.path}/{row.name}"
    found = grid_facts.some(tx, MANAGER, FactKind.LIMIT, [path]).get(path)
    _set(tx, account, path, found.body["limits"] if found else {})


def drop_all(tx: Tx) -> None:
    """In no grid any more its own limits are all there is."""
    tx.execute(t.grid_share.delete())
    tx.execute(update(t.quota).values({_q[f"share_{name}"]: -1 for name in t.RESOURCES}))


def refusal(
    tx: Tx,
    account: AccountId,
    resource: str,
    words: str,
    share: int,
    holds: Mapping[str, int],
    amounts: Mapping[str, int],
) -> LimitExceeded:
    """Why not, and what happens about it."""
    row = tx.execute(_with(t.grid_share.c.account == account)).first()
    limit = (row.limits if row else {}).get(resource, share)
    used, asked = holds[resource], amounts[resource]
    link = grid_members.link(tx)
    if used + asked > limit:
        todo = "free some, or ask an operator of the grid to raise the limit"
    elif row is not None and row.lacking and row.short_at is not None:
        todo = "the other regions have the rest, and were asked to give back what they do not use: try again in a minute"
    elif link is not None and link.told:
        heard = f"it was last heard {ago(link.tried_at - link.heard_at)} before that" if link.heard_at and link.tried_at else "it was not heard yet"  # fmt: skip
        todo = f"more is asked of the grid manager, which did not answer at {link.tried_at:%H:%M:%S} UTC ({heard})"
    else:
        todo = "more is asked of the grid manager now: try again in some seconds"
    return LimitExceeded(
        f"the account's limit of {limit} {words} in all regions together: this region's share of it is {share}, "
        f"{used} used, {asked} asked for; {todo}",
        why={
            "resource": resource,
            "limit": limit,
            "share": share,
            "used": used,
            "asked": asked,
            "account": account,
            "amounts": dict(amounts),
            "holds": {name: holds[name] for name in amounts},
        },
    )


def wanted(tx: Tx, error: CloudError) -> None:
    """If that was refused for want of a share, it is asked for."""
    why = error.why
    if not isinstance(error, LimitExceeded) or not isinstance(why, dict) or "share" not in why:
        return
    row = tx.execute(_with(_s.account == why["account"])).first()
    if row is None or why["used"] + why["asked"] > why["limit"]:
        return
    used = {name: why["holds"].get(name, 0) + more for name, more in why["amounts"].items()}
    before = row.asked if row.wants else {}
    asked = {
        name: max(before.get(name, 0), used.get(name, 0)) for name in before.keys() | used.keys()
    }
    tx.execute(
        update(t.grid_share)
        .where(_s.account == why["account"])
        .values(asked=asked, wants=True, wanted_at=None)
    )
    nudge(tx, grid_members.TOPIC)


def pending(tx: Tx, incarnation: str, *, every: bool) -> list[Held]:
    """Accounts of which something is to be said, who was asked for longest ago first: all that have a limit over all
    regions, or those where something is known to have happened.
    """
    query = _joined()
    if not every:
        query = query.where(
            or_(text("wants"), _s.acked != _s.serial, _s.incarnation != incarnation)
        )
    rows = tx.execute(query.order_by(_s.asked_at.nulls_first(), _s.account)).mappings()
    return [_held(row) for row in rows]


def limits_of(tx: Tx, account: AccountId) -> Mapping[str, int]:
    """What the account may hold in all regions, as this region was told."""
    found: Mapping[str, int] | None = tx.scalar(select(_s.limits).where(_s.account == account))
    return found or {}


def one(tx: Tx, account: AccountId) -> Held | None:
    """One of them, its quota held."""
    query = _joined().where(_s.account == account).with_for_update(of=t.quota)
    row = tx.execute(query).mappings().first()
    return None if row is None else _held(row)


def by_path(tx: Tx, path: str) -> AccountId | None:
    """Whose share is called so."""
    found: AccountId | None = tx.execute(select(_s.account).where(_s.path == path)).scalar()
    return found


def keep(tx: Tx, account: AccountId, share: Share, **more: Any) -> None:
    """Its share is that from now on."""
    values = {_q[f"share_{name}"]: amount for name, amount in share.amounts.items()}
    if values:
        tx.execute(update(t.quota).where(_q.account == account).values(values))
    tx.execute(
        update(t.grid_share).where(_s.account == account).values(serial=share.serial, **more)
    )


def say(tx: Tx, account: AccountId, **values: Any) -> None:
    """What else is known of it."""
    tx.execute(update(t.grid_share).where(_s.account == account).values(**values))


def shortened(tx: Tx, paths: Iterable[str], at: datetime) -> None:
    """Of these something is lacking somewhere."""
    wanted_ = sorted(set(paths))
    if wanted_:
        tx.execute(update(t.grid_share).where(among(tx, _s.path, wanted_)).values(short_at=at))


def _set(tx: Tx, account: AccountId, path: str, limits: Mapping[str, int]) -> None:
    """What is limited begins with no share; what is not any more has none. Another set of names is another serial."""
    limits = {name: limits[name] for name in t.RESOURCES if name in limits}
    tx.execute(select(_q.account).where(_q.account == account).with_for_update())
    row = tx.execute(_with(_s.account == account)).first()
    if row is None:
        if not limits:
            return
        tx.execute(insert(t.grid_share).values(account=account, path=path, limits=limits))
        before: Mapping[str, int] = {}
        serial = 0
    else:
        before = row.limits if row.path == path else {}
        serial = row.serial + (before.keys() != limits.keys() or row.path != path)
        if row.path == path and before == limits:
            return
        tx.execute(
            update(t.grid_share)
            .where(_s.account == account)
            .values(path=path, limits=limits, serial=serial, lacking=False)
        )
    changed = {_q[f"share_{name}"]: 0 for name in limits if name not in before}
    changed |= {_q[f"share_{name}"]: -1 for name in t.RESOURCES if name not in limits}
    tx.execute(update(t.quota).where(_q.account == account).values(changed))
    tx.execute(update(t.grid_share).where(_s.account == account).values(acked=-1))
    nudge(tx, grid_members.TOPIC)


def _joined() -> Any:
    held = [_q[f"{what}_{name}"] for what in ("used", "share") for name in t.RESOURCES]
    return select(t.grid_share, *held).join(t.quota, _q.account == _s.account)


def _with(condition: Any) -> Any:
    return select(t.grid_share).where(condition)


def _held(row: Mapping[Any, Any]) -> Held:
    limits = row["limits"]
    return Held(
        account=AccountId(row["account"]),
        path=row["path"],
        share=Share(
            serial=row["serial"],
            amounts={name: max(0, row[f"share_{name}"]) for name in limits},
        ),
        limits=limits,
        used={name: row[f"used_{name}"] for name in limits},
        asked=row["asked"],
        wants=row["wants"],
        acked=row["acked"],
        incarnation=row["incarnation"],
        wanted_at=row["wanted_at"],
        asked_at=row["asked_at"],
        short_at=row["short_at"],
        lacking=row["lacking"],
    )
