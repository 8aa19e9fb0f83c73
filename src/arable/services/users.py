"""Users, and their passwords. Nobody touches a user of a higher rank, and nobody gives what they don't have."""

import msgspec

from arable.domain.access import Permission, Scope
from arable.domain.errors import BadInput, Conflict, Forbidden
from arable.domain.ids import AccountId, UserId
from arable.domain.user import Role, User
from arable.runtime import tokens
from arable.services import credentials, sign_on
from arable.services.asks import check_expected
from arable.services.call import Call, GridRole, Prelude
from arable.services.pages import paged
from arable.store import accounts, keys, users
from arable.wire.common import Page
from arable.wire.users import (
    PasswordIn,
    RoleOut,
    RolesOut,
    UserChange,
    UserIn,
    UserOut,
    UserQuery,
    WhoamiOut,
)


def whoami(call: Call) -> WhoamiOut:
    """What the caller's credential is, and what it may do."""
    caller = call.caller
    return WhoamiOut(
        user=caller.user,
        name=caller.name,
        account=caller.account,
        account_name=accounts.get(call.tx, Scope(account=caller.account), caller.account).name,
        domain=caller.domain,
        path=caller.path,
        role=caller.role,
        permissions=sorted(caller.permissions),
        via=caller.via,
        served_by="grid" if call.around.grid_role is GridRole.GRID else "region",
    )


def roles(call: Call) -> RolesOut:
    """All of them."""
    call.caller.needs(Permission.ACCOUNT_READ)
    return RolesOut(
        items=[
            RoleOut(name=each.name, rank=each.rank, permissions=sorted(each.permissions))
            for each in users.roles(call.tx)
        ]
    )


def page(call: Call, query: UserQuery) -> Page[UserOut]:
    """Those that the caller sees."""
    call.caller.needs(Permission.ACCOUNT_READ)
    where = users.UserFilter(
        account=query.account, name=query.name, role=query.role, enabled=query.enabled
    )
    found = users.page(call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, shown)


def get(call: Call, user: UserId) -> UserOut:
    """One of them."""
    call.caller.needs(Permission.ACCOUNT_READ)
    return shown(users.get(call.tx, call.caller.scope, user))


def hashed(prelude: Prelude, password: str | None) -> str:
    """What the store keeps of a password; empty for none."""
    if password is None:
        return ""
    return tokens.hash_password(password, prelude.around.entropy)


def hashed_password(prelude: Prelude, ask: UserIn) -> str:
    """Before `create`."""
    prelude.caller.needs(Permission.ACCOUNT_WRITE)
    return hashed(prelude, ask.password)


def create(call: Call, ask: UserIn, password_hash: str) -> UserOut:
    """A new user of an account that the caller sees."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    of = AccountId(ask.account) if ask.account is not None else call.caller.account
    account = accounts.get(call.tx, call.caller.scope, of, lock=True)
    return shown(add(call, account.id, ask.name, ask.role, password_hash))


def add(
    call: Call, account: AccountId, name: str, role: str, password_hash: str, within: str = ""
) -> User:
    """A new user with a role that the caller may give."""
    _givable(call, role, f"{within}role")
    user = User(
        id=UserId(call.around.ids.new("user")),
        account=account,
        name=name,
        role=role,
        password_hash=password_hash,
        created_at=call.around.clock.now(),
    )
    try:
        users.add(call.tx, user)
    except Conflict as error:
        raise Conflict(error.public, field=f"{within}name") from error
    return user


def update(call: Call, user: UserId, ask: UserChange) -> UserOut:
    """Another role, or whether they are let in."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    found = _touchable(call, user)
    check_expected(call, found.generation, users.WHAT)
    if found.id == call.caller.user:
        raise Conflict("nobody changes their own role or locks themselves out")
    but: dict[str, object] = {}
    if ask.role is not msgspec.UNSET:
        but["role"] = _givable(call, ask.role, "role").name
    if ask.enabled is not msgspec.UNSET:
        but["enabled"] = ask.enabled
    after = found.changed(**but)
    users.save(call.tx, after)
    sign_on.taken_back(call, found.account, found.name)
    credentials.changed(call.tx)
    return shown(after)


