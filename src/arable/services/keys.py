"""API keys: made by a user for themselves, never wider and never longer-lived than what made them."""

from datetime import timedelta

from arable.domain.access import EVERYTHING, Permission
from arable.domain.errors import Conflict, Forbidden, NotFound
from arable.domain.ids import KeyId, UserId
from arable.domain.user import ApiKey
from arable.runtime import tokens
from arable.services import credentials, sign_on, users
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import keys
from arable.store import users as user_rows
from arable.wire.common import Page
from arable.wire.users import KeyIn, KeyOut, KeyQuery, NewKeyOut

MOST = 50
"""Keys of one user."""


def page(call: Call, query: KeyQuery) -> Page[KeyOut]:
    """The caller's own; another's for administrators."""
    user = query.user or call.caller.user
    if user != call.caller.user:
        call.caller.needs(Permission.ACCOUNT_WRITE)
        user_rows.get(call.tx, call.caller.scope, UserId(user))
    found = keys.page(call.tx, call.caller.scope, user, after=query.after, limit=query.limit + 1)
    return paged(found, query, shown)


def get(call: Call, key: KeyId) -> KeyOut:
    """One of them."""
    return shown(_found(call, key))


def create(call: Call, ask: KeyIn) -> NewKeyOut:
    """A new key of one's own."""
    caller = call.caller
    caller.needs(Permission.KEY_WRITE)
    wanted = caller.permissions if ask.scopes is None else frozenset(ask.scopes)
    if beyond := sorted(wanted - caller.permissions):
        raise Forbidden(
            f"a key can't do more than what made it: you lack {', '.join(beyond)}", field="scopes"
        )
    if keys.count(call.tx, caller.user) >= MOST:
        raise Conflict(f"you have {MOST} keys already; delete one first")
    now = call.around.clock.now()
    expires = now + timedelta(days=ask.expires_in_days)
    if caller.via.startswith("key-"):
        parent = keys.get(call.tx, caller.scope, KeyId(caller.via))
        expires = min(expires, parent.expires_at or expires)
    id_ = KeyId(call.around.ids.new("key"))
    issued = tokens.new_api_key(id_, call.around.entropy)
    key = ApiKey(
        id=id_,
        user=caller.user,
        name=ask.name,
        secret_hash=issued.digest,
        scopes=tuple(sorted(caller.narrowed(wanted))),
        expires_at=expires,
        created_at=now,
    )
    keys.add(call.tx, key)
    return NewKeyOut(
        id=key.id,
        user=key.user,
        name=key.name,
        scopes=list(key.scopes),
        expires_at=key.expires_at,
        created_at=key.created_at,
        used_at=None,
        secret=issued.text.reveal(),
    )


def delete(call: Call, key: KeyId) -> None:
    """It counts no longer, here at once."""
    found = _found(call, key)
    if found.user == call.caller.user:
        call.caller.needs(Permission.KEY_WRITE)
    else:
        users.check_may_touch(call, found.user)
    keys.remove(call.tx, found.id)
    whose = user_rows.get(call.tx, EVERYTHING, found.user)
    sign_on.taken_back(call, whose.account, whose.name)
    credentials.changed(call.tx)


def shown(key: ApiKey) -> KeyOut:
    """As it looks outside."""
    return KeyOut(
        id=key.id,
        user=key.user,
        name=key.name,
        scopes=list(key.scopes),
        expires_at=key.expires_at,
        created_at=key.created_at,
        used_at=key.used_at,
    )


def _found(call: Call, key: KeyId) -> ApiKey:
    """One's own, or an administrator's to see; all others read as absent."""
    found = keys.get(call.tx, call.caller.scope, key)
    if found.user != call.caller.user and Permission.ACCOUNT_WRITE not in call.caller.permissions:
        raise NotFound("there is no such key")
    return found
