"""How accounts are kept."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, select

from arable.domain.access import Scope
from arable.domain.account import Account
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.scope import visible

WHAT = "account"
_CONTENTS = (
    (t.machine, "machines"),
    (t.volume, "volumes"),
    (t.network, "networks"),
    (t.address, "public addresses"),
    (t.image, "images"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFilter:
    """Which accounts."""

    domain: str | None = None
    name: str | None = None
    enabled: bool | None = None


def add(tx: Tx, account: Account) -> None:
    """A new one; its name must be free in its domain."""
    check_name(tx, account)
    kept.add(tx, t.account, account)


def check_name(tx: Tx, account: Account) -> None:
    """Raises `Conflict` when another account of the domain has its name."""
    taken = select(t.account.c.id).where(
        t.account.c.domain == account.domain,
        t.account.c.name == account.name,
        t.account.c.id != account.id,
    )
    if tx.execute(taken).first():
        raise Conflict(f"the domain has an account named {account.name} already", field="name")


def get(tx: Tx, scope: Scope, account: AccountId, *, lock: bool = False) -> Account:
    """Raises `NotFound`."""
    where = (t.account.c.id == account, *visible(t.account.c.id, scope))
    return kept.get(tx, t.account, Account, WHAT, *where, lock=lock)


def path_of(tx: Tx, account: AccountId) -> str:
    """By which it is known in every region: its domain's path and its name, "root/acme/web-team"."""
    a, d = t.account.c, t.domain.c
    query = select(d.path, a.name).join(t.account, a.domain == d.id).where(a.id == account)
    path, name = tx.execute(query).one()
    return f"{path}/{name}"


def by_path(tx: Tx, path: str) -> Account | None:
    """The account of that name in the domain of that path: `root/acme/web-team`."""
    domain, _, name = path.rpartition("/")
    query = (
        select(t.account)
        .join(t.domain, t.domain.c.id == t.account.c.domain)
        .where(t.domain.c.path == domain, t.account.c.name == name)
    )
    row = tx.execute(query).first()
    return None if row is None else kept.value(Account, row)


def eldest(tx: Tx) -> AccountId:
    """The first one of the root domain: the operators', as the cloud was begun."""
    a, d = t.account.c, t.domain.c
    query = select(a.id).join(t.domain, a.domain == d.id).where(d.parent.is_(None))
    return AccountId(tx.execute(query.order_by(a.id).limit(1)).scalar_one())


def page(
    tx: Tx, scope: Scope, where: AccountFilter, *, after: str | None = None, limit: int = 100
) -> list[Account]:
    """By age."""
    conditions: list[ColumnElement[bool]] = [*visible(t.account.c.id, scope)]
    if where.domain is not None:
        conditions.append(t.account.c.domain == where.domain)
    if where.name is not None:
        conditions.append(t.account.c.name == where.name)
    if where.enabled is not None:
        conditions.append(t.account.c.enabled == where.enabled)
    return kept.page(tx, t.account, Account, conditions, after=after, limit=limit)


def save(tx: Tx, account: Account) -> None:
    """The next generation."""
    check_name(tx, account)
    kept.save(tx, t.account, account, WHAT)


def remove(tx: Tx, account: Account) -> None:
    """With its users and all that only describes; refused while it owns anything."""
    for table, what in _CONTENTS:
        if tx.execute(select(table.c.id).where(table.c.account == account.id).limit(1)).first():
            raise Conflict(f"the account still owns {what}; remove them first", why={"holds": what})
    users = select(t.user.c.id).where(t.user.c.account == account.id)
    for table in (t.api_key, t.session):
        tx.execute(delete(table).where(table.c.user.in_(users)))
    for table in (t.image_upload, t.image_part, t.user, t.quota, t.placement_group, t.farm):
        tx.execute(delete(table).where(table.c.account == account.id))
    kept.forget(tx, t.account, account, WHAT)
