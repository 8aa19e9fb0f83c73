"""Limits over all regions: said at the grid manager, which gives each region a share of them (`domain/shares.py`)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import UNSET

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.event import Event
from arable.domain.region import MANAGER, Fact, FactKind, Member, MemberState, next_version
from arable.domain.shares import Share, Wish
from arable.domain.shares import judge as judged
from arable.services.call import Call, GridRole
from arable.store import events, grid_facts, grid_limits, grid_members, incarnations
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.schema import RESOURCES
from arable.wire.common import Page
from arable.wire.grid import ShareDoc
from arable.wire.grid_limits import GridLimitOut, GridLimitQuery, GridLimitsIn, GridShareOut

MOST = 500
"""Questions of one message; the others are asked again."""
_SHORT_FOR = timedelta(seconds=30)
_GONE_KEPT = timedelta(days=7)


def update(call: Call, ask: GridLimitsIn) -> GridLimitOut:
    """What an account may hold in all regions together. At the grid manager alone."""
    call.caller.needs(Permission.INFRA_WRITE)
    if call.around.grid_role is not GridRole.GRID:
        raise Conflict("only the grid manager can limit accounts over all regions: ask it")
    now = call.around.clock.now()
    grid_facts.hold(call.tx)
    before = grid_limits.get(call.tx, ask.path, lock=True)
    limits = dict(before.limits) if before else {}
    for name in RESOURCES:
        said = getattr(ask, name)
        if said is None:
            limits.pop(name, None)
        elif said is not UNSET:
            limits[name] = said
    grid_limits.put(call.tx, ask.path, limits, now, call.caller.name)
    own(call.tx, FactKind.LIMIT, ask.path, {"limits": limits} if limits else None, now)
    told = ", ".join(f"{limits[name]} {name}" for name in RESOURCES if name in limits)
    text = f"{call.caller.name} limited {ask.path} over all regions: {told or 'no limit'}"
    event = Event(at=now, account=None, kind="grid.limited", subject="grid", text=text)
    events.add_many(call.tx, [event])
    return _shown(call, [ask.path], {ask.path: limits}, {ask.path: now})[0]


def page(call: Call, query: GridLimitQuery) -> Page[GridLimitOut]:
    """Accounts that have such a limit, and which shares of it regions have. At a region: as it was told."""
    call.caller.needs(Permission.INFRA_READ)
    if query.after is not None and not query.after.isprintable():
        raise BadInput("not a cursor of this list", field="after")
    if call.around.grid_role is GridRole.GRID:
        found = grid_limits.page(
            call.tx, query.path, after=query.after or "", limit=query.limit + 1
        )
        limits = {each.account: dict(each.limits) for each in found[: query.limit]}
        changed = {each.account: each.changed_at for each in found}
    else:
        rows = grid_facts.page(
            call.tx,
            FactKind.LIMIT,
            first=query.path or "",
            last=f"{query.path}\x01" if query.path else "",
            regions=[MANAGER],
            after=(query.after or "", MANAGER),
            limit=query.limit + 1,
        )
        limits = {fact.key: dict(fact.body["limits"]) for _r, fact in rows[: query.limit]}
        changed = {}
        found = rows  # type: ignore[assignment]
    shown = _shown(call, sorted(limits), limits, changed)
    return Page(items=shown, next=shown[-1].path if len(found) > query.limit else None)


def judge(tx: Tx, member: Member, asks: Sequence[ShareDoc], now: datetime) -> tuple[ShareDoc, ...]:
    """An answer to each region that says what it has, and what it needs. Its message is for this store of ours, or
    nothing is added: others may have more than a store knows that was set back.
    """
    if not asks:
        return ()
    grid_facts.hold(tx)  # one message at a time, whatever regions they are of
    name = incarnations.current(tx)
    grow = all(
        each.knows == name
        for each in [*grid_members.every(tx), member]
        if each.state is not MemberState.GONE and (each.name != member.name or each is member)
    )
    asks = asks[:MOST]
    granted = grid_limits.granted(tx, sorted({ask.account for ask in asks}))
    answers = []
    for ask in asks:
        limit = grid_limits.get(tx, ask.account)
        shares = granted.get(ask.account, {})
        others: dict[str, int] = {}
        for region, share in shares.items():
            if region != member.name:
                for resource, amount in share.amounts.items():
                    others[resource] = others.get(resource, 0) + amount
        done = judged(
            shares.get(member.name),
            Share(serial=ask.serial, amounts=ask.amounts),
            Wish(need=ask.need, spare=ask.spare),
            limit.limits if limit else {},
            others,
            grow=grow,
        )
        if done.share != shares.get(member.name):
            grid_limits.grant(tx, member.name, ask.account, done.share, now)
        if done.short and limit is not None:
            grid_limits.shorten(tx, ask.account, now)
        answers.append(
            ShareDoc(
                account=ask.account,
                serial=done.share.serial,
                amounts=dict(done.share.amounts),
                short=done.short,
            )
        )
    return tuple(answers)


def short(tx: Tx, now: datetime) -> tuple[str, ...]:
    """Accounts of which something was lacking just now: who has any to spare gives it back."""
    return grid_limits.short(tx, now - _SHORT_FOR)


def forget(tx: Tx, region: str) -> None:
    """A removed region has no share any more."""
    grid_limits.forget(tx, region)


def own(tx: Tx, kind: FactKind, key: str, body: object, now: datetime, audience: str = "") -> None:
    """A fact of the grid manager's own, for regions; without a body it is the case no more."""
    forgotten = grid_facts.forget_gone(tx, MANAGER, micros(now - _GONE_KEPT))
    if forgotten:
        grid_facts.swept(tx, forgotten)
    version = next_version(grid_facts.last_version(tx, MANAGER), micros(now))
    fact = Fact(kind=kind, key=key, version=version, body=body, audience=audience)
    grid_facts.put(tx, MANAGER, [fact], grid_facts.numbers(tx, 1))


def _shown(
    call: Call,
    paths: Sequence[str],
    limits: dict[str, dict[str, int]],
    changed: dict[str, datetime],
) -> list[GridLimitOut]:
    granted = grid_limits.granted(call.tx, list(paths))
    used = {
        (region, fact.key): fact.body["used"]
        for path in paths
        for region, fact in grid_facts.page(
            call.tx, FactKind.HELD, first=path, last=f"{path}\x01", limit=1000
        )
    }
    return [
        GridLimitOut(
            path=path,
            limits=limits[path],
            shares=tuple(
                GridShareOut(
                    region=region,
                    share={name: share.amounts.get(name, 0) for name in limits[path]},
                    used={name: used[region, path].get(name, 0) for name in limits[path]}
                    if (region, path) in used
                    else None,
                )
                for region, share in granted.get(path, {}).items()
            ),
            changed_at=changed.get(path),
        )
        for path in paths
    ]
