"""What an account has paid ahead. Entries are only added; what was used is booked a month at a time, and reckoned until then."""

from datetime import datetime

from arable.domain.access import Permission
from arable.domain.credit import CreditEntry, EntryKind
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import AccountId
from arable.domain.price import parsed, written
from arable.metering.rating import total
from arable.services import bills
from arable.services.asks import tell
from arable.services.call import Call
from arable.store import accounts, credit_entries, prices, usage_records
from arable.store.database import Tx
from arable.wire.billing import (
    CreditEntryIn,
    CreditEntryOut,
    CreditLimitIn,
    CreditOut,
    CreditQuery,
)
from arable.wire.common import Page

RESERVED = "use:"
"""How the keys of entries begin that the cloud makes itself."""


def get(call: Call, account: AccountId) -> CreditOut:
    """As it is now."""
    call.caller.needs(Permission.BILLING_READ)
    found = accounts.get(call.tx, call.caller.scope, account)
    return _shape(call, found.id)


def limit(call: Call, account: AccountId, ask: CreditLimitIn) -> CreditOut:
    """How far below nothing it may go from now on."""
    call.caller.needs(Permission.BILLING_WRITE)
    found = accounts.get(call.tx, call.caller.scope, account)
    credit_entries.set_most(call.tx, found.id, parsed(ask.amount, "amount"))
    tell(call, found.id, "credit.limited", found.id, f"{found.name}: may owe {ask.amount}")
    return _shape(call, found.id)


def add(call: Call, account: AccountId, ask: CreditEntryIn) -> CreditEntryOut:
    """A payment, or what puts something right."""
    call.caller.needs(Permission.BILLING_WRITE)
    found = accounts.get(call.tx, call.caller.scope, account)
    if ask.key.startswith(RESERVED):
        raise BadInput(f"keys that begin with {RESERVED} are the cloud's own", field="key")
    micros = parsed(ask.amount, "amount")
    if not micros:
        raise BadInput("an entry is of more than nothing, or less", field="amount")
    if micros < 0 and ask.kind == "payment":
        raise BadInput("what takes something away is a correction", field="kind")
    credit_entries.held(call.tx, found.id)
    entry = CreditEntry(
        account=found.id,
        key=ask.key,
        kind=EntryKind(ask.kind),
        micros=micros,
        reference=ask.reference,
        user=call.caller.user,
        at=call.around.clock.now(),
    )
    kept = credit_entries.add(call.tx, entry)
    if (kept.micros, kept.kind) != (entry.micros, entry.kind):
        raise Conflict(
            f"the key {ask.key} was used for {written(kept.micros)} already", field="key"
        )
    if kept.at == entry.at:
        text = f"{found.name}: {written(micros)} ({ask.kind} {ask.key})"
        tell(call, found.id, "credit.added", found.id, text)
    return _entry(kept)


def page(call: Call, query: CreditQuery) -> Page[CreditEntryOut]:
    """Entries of accounts in sight."""
    call.caller.needs(Permission.BILLING_READ)
    whose = AccountId(query.account) if query.account else None
    after = bills.number(query.after)
    found = credit_entries.entries(
        call.tx, call.caller.scope, whose, after=after, limit=query.limit + 1
    )
    shown = [_entry(each) for each in found[: query.limit]]
    more = len(found) > query.limit
    return Page(items=shown, next=str(shown[-1].number) if more else None)


def available(tx: Tx, account: AccountId, now: datetime) -> int:
    """What an account may still use, in micro-units: paid, less what was used, and what it may owe."""
    known = credit_entries.of(tx, account)
    most = known.most if known else 0
    return credit_entries.balance(tx, account) - unbooked(tx, account, now) + most


def unbooked(tx: Tx, account: AccountId, now: datetime) -> int:
    """What an account has used since the last month that is among its entries, in micro-units."""
    known = credit_entries.of(tx, account)
    since = (known and known.booked_until) or usage_records.first(tx, account)
    if since is None or since >= now:
        return 0
    return bills.rounded(total(bills.of(tx, account, since, now, prices.every(tx))))


def book(tx: Tx, account: AccountId, until: datetime, now: datetime) -> None:
    """Whole months of use become entries, up to a month's first moment. Said again, nothing more comes of it."""
    known = credit_entries.held(tx, account)
    begin = known.booked_until or usage_records.first(tx, account) or until
    lists = prices.every(tx)
    while begin < until:
        end = min(bills.next_month(bills.month_of(begin)), until)
        micros = bills.rounded(total(bills.of(tx, account, begin, end, lists)))
        month = f"{begin:%Y-%m}"
        entry = CreditEntry(
            account=account,
            key=f"{RESERVED}{month}",
            kind=EntryKind.USE,
            micros=-micros,
            reference=f"bill of {month}",
            user="",
            at=now,
        )
        if micros:
            credit_entries.add(tx, entry)
        begin = end
    credit_entries.booked(tx, account, until)


def _shape(call: Call, account: AccountId) -> CreditOut:
    known = credit_entries.of(call.tx, account)
    paid = credit_entries.balance(call.tx, account)
    used = unbooked(call.tx, account, call.around.clock.now())
    most = known.most if known else 0
    return CreditOut(
        account=account,
        currency=bills.currency(prices.every(call.tx)),
        paid=written(paid),
        unbooked=written(used),
        balance=written(paid - used),
        limit=written(most),
        available=written(paid - used + most),
        booked_until=known.booked_until if known else None,
    )


def _entry(entry: CreditEntry) -> CreditEntryOut:
    return CreditEntryOut(
        number=entry.number,
        account=entry.account,
        key=entry.key,
        kind=entry.kind.value,
        amount=written(entry.micros),
        reference=entry.reference,
        user=entry.user,
        at=entry.at,
    )
