"""How the tree of domains is kept: each knows its path, so a subtree is a prefix."""

from sqlalchemy import ColumnElement, func, or_, select

from arable.domain.access import Scope
from arable.domain.account import Domain
from arable.domain.errors import Conflict
from arable.domain.ids import DomainId
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx

WHAT = "domain"


def add(tx: Tx, domain: Domain) -> None:
    """A new one; its name must be free below its parent."""
    if tx.execute(select(t.domain.c.id).where(t.domain.c.path == domain.path)).first():
        raise Conflict(f"there is a domain named {domain.name} here already", field="name")
    kept.add(tx, t.domain, domain)


def get(tx: Tx, scope: Scope, domain: DomainId, *, lock: bool = False) -> Domain:
    """Raises `NotFound`."""
    where = (t.domain.c.id == domain, *_visible(scope))
    return kept.get(tx, t.domain, Domain, WHAT, *where, lock=lock)


def by_path(tx: Tx, path: str) -> Domain | None:
    """The domain of that path: `root/acme`."""
    row = tx.execute(select(t.domain).where(t.domain.c.path == path)).first()
    return None if row is None else kept.value(Domain, row)


def root(tx: Tx) -> Domain | None:
    """The one without a parent; None before the first start."""
    row = tx.execute(select(t.domain).where(t.domain.c.parent.is_(None))).first()
    return None if row is None else kept.value(Domain, row)


def page(
    tx: Tx,
    scope: Scope,
    *,
    parent: str | None = None,
    name: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> list[Domain]:
    """By age."""
    conditions = [*_visible(scope)]
    if parent is not None:
        conditions.append(t.domain.c.parent == parent)
    if name is not None:
        conditions.append(t.domain.c.name == name)
    return kept.page(tx, t.domain, Domain, conditions, after=after, limit=limit)


def remove(tx: Tx, domain: Domain) -> None:
    """Refused while there is anything in it."""
    for column, what in ((t.domain.c.parent, "domains"), (t.account.c.domain, "accounts")):
        if tx.execute(select(column).where(column == domain.id).limit(1)).first():
            raise Conflict(f"the domain is not empty: there are {what} in it")
    kept.forget(tx, t.domain, domain, WHAT)


def _visible(scope: Scope) -> list[ColumnElement[bool]]:
    """One's own domain, or all below one's own."""
    if scope.account is not None:
        own = select(t.account.c.domain).where(t.account.c.id == scope.account)
        return [t.domain.c.id.in_(own)]
    if scope.below is not None:
        inside = t.domain.c.path
        head = f"{scope.below}/"
        return [or_(inside == scope.below, func.substr(inside, 1, len(head)) == head)]
    return []
