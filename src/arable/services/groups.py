"""What one may ask of placement groups. Machines join one when they are deployed, and leave it when they are gone."""

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.group import Group, GroupRule
from arable.domain.ids import AccountId, GroupId
from arable.services.asks import tell
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import groups
from arable.wire.common import Page
from arable.wire.groups import GroupIn, GroupOut, GroupQuery


def create(call: Call, ask: GroupIn) -> GroupOut:
    """A new, empty group."""
    call.caller.needs(Permission.MACHINE_WRITE)
    account = call.caller.account
    if groups.named(call.tx, account, ask.name) is not None:
        raise Conflict(f"you have a placement group named {ask.name} already", field="name")
    made = Group(
        id=GroupId(call.around.ids.new("group")),
        account=account,
        name=ask.name,
        rule=GroupRule(ask.rule),
        strict=ask.strict,
        created_at=call.around.clock.now(),
    )
    groups.add(call.tx, made)
    tell(call, account, "group.created", made.id, f"{made.name}: created")
    return _shape(made, 0)


def page(call: Call, query: GroupQuery) -> Page[GroupOut]:
    """Groups in sight, by age."""
    call.caller.needs(Permission.MACHINE_READ)
    where = groups.GroupFilter(
        account=AccountId(query.account) if query.account else None, name=query.name or ""
    )
    found = groups.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    sizes = groups.sizes(call.tx, [group.id for group in found])
    return paged(found, query, lambda group: _shape(group, sizes.get(group.id, 0)))


def get(call: Call, group: GroupId) -> GroupOut:
    """One."""
    call.caller.needs(Permission.MACHINE_READ)
    found = groups.get(call.tx, call.caller.scope, group)
    return _shape(found, groups.sizes(call.tx, [group]).get(group, 0))


def delete(call: Call, group: GroupId) -> None:
    """An empty one goes."""
    call.caller.needs(Permission.MACHINE_WRITE)
    found = groups.get(call.tx, call.caller.scope, group, lock=True)
    if count := groups.sizes(call.tx, [group]).get(group, 0):
        raise Conflict(
            f"{count} machines are members, destroyed ones among them until they are expunged",
            why={"members": count},
        )
    groups.remove(call.tx, group)
    tell(call, found.account, "group.deleted", group, f"{found.name}: deleted")


def _shape(group: Group, members: int) -> GroupOut:
    return GroupOut(
        id=group.id,
        account=group.account,
        name=group.name,
        rule=group.rule.value,
        strict=group.strict,
        members=members,
        created_at=group.created_at,
    )
