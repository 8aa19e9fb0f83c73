"""What is said of use, and of what it costs. Bills are reckoned anew each time: of records and prices, which never change."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from arable.domain.access import Permission
from arable.domain.errors import BadInput
from arable.domain.ids import AccountId, FarmId
from arable.domain.price import PriceList, written
from arable.domain.usage import UsageKind, UsageRecord
from arable.metering.rating import Line, periods, rated, summed, total
from arable.services.call import Call
from arable.store import accounts, offerings, prices, usage_records
from arable.store.database import Tx
from arable.store.usage_records import UsageFilter
from arable.wire.billing import (
    BillLineOut,
    BillListQuery,
    BillOut,
    BillQuery,
    BillSumOut,
    UsageQuery,
    UsageRecordOut,
)
from arable.wire.common import Page

_MICROSECOND = timedelta(microseconds=1)


def usage(call: Call, query: UsageQuery) -> Page[UsageRecordOut]:
    """What accounts in sight have used."""
    call.caller.needs(Permission.BILLING_READ)
    begin, end = _period(call, query.begin, query.end, None)
    where = UsageFilter(
        since=begin,
        until=end,
        account=AccountId(query.account) if query.account else None,
        farm=FarmId(query.farm) if query.farm else None,
        kind=UsageKind(query.kind) if query.kind else None,
    )
    found = usage_records.page(
        call.tx, call.caller.scope, where, after=number(query.after), limit=query.limit + 1
    )
    shown = [_record(each, begin, end) for each in found[: query.limit]]
    more = len(found) > query.limit
    return Page(items=shown, next=str(shown[-1].number) if more else None)


def get(call: Call, query: BillQuery) -> BillOut:
    """One's own, or of an account in sight."""
    call.caller.needs(Permission.BILLING_READ)
    whose = AccountId(query.account) if query.account else call.caller.account
    account = accounts.get(call.tx, call.caller.scope, whose)
    begin, end = _period(call, query.begin, query.end, query.month)
    lists = prices.every(call.tx)
    lines = of(call.tx, account.id, begin, end, lists)
    names = offerings.names(call.tx)
    ordered = usage_records.orders(call.tx, {FarmId(line.farm) for line in lines if line.farm})
    return BillOut(
        account=account.id,
        account_name=account.name,
        begin=begin,
        end=end,
        currency=currency(lists),
        lines=[
            BillLineOut(
                kind=line.kind.value,
                offering=line.offering,
                name=names.get(line.offering, line.offering),
                farm=line.farm,
                farm_name=line.farm_name,
                order=ordered.get(line.farm, ("", ""))[0],
                reference=ordered.get(line.farm, ("", ""))[1],
                quantity=exact(line.units),
                price=written(line.price),
                amount=written(rounded(line.amount)),
            )
            for line in lines
        ],
        total=written(rounded(total(lines))),
    )


def page(call: Call, query: BillListQuery) -> Page[BillSumOut]:
    """Of accounts in sight that used anything, each account's sum."""
    call.caller.needs(Permission.BILLING_READ)
    begin, end = _period(call, None, None, query.month)
    lists = prices.every(call.tx)
    found = usage_records.accounts(
        call.tx, call.caller.scope, begin, end, after=query.after or "", limit=query.limit + 1
    )
    shown = [
        BillSumOut(
            account=account,
            account_name=name,
            begin=begin,
            end=end,
            currency=currency(lists),
            total=written(rounded(total(of(call.tx, account, begin, end, lists)))),
        )
        for account, name in found[: query.limit]
    ]
    return Page(items=shown, next=shown[-1].account if len(found) > query.limit else None)


def of(
    tx: Tx, account: AccountId, begin: datetime, end: datetime, lists: Sequence[PriceList]
) -> list[Line]:
    """The lines of an account's bill. Whoever calls has looked the account up with a scope."""
    found: list[Line] = []
    for since, until, valid in periods(lists, begin, end):
        found += rated(usage_records.used(tx, account, since, until), valid)
    return summed(found)


def rounded(micros: Fraction) -> int:
    """To a whole number of micro-units, half to even."""
    return round(micros)


def exact(units: Fraction) -> str:
    """A quantity with six places."""
    shown = Decimal(units.numerator) / Decimal(units.denominator)
    return str(shown.quantize(Decimal("0.000001"), ROUND_HALF_EVEN))


def currency(lists: Sequence[PriceList]) -> str:
    """The cloud's; empty while nothing has a price."""
    return lists[-1].currency if lists else ""


def number(after: str | None) -> int:
    """A cursor that is a number."""
    if after is None:
        return 0
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise BadInput("not a cursor of this list", field="after")
    return int(after)


def month_of(at: datetime) -> datetime:
    """Its month's first moment."""
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(begin: datetime) -> datetime:
    """The first moment of the month after that which begins so."""
    return (begin + timedelta(days=32)).replace(day=1)


def _period(
    call: Call, begin: str | None, end: str | None, month: str | None
) -> tuple[datetime, datetime]:
    """From when until when; never beyond now, or an answer would change."""
    now = call.around.clock.now()
    if month is not None:
        if begin is not None or end is not None:
            raise BadInput("say a month, or from when until when", field="month")
        first = _moment(month, "month")
        until = next_month(first)
    else:
        first = month_of(now) if begin is None else _moment(begin, "begin")
        until = now if end is None else _moment(end, "end")
        if until < first:
            raise BadInput("it ends before it begins", field="end")
    return min(first, now), min(until, now)


def _moment(said: str, field: str) -> datetime:
    try:
        made = datetime.fromisoformat(f"{said}-01" if len(said) == 7 else said)
    except ValueError as error:
        raise BadInput("there is no such day or time", field=field) from error
    return made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)


def _record(record: UsageRecord, begin: datetime, end: datetime) -> UsageRecordOut:
    until = end if record.until is None else min(record.until, end)
    micros = max(until - max(record.since, begin), timedelta()) // _MICROSECOND
    return UsageRecordOut(
        number=record.number,
        account=record.account,
        kind=record.kind.value,
        thing=record.thing,
        name=record.name,
        offering=record.offering,
        farm=record.farm,
        farm_name=record.farm_name,
        tier=record.tier,
        tier_name=record.tier_name,
        cpus=record.cpus,
        mib=record.mib,
        since=record.since,
        until=record.until,
        seconds=f"{micros // 1_000_000}.{micros % 1_000_000:06d}",
    )
