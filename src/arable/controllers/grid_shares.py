"""A region's part in limits over all regions: gives back what it does not use, asks for what it needs, takes what it gets.

What that means is `domain/shares.py`; it is said and heard with everything else (`controllers/grid_sync.py`). While the
grid manager is away nothing is given back, since nobody could use it, and nothing more is taken.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from arable.domain.ids import AccountId
from arable.domain.shares import Share, Wish, heard, lacks, lowered, runs_low, too_much, wish
from arable.store import shares
from arable.store.database import Tx
from arable.store.grid_members import Link
from arable.store.shares import FORGOTTEN, Held
from arable.wire.grid import ShareDoc, SyncOut

MOST = 500
"""Questions in one message; the others come with the next."""
_AGAIN = timedelta(seconds=30)
"""Between questions for what is only good to have at hand."""
_OFTEN = timedelta(seconds=5)
"""And for what is needed."""


def due(tx: Tx, link: Link, at: datetime, *, every: bool) -> list[AccountId]:
    """Accounts whose share is to be looked at by `look`."""
    found = shares.pending(tx, link.incarnation, every=every)
    return [one.account for one in found if _change(link, one, at) is not None]


def look(tx: Tx, link: Link, accounts: list[AccountId], at: datetime) -> None:
    """Hold to less what has too much, and forget what nobody asks for any more."""
    for account in sorted(accounts):
        one = shares.one(tx, account)
        if one is None:
            continue
        changed = _change(link, one, at)
        if changed is None:
            continue
        share, since = changed
        if one.wants and not _over(one, since, at):
            shares.keep(tx, account, share, wanted_at=since)
        else:
            shares.keep(tx, account, share, wants=False, wanted_at=None, asked={}, lacking=False)


def asks(tx: Tx, link: Link, at: datetime, *, every: bool) -> tuple[ShareDoc, ...]:
    """What is to be said of shares."""
    said = []
    for one in shares.pending(tx, link.incarnation, every=every):
        wanted = _wish(one, at)
        new = one.acked != one.share.serial or one.incarnation != link.incarnation
        rested = at - one.asked_at if one.asked_at else _AGAIN
        if (
            new
            or (lacks(one.share, wanted) and rested >= _OFTEN)
            or (runs_low(one.share, wanted) and rested >= _AGAIN)
        ):
            said.append(_doc(one, wanted))
    return tuple(said[:MOST])


def answered(tx: Tx, asked: tuple[ShareDoc, ...], answer: SyncOut, at: datetime) -> None:
    """Keep what was granted, and what is lacking."""
    answers: Mapping[str, ShareDoc] = {each.account: each for each in answer.shares}
    found = {each.account: shares.by_path(tx, each.account) for each in asked}
    for path, account in sorted(found.items(), key=lambda each: str(each[1])):
        one = shares.one(tx, account) if account else None
        doc = answers.get(path)
        if one is None or doc is None:
            continue
        share = heard(one.share, Share(serial=doc.serial, amounts=doc.amounts))
        shares.keep(
            tx,
            one.account,
            share,
            acked=doc.serial if doc.serial >= one.share.serial else one.acked,
            incarnation=answer.incarnation,
            asked_at=at,
            lacking=doc.short,
        )
    shares.shortened(tx, answer.short, at)


def _change(link: Link, one: Held, at: datetime) -> tuple[Share, datetime | None] | None:
    """The share to which it should hold itself, and since when more is wanted; None: all is as it should be."""
    since = one.wanted_at
    if one.wants and since is None:
        since = at
    share = one.share
    if (
        one.acked == share.serial and not link.told
    ):  # it is heard, and knows what was given back before
        wanted = _wish(one, at)
        share = lowered(share, too_much(share, wanted, short=one.short(at)))
    over = one.wants and _over(one, since, at)
    if share == one.share and since == one.wanted_at and not over:
        return None
    return share, since


def _over(one: Held, since: datetime | None, at: datetime) -> bool:
    """Whether what was refused is there by now, or nobody asked for it again."""
    there = all(one.used.get(name, 0) >= amount for name, amount in one.asked.items())
    return there or (since is not None and at - since >= FORGOTTEN)


def _wish(one: Held, at: datetime) -> Wish:
    asked = {
        name: max(0, amount - one.used.get(name, 0))
        for name, amount in (one.asked if one.wants else {}).items()
    }
    return wish(one.used, asked, one.limits, short=one.short(at))


def _doc(one: Held, wanted: Wish) -> ShareDoc:
    return ShareDoc(
        account=one.path,
        serial=one.share.serial,
        amounts=dict(one.share.amounts),
        need=dict(wanted.need),
        spare=dict(wanted.spare),
    )
