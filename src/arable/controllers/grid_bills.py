"""What accounts' use of a month comes to, reckoned for the grid manager: some accounts at a time, round and round.

A bill changes with every second, and a sum over everything takes long; so this goes through the accounts in their order,
few in each look, and rests once it is through. What it finds is told as facts like all others; what was told and is
nobody else's business any more is taken back when a round begins.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from arable.domain.access import EVERYTHING
from arable.domain.ids import AccountId
from arable.domain.region import GRID_ONLY, Fact, FactKind
from arable.domain.settings import GRID_ACCOUNTS, GRID_BILL_SECONDS
from arable.metering.rating import periods, rated, summed, total
from arable.store import grid_facts, grid_own, prices, settings, usage_records
from arable.store.database import Tx

MOST = 50
"""Accounts of one look."""
KEPT = timedelta(days=400)
"""For so long bills of past months are told."""
_REST = timedelta(
    days=1
)  # after its end a month is still reckoned: what ended with it is written by then

Told = list[tuple[str, Any, str]]
"""Key, body, audience. Without a body: it is the case no more."""


@dataclass(slots=True)
class Bills:
    """Where the round is. Nothing is lost with it: another one begins anew."""

    _after: str = ""
    _running: bool = False
    _ended: float | None = None  # by the monotonic clock
    _sums: dict[str, int] = field(default_factory=dict)  # by month

    def look(self, tx: Tx, region: str, at: datetime, now: float) -> Told:
        """What changed among the next accounts."""
        if not self._running and self._rests(tx, now):
            return []
        which = settings.get(tx, GRID_ACCOUNTS)
        if not self._running:
            self._running, self._after = True, ""
            self._sums = dict.fromkeys(months(at), 0)
            return _taken_back(tx, region, which, at)
        lists = prices.every(tx)
        currency = lists[-1].currency if lists else ""
        first = min(_begin(month) for month in self._sums)
        found = usage_records.accounts(tx, EVERYTHING, first, at, after=self._after, limit=MOST)
        whose = grid_own.audiences(tx, [account for account, _name in found], which)
        said: dict[str, tuple[dict[str, Any], str]] = {}
        for account, _name in found:
            for month in self._sums:
                micros = _micros(tx, account, month, at, lists)
                self._sums[month] += micros
                if account in whose:
                    name, audience = whose[account]
                    said[grid_own.bill_key(month, name)] = (
                        _body(name, month, currency, micros, at),
                        audience,
                    )
        if len(found) == MOST:
            self._after = found[-1][0]
        else:
            self._running = False
            self._ended = now
            if which != "none":
                for month, micros in self._sums.items():
                    key = grid_own.bill_key(month, "")
                    said[key] = (_body("", month, currency, micros, at), GRID_ONLY)
        before = grid_facts.some(tx, region, FactKind.BILL, said)
        return [
            (key, body, audience)
            for key, (body, audience) in sorted(said.items())
            if key not in before or _differs(before[key], body, audience)
        ]

    def _rests(self, tx: Tx, now: float) -> bool:
        return self._ended is not None and now < self._ended + settings.get(tx, GRID_BILL_SECONDS)


def months(at: datetime) -> list[str]:
    """Those that are reckoned at that moment: this one, and the last one for as long as something may be added to it."""
    return sorted({f"{each:%Y-%m}" for each in (at, at - _REST)})


def _begin(month: str) -> datetime:
    return datetime.fromisoformat(f"{month}-01T00:00:00+00:00")


def _micros(tx: Tx, account: AccountId, month: str, at: datetime, lists: Any) -> int:
    begin = _begin(month)
    end = min((begin + timedelta(days=32)).replace(day=1), at)
    lines = []
    for since, until, valid in periods(lists, begin, end):
        lines += rated(usage_records.used(tx, account, since, until), valid)
    return round(total(summed(lines)))


def _body(account: str, month: str, currency: str, micros: int, at: datetime) -> dict[str, Any]:
    return {
        "account": account,
        "month": month,
        "currency": currency,
        "micros": micros,
        "as_of": at.isoformat(),
    }


def _differs(before: Fact, body: dict[str, Any], audience: str) -> bool:
    """Apart from when it was reckoned: a bill to which nothing is added is not told again."""
    old = {**before.body, "as_of": body["as_of"]}
    return (old, before.audience) != (body, audience)


def _taken_back(tx: Tx, region: str, which: str, at: datetime) -> Told:
    """Of accounts that are told of no more, or to somebody else, and of months long past."""
    may = grid_own.told_accounts(tx, which)
    oldest = f"{at - KEPT:%Y-%m}"
    gone: Told = []
    for fact in grid_facts.of(tx, region, FactKind.BILL):
        account = fact.body["account"]
        audience = (GRID_ONLY if which != "none" else None) if not account else may.get(account)
        if audience != fact.audience or fact.body["month"] < oldest:
            gone.append((fact.key, None, ""))
    return gone
