"""What an account may hold and holds (rule 2): one row, changed by one conditional statement, whatever runs concurrently.

Counting and then inserting would let two requests pass the last place; here the database itself refuses. A maximum
of -1 is no limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, insert, or_, select, update

from arable.domain.errors import LimitExceeded, NotFound
from arable.domain.ids import AccountId
from arable.store import schema as t
from arable.store import shares
from arable.store.database import Tx

NO_LIMIT = -1
WORDS = {
    "machines": "machines",
    "cpus": "CPUs",
    "memory_mib": "MiB of memory",
    "volumes": "volumes",
    "storage_mib": "MiB of storage",
    "snapshots": "snapshots",
    "snapshot_mib": "MiB of volumes with snapshots, each counted once for each",
    "networks": "networks",
    "addresses": "public addresses",
}


@dataclass(frozen=True, slots=True)
class Quota:
    """By resource (`schema.RESOURCES`)."""

    used: Mapping[str, int]
    limits: Mapping[str, int]
    shares: Mapping[str, int]  # what this region has of limits over all regions; -1: there is none
    network_kbps: int  # of each port of its machines; 0: no limit of the account's


def add(tx: Tx, account: AccountId, limits: Mapping[str, int], network_kbps: int = 0) -> None:
    """The row of a new account."""
    most = {f"max_{name}": limits.get(name, NO_LIMIT) for name in t.RESOURCES}
    tx.execute(insert(t.quota).values(account=account, max_network_kbps=network_kbps, **most))


def get(tx: Tx, account: AccountId) -> Quota:
    """What it holds and may hold. Whoever calls has looked the account up with a scope."""
    return _quota(tx, account, lock=False)


def set_limits(tx: Tx, account: AccountId, limits: Mapping[str, int]) -> None:
    """New maxima; the others stay. Below what is used is allowed: nothing is taken away, nothing more is given."""
    if limits:
        tx.execute(
            update(t.quota)
            .where(t.quota.c.account == account)
            .values({t.quota.c[f"max_{name}"]: value for name, value in limits.items()})
        )


def set_network_kbps(tx: Tx, account: AccountId, kbps: int) -> None:
    """How fast each port of its machines may be; 0: no limit of the account's."""
    changed = update(t.quota).where(t.quota.c.account == account)
    tx.execute(changed.values(max_network_kbps=kbps))


def take(tx: Tx, account: AccountId, **amounts: int) -> None:
    """All of it, or `LimitExceeded` and nothing."""
    if _take(tx, account, amounts):
        return
    quota = _quota(tx, account, lock=True)  # from here on nobody else changes it
    if refusal := _refusal(tx, account, quota, quota.used, amounts):
        raise refusal
    _take(tx, account, amounts)  # room was made between the two looks


def hold(tx: Tx, account: AccountId) -> None:
    """Nobody else takes anything for this account before the transaction ends."""
    _quota(tx, account, lock=True)


def take_many(
    tx: Tx, asks: Sequence[tuple[AccountId, Mapping[str, int]]]
) -> list[LimitExceeded | None]:
    """Each ask in turn, all of it or nothing; one refusal or None for each. Two statements, however many asks."""
    quotas = _locked(tx, {account for account, _amounts in asks})
    used = {account: dict(quota.used) for account, quota in quotas.items()}
    answers: list[LimitExceeded | None] = []
    for account, amounts in asks:
        if account not in quotas:
            raise NotFound("no such account")
        refusal = _refusal(tx, account, quotas[account], used[account], amounts)
        if refusal is not None:
            shares.wanted(tx, refusal)
        if refusal is None:
            for name, amount in amounts.items():
                used[account][name] += amount
        answers.append(refusal)
    _set_used(tx, quotas, used)
    return answers


def give(tx: Tx, account: AccountId, **amounts: int) -> None:
    """Back what was taken. More than that is a bug, and the database refuses it."""
    give_many(tx, [(account, amounts)])


def give_many(tx: Tx, gifts: Sequence[tuple[AccountId, Mapping[str, int]]]) -> None:
    """Back what was taken, for many at once."""
    sums: dict[AccountId, dict[str, int]] = {}
    for account, amounts in gifts:
        of = sums.setdefault(account, dict.fromkeys(t.RESOURCES, 0))
        for name, amount in amounts.items():
            of[name] += amount
    if sums:
        tx.execute(
            update(t.quota)
            .where(t.quota.c.account == bindparam("of"))
            .values(
                {t.quota.c[f"used_{n}"]: t.quota.c[f"used_{n}"] - bindparam(n) for n in t.RESOURCES}
            ),
            [{"of": account, **amounts} for account, amounts in sorted(sums.items())],
        )


def _take(tx: Tx, account: AccountId, amounts: Mapping[str, int]) -> bool:
    room: list[ColumnElement[bool]] = []
    for name, amount in amounts.items():
        most, used = t.quota.c[f"max_{name}"], t.quota.c[f"used_{name}"]
        share = t.quota.c[f"share_{name}"]
        room.append(or_(most < 0, used + amount <= most))
        room.append(or_(share < 0, used + amount <= share))
    done = tx.execute(
        update(t.quota)
        .where(and_(t.quota.c.account == account, *room))
        .values(
            {
                t.quota.c[f"used_{name}"]: t.quota.c[f"used_{name}"] + amount
                for name, amount in amounts.items()
            }
        )
    )
    return done.rowcount == 1


def _refusal(
    tx: Tx,
    account: AccountId,
    quota: Quota,
    used: Mapping[str, int],
    amounts: Mapping[str, int],
) -> LimitExceeded | None:
    for name, amount in amounts.items():
        limit = quota.limits[name]
        if 0 <= limit < used[name] + amount:
            return LimitExceeded(
                f"the account's limit of {limit} {WORDS[name]} would be exceeded: {used[name]} used, "
                f"{amount} asked for; free some, or ask an operator to raise the limit",
                why={"resource": name, "limit": limit, "used": used[name], "asked": amount},
            )
    for name, amount in amounts.items():
        share = quota.shares[name]
        if 0 <= share < used[name] + amount:
            return shares.refusal(tx, account, name, WORDS[name], share, used, amounts)
    return None


def _quota(tx: Tx, account: AccountId, *, lock: bool) -> Quota:
    query = select(t.quota).where(t.quota.c.account == account)
    row = tx.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise NotFound("no such account")
    return _from(row)


def _locked(tx: Tx, accounts: set[AccountId]) -> dict[AccountId, Quota]:
    """In the order of ids, so that two transactions never wait for each other."""
    rows = tx.execute(
        select(t.quota)
        .where(t.quota.c.account.in_(sorted(accounts)))
        .order_by(t.quota.c.account)
        .with_for_update()
    ).mappings()
    return {row["account"]: _from(row) for row in rows}


def _from(row: Mapping[Any, Any]) -> Quota:
    return Quota(
        {name: row[f"used_{name}"] for name in t.RESOURCES},
        {name: row[f"max_{name}"] for name in t.RESOURCES},
        {name: row[f"share_{name}"] for name in t.RESOURCES},
        row["max_network_kbps"],
    )


def _set_used(
    tx: Tx, quotas: Mapping[AccountId, Quota], used: Mapping[AccountId, Mapping[str, int]]
) -> None:
    changed = [
        {"of": account, **amounts}
        for account, amounts in sorted(used.items())
        if amounts != quotas[account].used
    ]
    if changed:
        tx.execute(
            update(t.quota)
            .where(t.quota.c.account == bindparam("of"))
            .values({t.quota.c[f"used_{name}"]: bindparam(name) for name in t.RESOURCES}),
            changed,
        )
