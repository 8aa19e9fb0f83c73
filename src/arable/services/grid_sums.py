"""What accounts hold in all regions, and what it costs: from what regions told, so nobody is asked anything.

At the grid manager of all regions, at a region as it was told. Operators see what is known; others their own account,
by its path: here, and in regions from which it may be asked for here.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from arable.domain.access import EVERYTHING, Permission
from arable.domain.errors import BadInput
from arable.domain.price import written
from arable.domain.region import FactKind, Member, MemberState, ago
from arable.services.call import Call, GridRole
from arable.store import accounts, domains, grid_facts, grid_members
from arable.store.grid_own import bill_key, path
from arable.store.schema import RESOURCES
from arable.wire.grid_sums import (
    CurrencySum,
    GridAccountsOut,
    GridBillOut,
    GridBillQuery,
    GridBillsOut,
    GridEventOut,
    GridEventQuery,
    GridEventsOut,
    GridHeldOut,
    GridSumQuery,
    RegionAge,
    RegionBill,
)

_FRESH = 30.0  # seconds
_AFTER = "\x7f"  # beyond all that paths consist of


def bills(call: Call, query: GridBillQuery) -> GridBillsOut:
    """What a month comes to, by account and region."""
    call.caller.needs(Permission.BILLING_READ)
    view = _View(call, query.account, query.region)
    month = query.month or f"{call.around.clock.now():%Y-%m}"
    if view.account:
        first, last = bill_key(month, view.account), f"{bill_key(month, view.account)}\x01"
    else:
        first, last = bill_key(month, "\x20"), bill_key(month, _AFTER)
    found, more = view.page(FactKind.BILL, first, last, query.after, query.limit)
    items = tuple(
        GridBillOut(
            region=region,
            account=body["account"],
            month=month,
            total=written(body["micros"]),
            currency=body["currency"],
            as_of=body["as_of"],
        )
        for region, _key, body in found
    )
    totals = view.totals(month)
    parts = tuple(
        RegionBill(
            region=age.region,
            state=age.state,
            as_of=age.as_of,
            told=age.told,
            total=written(totals[age.region][0]) if age.region in totals else None,
            currency=totals[age.region][1] if age.region in totals else "",
        )
        for age in view.ages
    )
    whole = view.account is None
    counted = (
        totals.values() if whole else [(b["micros"], b["currency"]) for _region, _key, b in found]
    )
    return GridBillsOut(month=month, items=items, next=more, regions=parts, sums=_sums(counted))


def held(call: Call, query: GridSumQuery) -> GridAccountsOut:
    """What accounts hold, by account and region."""
    call.caller.needs(Permission.ACCOUNT_READ)
    view = _View(call, query.account, query.region)
    first, last = (view.account, f"{view.account}\x01") if view.account else ("", "")
    found, more = view.page(FactKind.HELD, first, last, query.after, query.limit)
    items = tuple(
        GridHeldOut(
            region=region,
            account=key,
            enabled=body["enabled"],
            used={name: body["used"].get(name, 0) for name in RESOURCES},
            limits={
                name: most if (most := body["limits"].get(name, -1)) >= 0 else None
                for name in RESOURCES
            },
        )
        for region, key, body in found
    )
    return GridAccountsOut(items=items, next=more, regions=tuple(view.ages))


def events(call: Call, query: GridEventQuery) -> GridEventsOut:
    """What happened lately in regions that tell so, the newest first."""
    call.caller.needs(Permission.INFRA_READ)
    view = _View(call, None, query.region)
    names = {age.region for age in view.ages}
    found = [
        GridEventOut(
            region=region,
            number=int(fact.key),
            at=datetime.fromisoformat(fact.body["at"]),
            kind=fact.body["kind"],
            subject=fact.body["subject"],
            text=fact.body["text"],
        )
        for region, facts in grid_facts.of_kinds(call.tx, [FactKind.EVENT]).items()
        if region in names
        for fact in facts
    ]
    newest = sorted(found, key=lambda each: (each.at, each.region, each.number), reverse=True)
    return GridEventsOut(items=tuple(newest[: query.limit]), regions=tuple(view.ages))


class _View:
    """Whose, of which regions, and how old that is."""

    def __init__(self, call: Call, account: str | None, region: str | None) -> None:
        self._call = call
        self._now = call.around.clock.now()
        self._is_grid = call.around.grid_role is GridRole.GRID
        self._all = Permission.INFRA_READ in call.caller.permissions
        self._link = None if self._is_grid else grid_members.link(call.tx)
        members = [m for m in grid_members.every(call.tx) if m.state is not MemberState.GONE]
        self.account = account
        if not self._all:
            own = accounts.get(call.tx, EVERYTHING, call.caller.account)
            name = path(domains.get(call.tx, EVERYTHING, own.domain).path, own.name)
            if account not in (None, name):
                raise BadInput("this is not your account's path", field="account")
            self.account = name
            if not self._is_grid:
                near = {*own.federated, self._link.region if self._link else ""}
                members = [m for m in members if m.name in near]
        if region is not None:
            members = [m for m in members if m.name == region]
            if not members:
                raise BadInput("there is no such region in sight", field="region")
        self._names = [member.name for member in members]
        self.ages = [self._age(member) for member in members]

    def page(
        self, kind: FactKind, first: str, last: str, after: str | None, limit: int
    ) -> tuple[list[tuple[str, str, dict[str, Any]]], str | None]:
        """Region, key and body of each; and where the next page begins."""
        key, _, region = (after or "").rpartition("@")
        if after and not (key and region):
            raise BadInput("not a cursor of this list", field="after")
        rows = grid_facts.page(
            self._call.tx,
            kind,
            first=first,
            last=last,
            regions=self._names,
            after=(key, region),
            limit=limit + 1,
        )
        found = [(name, fact.key, fact.body) for name, fact in rows[:limit]]
        more = f"{found[-1][1]}@{found[-1][0]}" if len(rows) > limit else None
        return found, more

    def totals(self, month: str) -> dict[str, tuple[int, str]]:
        """Of each region that told it, for operators who look at all accounts: micro-units, and the currency."""
        if not self._all or self.account is not None:
            return {}
        key = bill_key(month, "")
        rows = grid_facts.page(
            self._call.tx,
            FactKind.BILL,
            first=key,
            last=f"{key}\x01",
            regions=self._names,
            limit=len(self._names) + 1,
        )
        return {name: (fact.body["micros"], fact.body["currency"]) for name, fact in rows}

    def _age(self, member: Member) -> RegionAge:
        own = self._link is not None and self._link.region == member.name
        state = member.state_at(self._now) if self._is_grid else member.state
        told = []
        if not own:
            if member.heard_at is None:
                told.append(f"{member.name} was never heard")
            elif (self._now - member.heard_at).total_seconds() >= _FRESH:
                told.append(f"{member.name} was last heard {ago(self._now - member.heard_at)} ago")
            heard = self._link.heard_at if self._link else None
            if heard and (self._now - heard).total_seconds() >= _FRESH:
                told.append(f"the grid manager {ago(self._now - heard)} ago")
        return RegionAge(
            region=member.name,
            state=str(MemberState.REACHED if own else state),
            as_of=self._now if own else member.heard_at,
            told=", ".join(told),
        )


def _sums(found: Iterable[tuple[int, str]]) -> tuple[CurrencySum, ...]:
    by: dict[str, int] = {}
    for micros, currency in found:
        by[currency] = by.get(currency, 0) + micros
    return tuple(
        CurrencySum(currency=currency, total=written(micros))
        for currency, micros in sorted(by.items())
        if currency
    )
