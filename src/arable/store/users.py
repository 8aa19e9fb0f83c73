"""How users and roles are kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select

from arable.domain.access import Rank, Scope
from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import AccountId, UserId
from arable.domain.user import Role, User
from arable.store import kept
from arable.store import schema as t
from arable.store.credentials import permissions_of
from arable.store.database import Tx
from arable.store.scope import visible

WHAT = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFilter:
    """Which users."""

    account: str | None = None
    name: str | None = None
    role: str | None = None
    enabled: bool | None = None


def add(tx: Tx, user: User) -> None:
    """A new one; its name must be free in the cloud."""
    if tx.execute(select(t.user.c.id).where(t.user.c.name == user.name)).first():
        raise Conflict(f"the name {user.name} is taken", field="name")
    kept.add(tx, t.user, user)


def get(tx: Tx, scope: Scope, user: UserId, *, lock: bool = False) -> User:
    """Raises `NotFound`."""
    where = (t.user.c.id == user, *visible(t.user.c.account, scope))
    return kept.get(tx, t.user, User, WHAT, *where, lock=lock)


def signing_in(tx: Tx, name: str) -> tuple[User, bool] | None:
    """Whoever signs in with this name, and whether their account lets them; for nothing but signing in."""
    row = tx.execute(
        select(t.user, t.account.c.enabled.label("account_enabled"))
        .join(t.account, t.user.c.account == t.account.c.id)
        .where(t.user.c.name == name)
    ).first()
    if row is None:
        return None
    return kept.value(User, row), bool(row.account_enabled)


def page(
    tx: Tx, scope: Scope, where: UserFilter, *, after: str | None = None, limit: int = 100
) -> list[User]:
    """By age."""
    conditions: list[ColumnElement[bool]] = [*visible(t.user.c.account, scope)]
    if where.enabled is not None:
        conditions.append(t.user.c.enabled == where.enabled)
    for column, wanted in (
        (t.user.c.account, where.account),
        (t.user.c.name, where.name),
        (t.user.c.role, where.role),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    return kept.page(tx, t.user, User, conditions, after=after, limit=limit)


def save(tx: Tx, user: User) -> None:
    """The next generation."""
    kept.save(tx, t.user, user, WHAT)


def remove(tx: Tx, user: User) -> None:
    """With all their credentials."""
    for table in (t.api_key, t.session):
        tx.execute(delete(table).where(table.c.user == user.id))
    kept.forget(tx, t.user, user, WHAT)


def of_account(tx: Tx, account: AccountId) -> list[UserId]:
    """All users of an account."""
    return list(tx.execute(select(t.user.c.id).where(t.user.c.account == account)).scalars())


def role(tx: Tx, name: str) -> Role:
    """Raises `BadInput` for a name that is none."""
    row = tx.execute(select(t.role).where(t.role.c.name == name)).first()
    if row is None:
        raise BadInput("there is no such role", field="role")
    return _role(row)


def roles(tx: Tx) -> list[Role]:
    """All of them, the least first."""
    return [_role(row) for row in tx.execute(select(t.role).order_by(t.role.c.rank))]


def put_roles(tx: Tx, every: Iterable[Role]) -> None:
    """As this version has them: a new permission reaches the roles that ship with it."""
    for each in every:
        values = {"rank": int(each.rank), "permissions": sorted(each.permissions)}
        row = t.role.c.name == each.name
        if not tx.execute(t.role.update().where(row).values(**values)).rowcount:
            tx.execute(insert(t.role).values(name=each.name, **values))


def _role(row: Any) -> Role:
    return Role(name=row.name, rank=Rank(row.rank), permissions=permissions_of(row.permissions))
