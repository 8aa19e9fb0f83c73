"""How accounts' SSH keys are kept."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.ids import AccountId, SshKeyId
from arable.domain.ssh_key import SshKey
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.rows import insert_rows, raw, stamp
from arable.store.scope import visible

_COLUMNS = ("id", "account", "name", "kind", "bits", "fingerprint", "line", "created_at")
_SELECT = raw(t.ssh_key, _COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKeyFilter:
    """Which keys of a list."""

    account: AccountId | None = None
    name: str = ""


def get(tx: Tx, scope: Scope, id_: SshKeyId) -> SshKey:
    """The key, if it is there and in sight."""
    c = t.ssh_key.c
    row = tx.execute(_SELECT.where(c.id == id_, *visible(c.account, scope))).first()
    if row is None:
        raise NotFound("there is no such SSH key")
    return _key(row)


def named(tx: Tx, account: AccountId, name: str) -> SshKey | None:
    """The account's key of this name."""
    c = t.ssh_key.c
    row = tx.execute(_SELECT.where(c.account == account, c.name == name)).first()
    return None if row is None else _key(row)


def count(tx: Tx, account: AccountId) -> int:
    """How many the account has."""
    c = t.ssh_key.c
    return int(tx.execute(select(func.count()).where(c.account == account)).scalar_one())


def page(
    tx: Tx, scope: Scope, where: SshKeyFilter, *, after: str | None = None, limit: int = 100
) -> list[SshKey]:
    """By key."""
    c = t.ssh_key.c
    conditions = visible(c.account, scope)
    for column, value in ((c.account, where.account), (c.name, where.name)):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    query = _SELECT.where(*conditions).order_by(c.id).limit(limit)
    return [_key(row) for row in tx.execute(query)]


def add(tx: Tx, key: SshKey) -> None:
    """Keep a new key."""
    row = (
        *(key.id, key.account, key.name, key.kind, key.bits),
        *(key.fingerprint, key.line, stamp(key.created_at)),
    )
    insert_rows(tx, t.ssh_key, _COLUMNS, [row])


def remove(tx: Tx, id_: SshKeyId) -> None:
    """Forget it."""
    tx.execute(delete(t.ssh_key).where(t.ssh_key.c.id == id_))


def _key(row: Any) -> SshKey:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["created_at"] = moment(values["created_at"])
    return SshKey(**values)
