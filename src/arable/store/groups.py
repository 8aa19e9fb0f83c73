"""How placement groups and their members are kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select

from arable.domain.access import Scope
from arable.domain.errors import NotFound
from arable.domain.group import Group, GroupRule
from arable.domain.ids import AccountId, GroupId, MachineId
from arable.store import schema as t
from arable.store.columns import moment
from arable.store.database import Tx
from arable.store.many import among
from arable.store.rows import insert_rows, raw, stamp
from arable.store.scope import visible

_COLUMNS = ("id", "account", "name", "rule", "strict", "created_at")
_SELECT = raw(t.placement_group, _COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """Which groups of a list."""

    account: AccountId | None = None
    name: str = ""


def get(tx: Tx, scope: Scope, id_: GroupId, *, lock: bool = False) -> Group:
    """The group, if it is there and in sight."""
    c = t.placement_group.c
    query = _SELECT.where(c.id == id_, *visible(c.account, scope))
    row = tx.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound("there is no such placement group")
    return _group(row)


def named(tx: Tx, account: AccountId, name: str) -> Group | None:
    """The group of this name."""
    c = t.placement_group.c
    row = tx.execute(_SELECT.where(c.account == account, c.name == name)).first()
    return None if row is None else _group(row)


def page(
    tx: Tx, scope: Scope, where: GroupFilter, *, after: str | None = None, limit: int = 100
) -> list[Group]:
    """By key."""
    c = t.placement_group.c
    conditions = visible(c.account, scope)
    for column, value in ((c.account, where.account), (c.name, where.name)):
        if value:
            conditions.append(column == value)
    if after:
        conditions.append(c.id > after)
    query = _SELECT.where(*conditions).order_by(c.id).limit(limit)
    return [_group(row) for row in tx.execute(query)]


def of_machines(tx: Tx, machines: Iterable[MachineId]) -> dict[MachineId, list[Group]]:
    """The groups that each of these machines belongs to."""
    member, group = t.group_member.c, t.placement_group.c
    query = (
        raw(t.placement_group, _COLUMNS)
        .add_columns(member.machine)
        .join(t.group_member, member.group == group.id)
        .where(among(tx, member.machine, machines))
        .order_by(group.id)
    )
    found: dict[MachineId, list[Group]] = {}
    for row in tx.execute(query):
        found.setdefault(row.machine, []).append(_group(row[:-1]))
    return found


def sizes(tx: Tx, groups: Iterable[GroupId]) -> dict[GroupId, int]:
    """How many members each group has."""
    member = t.group_member.c
    query = (
        select(member.group, func.count())
        .where(among(tx, member.group, groups))
        .group_by(member.group)
    )
    return {GroupId(group): count for group, count in tx.execute(query)}


def add(tx: Tx, group: Group) -> None:
    """Keep a new group."""
    row = (
        *(group.id, group.account, group.name),
        *(group.rule.value, group.strict, stamp(group.created_at)),
    )
    insert_rows(tx, t.placement_group, _COLUMNS, [row])


def add_members(tx: Tx, members: Sequence[tuple[GroupId, MachineId]]) -> None:
    """These machines belong to these groups from now on."""
    insert_rows(tx, t.group_member, ("group", "machine"), members)


def remove(tx: Tx, id_: GroupId) -> None:
    """Forget a group that has no members."""
    tx.execute(delete(t.placement_group).where(t.placement_group.c.id == id_))


def _group(row: Any) -> Group:
    (id_, account, name, rule, strict, created_at) = row
    return Group(
        id=id_,
        account=account,
        name=name,
        rule=GroupRule(rule),
        strict=strict,
        created_at=moment(created_at),
    )
