"""Accounts below the caller's domain."""

import msgspec

from arable.domain.access import Permission
from arable.domain.account import Account
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId, DomainId
from arable.services import credentials, limits, sign_on, users
from arable.services.asks import check_expected
from arable.services.call import Call, Prelude
from arable.services.pages import paged
from arable.store import accounts, domains, shares
from arable.store.grid_members import TOPIC as GRID
from arable.store.images import TOPIC as IMAGES
from arable.store.nudges import nudge
from arable.wire.accounts import AccountChange, AccountIn, AccountOut, AccountQuery
from arable.wire.common import Page
from arable.wire.regions import FederationIn


def page(call: Call, query: AccountQuery) -> Page[AccountOut]:
    """Those that the caller sees."""
    call.caller.needs(Permission.ACCOUNT_READ)
    where = accounts.AccountFilter(domain=query.domain, name=query.name, enabled=query.enabled)
    found = accounts.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    return paged(found, query, shown)


def get(call: Call, account: AccountId) -> AccountOut:
    """One of them."""
    call.caller.needs(Permission.ACCOUNT_READ)
    return shown(accounts.get(call.tx, call.caller.scope, account))


def hashed_password(prelude: Prelude, ask: AccountIn) -> str:
    """Of the first user; empty when none was given."""
    prelude.caller.needs(Permission.ACCOUNT_WRITE)
    return users.hashed(prelude, ask.user.password if ask.user else None)


def create(call: Call, ask: AccountIn, password_hash: str) -> AccountOut:
    """A new account with its limits, and its first user if one is described: all of it or nothing."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    where = DomainId(ask.domain) if ask.domain is not None else call.caller.domain
    domain = domains.get(call.tx, call.caller.scope, where, lock=True)
    account = Account(
        id=AccountId(call.around.ids.new("account")),
        domain=domain.id,
        name=ask.name,
        created_at=call.around.clock.now(),
    )
    accounts.add(call.tx, account)
    limits.add(call, account.id, ask.limits)
    if ask.user is None:
        return shown(account)
    user = users.add(call, account.id, ask.user.name, ask.user.role, password_hash, within="user.")
    return msgspec.structs.replace(shown(account), user=user.id)


def update(call: Call, account: AccountId, ask: AccountChange) -> AccountOut:
    """Another name, or whether its users are let in."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    found = accounts.get(call.tx, call.caller.scope, account, lock=True)
    check_expected(call, found.generation, accounts.WHAT)
    but = {
        name: value
        for name in ("name", "enabled")
        if (value := getattr(ask, name)) is not msgspec.UNSET
    }
    if but.get("enabled") is False and found.id == call.caller.account:
        raise Conflict("nobody locks themselves out: this is your own account", field="enabled")
    users.check_none_higher(call, found.id)
    after = found.changed(**but)
    accounts.save(call.tx, after)
    if after.name != found.name:
        shares.adopt(call.tx, found.id)  # limits over all regions are those of its path
    sign_on.taken_back(call, found.id)
    credentials.changed(call.tx)
    return shown(after)


def federate(call: Call, account: AccountId, ask: FederationIn) -> AccountOut:
    """Say from which regions it may be asked for. For operators, since it lets others' users in."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = accounts.get(call.tx, call.caller.scope, account, lock=True)
    check_expected(call, found.generation, accounts.WHAT)
    if found.id == call.caller.account:
        raise Conflict("the operators' own account is nobody's elsewhere", field="origins")
    after = found.changed(federated=tuple(sorted(set(ask.origins))))
    accounts.save(call.tx, after)
    nudge(call.tx, GRID)
    nudge(call.tx, IMAGES)
    return shown(after)


def delete(call: Call, account: AccountId) -> None:
    """With its users; refused while it owns anything."""
    call.caller.needs(Permission.ACCOUNT_WRITE)
    found = accounts.get(call.tx, call.caller.scope, account, lock=True)
    check_expected(call, found.generation, accounts.WHAT)
    if found.id == call.caller.account:
        raise Conflict("nobody removes their own account")
    users.check_none_higher(call, found.id)
    sign_on.taken_back(call, found.id)
    accounts.remove(call.tx, found)
    credentials.changed(call.tx)


def shown(account: Account) -> AccountOut:
    """As it looks outside."""
    return AccountOut(
        id=account.id,
        domain=account.domain,
        name=account.name,
        enabled=account.enabled,
        federated=account.federated,
        generation=account.generation,
        created_at=account.created_at,
    )
