"""How credit is kept: entries that are only ever added, each key once, and how far an account's use was booked."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, or_, select, text, update

from arable.domain.access import Scope
from arable.domain.credit import Credit, CreditEntry
from arable.domain.ids import AccountId
from arable.store import kept
from arable.store import schema as t
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.scope import visible

_c, _e = t.credit.c, t.credit_entry.c
_HAVE = text("insert into credit (account) values (:account) on conflict (account) do nothing")
_SET = text("""
    insert into credit (account, most) values (:account, :most)
    on conflict (account) do update set most = excluded.most
""")
_ADD = text("""
    insert into credit_entry (account, key, kind, micros, reference, "user", at)
    values (:account, :key, :kind, :micros, :reference, :user, :at)
    on conflict (account, key) do nothing
""")


def held(tx: Tx, account: AccountId) -> Credit:
    """The account's, made if there is none, and nobody else's to change until this transaction ends."""
    tx.execute(_HAVE, {"account": account})
    row = tx.execute(select(t.credit).where(_c.account == account).with_for_update()).one()
    return kept.value(Credit, row)


def of(tx: Tx, account: AccountId) -> Credit | None:
    """None: nobody has given it any."""
    row = tx.execute(select(t.credit).where(_c.account == account)).first()
    return None if row is None else kept.value(Credit, row)


def set_most(tx: Tx, account: AccountId, most: int) -> None:
    """So far below nothing it may go, in micro-units."""
    tx.execute(_SET, {"account": account, "most": most})


def add(tx: Tx, entry: CreditEntry) -> CreditEntry:
    """A new entry; that of before where its key was used already."""
    given = {
        "account": entry.account,
        "key": entry.key,
        "kind": entry.kind.value,
        "micros": entry.micros,
        "reference": entry.reference,
        "user": entry.user,
        "at": micros(entry.at),
    }
    tx.execute(_ADD, given)
    here = (_e.account == entry.account, _e.key == entry.key)
    return kept.value(CreditEntry, tx.execute(select(t.credit_entry).where(*here)).one())


def balance(tx: Tx, account: AccountId) -> int:
    """The sum of its entries, in micro-units."""
    query = select(func.coalesce(func.sum(_e.micros), 0)).where(_e.account == account)
    return int(tx.execute(query).scalar_one())


def entries(
    tx: Tx, scope: Scope, account: AccountId | None, *, after: int = 0, limit: int = 100
) -> list[CreditEntry]:
    """By number."""
    query = select(t.credit_entry).where(_e.number > after, *visible(_e.account, scope))
    if account is not None:
        query = query.where(_e.account == account)
    rows = tx.execute(query.order_by(_e.number).limit(limit))
    return [kept.value(CreditEntry, row) for row in rows]


def to_book(tx: Tx, before: datetime, limit: int) -> Sequence[AccountId]:
    """Accounts with credit whose use was not booked up to a moment."""
    late = or_(_c.booked_until.is_(None), _c.booked_until < before)
    query = select(_c.account).where(late).order_by(_c.account).limit(limit)
    return list(tx.scalars(query))


def booked(tx: Tx, account: AccountId, until: datetime) -> None:
    """Its use is in its entries up to then."""
    tx.execute(update(t.credit).where(_c.account == account).values(booked_until=until))