def delete(call: Call, user: UserId) -> None:
    """With all their keys and sessions."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    found = _touchable(call, user)
    check_expected(call, found.generation, users.WHAT)
    if found.id == call.caller.user:
        raise Conflict("nobody removes themselves")
    users.remove(call.tx, found)
    sign_on.taken_back(call, found.account, found.name)
    credentials.changed(call.tx)


def proven_password(prelude: Prelude, user: UserId, ask: PasswordIn) -> tuple[str, str]:
    """Whether the old one is right (for one's own), and the new one hashed, with what the old one was."""
    with prelude.look() as call:
        before = _whose_password(call, user).password_hash
    if user == prelude.caller.user:
        if ask.old is None:
            raise BadInput("one's own password is changed with the old one", field="old")
        prelude.around.attempts.admit(prelude.around.clock, prelude.caller.source, user)
        if not tokens.check_password(ask.old, before or None):
            raise Forbidden("the old password is not right", field="old")
        prelude.around.attempts.right(prelude.caller.source, user)
    return before, hashed(prelude, ask.new)


def change_password(
    call: Call,
    user: UserId,
    _ask: PasswordIn,
    proven: tuple[str, str],
) -> UserOut:
    """Other sessions of the user end. One's own needs the old password, others' a rank that is not lower."""
    before, after_hash = proven
    found = _whose_password(call, user)
    check_expected(call, found.generation, users.WHAT)
    if found.password_hash != before:
        raise Conflict("the password was changed meanwhile")
    after = found.changed(password_hash=after_hash)
    users.save(call.tx, after)
    keys.remove_sessions(call.tx, user, but=call.caller.via)
    sign_on.taken_back(call, found.account, found.name)
    credentials.changed(call.tx)
    return shown(after)


def check_none_higher(call: Call, account: AccountId) -> None:
    """Raises `Forbidden` when the account has a user of a higher rank than the caller's."""
    for each in users.of_account(call.tx, account):
        _check_rank(call, users.get(call.tx, call.caller.scope, each))


def check_may_touch(call: Call, user: UserId) -> None:
    """Raises `Forbidden` unless the caller may change this user and what is theirs."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    _touchable(call, user)


def shown(user: User) -> UserOut:
    """As it looks outside."""
    return UserOut(
        id=user.id,
        account=user.account,
        name=user.name,
        role=user.role,
        enabled=user.enabled,
        has_password=bool(user.password_hash),
        generation=user.generation,
        created_at=user.created_at,
    )


def _whose_password(call: Call, user: UserId) -> User:
    own = user == call.caller.user
    call.caller.needs(Permission.KEY_WRITE if own else Permission.ACCOUNT_WRITE)
    return _touchable(call, user)


def _touchable(call: Call, user: UserId) -> User:
    found = users.get(call.tx, call.caller.scope, user, lock=True)
    _check_rank(call, found)
    return found


def _check_rank(call: Call, user: User) -> None:
    """By rank, and by permissions: a credential with few scopes must not come by a user with more."""
    role = users.role(call.tx, user.role)
    if role.rank > call.caller.rank:
        raise Forbidden(f"{user.name} has a higher rank ({user.role}) than you")
    if user.id != call.caller.user and not role.permissions <= call.caller.permissions:
        raise Forbidden(f"{user.name} may do more ({user.role}) than this credential")


def _givable(call: Call, name: str, where: str) -> Role:
    try:
        role = users.role(call.tx, name)
    except BadInput as error:
        raise BadInput(error.public, field=where) from error
    if role.rank > call.caller.rank or not role.permissions <= call.caller.permissions:
        raise Forbidden(f"you can't give the role {name}: it may do more than you", field=where)
    return role
