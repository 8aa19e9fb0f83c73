"""What a caller can see, as SQL (rule 9): every lookup in the store narrows by it."""

from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from arable.domain.access import Scope
from arable.store import schema as t


def visible(column: ColumnElement[str], scope: Scope) -> list[ColumnElement[bool]]:
    """Conditions on a column that names an account; none for those who see everything."""
    if scope.account is not None:
        return [column == scope.account]
    if scope.below is not None:
        return [column.in_(accounts_below(scope.below))]
    return []


def accounts_below(path: str) -> Select[Any]:
    """Accounts of a domain and of all domains under it. By exact prefix: LIKE folds case in SQLite."""
    inside = t.domain.c.path
    return (
        select(t.account.c.id)
        .join(t.domain, t.domain.c.id == t.account.c.domain)
        .where(or_(inside == path, func.substr(inside, 1, len(path) + 1) == f"{path}/"))
    )
