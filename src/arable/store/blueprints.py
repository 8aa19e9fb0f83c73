"""How blueprints and their versions are kept. A caller sees those in scope, and public ones whoever has them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import msgspec
from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    type_coerce,
)

from arable.domain.access import Scope
from arable.domain.blueprint import Blueprint, BlueprintVersion, Body
from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import AccountId, BlueprintId, TierId
from arable.store import kept
from arable.store import schema as t
from arable.store.database import Tx
from arable.store.lookup import Lookup
from arable.store.many import among
from arable.store.scope import visible

WHAT = "blueprint"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintFilter:
    """Which blueprints of a list."""

    name: str | None = None
    account: AccountId | None = None
    public: bool | None = None


def add(tx: Tx, blueprint: Blueprint) -> None:
    """A new one; its name must be free in its account."""
    check_name(tx, blueprint.account, blueprint.name)
    kept.add(tx, t.blueprint, blueprint)


def check_name(tx: Tx, account: AccountId, name: str) -> None:
    """Raises `Conflict` when the account has a blueprint of that name."""
    row = t.blueprint.c
    if tx.execute(select(row.id).where(row.account == account, row.name == name)).first():
        raise Conflict(f"the account has a blueprint named {name} already", field="name")


def get(tx: Tx, scope: Scope, blueprint: BlueprintId) -> Blueprint:
    """One to use: in scope, or public. Raises `NotFound`."""
    return kept.get(
        tx, t.blueprint, Blueprint, WHAT, t.blueprint.c.id == blueprint, *_usable(scope)
    )


def own(tx: Tx, scope: Scope, blueprint: BlueprintId) -> Blueprint:
    """One to change: in scope, and locked. Raises `NotFound`."""
    row = t.blueprint.c
    mine = (row.id == blueprint, *visible(row.account, scope))
    return kept.get(tx, t.blueprint, Blueprint, WHAT, *mine, lock=True)


def by_name(tx: Tx, scope: Scope, name: str) -> Blueprint:
    """One to use, by its name: one in scope before a public one, then the oldest. Raises `NotFound`."""
    row = t.blueprint.c
    query = select(t.blueprint).where(row.name == name).order_by(row.id).limit(1)
    for conditions in (visible(row.account, scope), [row.public]):
        found = tx.execute(query.where(*conditions)).first()
        if found is not None:
            return kept.value(Blueprint, found)
    raise NotFound(f"there is no such {WHAT}")


def came(tx: Tx, account: AccountId, home: str, home_id: str) -> Blueprint | None:
    """The account's, locked, that is called so in the region with whose farms it came."""
    row = t.blueprint.c
    where = (row.account == account, row.home == home, row.home_id == home_id)
    found = tx.execute(select(t.blueprint).where(*where).with_for_update()).first()
    return None if found is None else kept.value(Blueprint, found)


def sweep(tx: Tx, account: AccountId) -> list[Blueprint]:
    """Remove those of the account that came with farms of other regions and that no tier is made of any more."""
    row = t.blueprint.c
    used = exists().where(t.tier.c.blueprint == row.id)
    query = select(t.blueprint).where(row.account == account, row.home != "", ~used)
    found = [kept.value(Blueprint, each) for each in tx.execute(query.with_for_update())]
    for each in found:
        remove(tx, each)
    return found


def page(
    tx: Tx, scope: Scope, where: BlueprintFilter, *, after: str | None = None, limit: int = 100
) -> list[Blueprint]:
    """Those to use, by age."""
    row = t.blueprint.c
    conditions = _usable(scope)
    for column, wanted in (
        (row.name, where.name),
        (row.account, where.account),
        (row.public, where.public),
    ):
        if wanted is not None:
            conditions.append(column == wanted)
    return kept.page(tx, t.blueprint, Blueprint, conditions, after=after, limit=limit)


def save(tx: Tx, blueprint: Blueprint) -> None:
    """The next generation."""
    kept.save(tx, t.blueprint, blueprint, WHAT)


def remove(tx: Tx, blueprint: Blueprint) -> None:
    """Remove one (locked by the caller) that no tier is made of, with its versions."""
    if tx.execute(select(exists().where(t.tier.c.blueprint == blueprint.id))).scalar():
        raise Conflict("tiers are made of it")
    row = t.blueprint_version.c
    tx.execute(delete(t.blueprint_version).where(row.blueprint == blueprint.id))
    kept.forget(tx, t.blueprint, blueprint, WHAT)


def add_version(tx: Tx, version: BlueprintVersion) -> None:
    """A new version. Its number is the blueprint's next `newest`, which the caller saves with the blueprint."""
    tx.execute(insert(t.blueprint_version).values(**asdict(version)))


def version(tx: Tx, blueprint: BlueprintId, number: int) -> BlueprintVersion:
    """That version of a blueprint that the caller may use. Raises `NotFound`."""
    row = t.blueprint_version.c
    query = select(t.blueprint_version).where(row.blueprint == blueprint, row.number == number)
    found = tx.execute(query).first()
    if found is None:
        raise NotFound("the blueprint has no such version")
    return kept.value(BlueprintVersion, found)


def bodies(tx: Tx, tiers: Iterable[TierId]) -> dict[TierId, Body]:
    """What the version says that each of these tiers should be made of."""
    found: dict[str, Body] = {}
    made = {}
    for tier, text in _bodies.rows(tx, tiers):
        if text not in found:
            found[text] = msgspec.json.decode(text, type=Body)
        made[TierId(tier)] = found[text]
    return made


_v = t.blueprint_version.c
_bodies = Lookup(
    lambda among: (
        select(t.tier.c.id, type_coerce(_v.body, Text))
        .join(
            t.blueprint_version,
            and_(_v.blueprint == t.tier.c.blueprint, _v.number == t.tier.c.blueprint_number),
        )
        .where(among(t.tier.c.id))
    )
)


def versions(
    tx: Tx, blueprints: Iterable[BlueprintId]
) -> dict[BlueprintId, dict[int, BlueprintVersion]]:
    """All versions of these blueprints, by number, newest first."""
    row = t.blueprint_version.c
    query = (
        select(t.blueprint_version)
        .where(among(tx, row.blueprint, blueprints))
        .order_by(row.blueprint, row.number.desc())
    )
    made: dict[BlueprintId, dict[int, BlueprintVersion]] = {}
    for found in tx.execute(query):
        made.setdefault(found.blueprint, {})[found.number] = kept.value(BlueprintVersion, found)
    return made


def _usable(scope: Scope) -> list[ColumnElement[bool]]:
    ours = visible(t.blueprint.c.account, scope)
    return [or_(t.blueprint.c.public, *ours)] if ours else []
