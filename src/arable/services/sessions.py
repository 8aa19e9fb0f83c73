"""Signing in and out. The password is judged before the write, on a thread of its own, and after the rate was."""

from datetime import timedelta

from arable.domain.errors import Conflict, Unauthenticated
from arable.domain.ids import SessionId
from arable.domain.user import Session, User
from arable.runtime import tokens
from arable.services import credentials, sign_on
from arable.services.call import Call, Prelude
from arable.services.pages import paged
from arable.store import keys, users
from arable.wire.common import Page, PageQuery
from arable.wire.users import NewSessionOut, SessionIn, SessionOut

LIFE = timedelta(hours=12)
_REFUSED = "name or password is not right"


def proven(prelude: Prelude, ask: SessionIn) -> User:
    """Whose name and password these are. One text and one time for every reason why not."""
    around = prelude.around
    around.attempts.admit(around.clock, prelude.caller.source, ask.name)
    with prelude.look() as call:
        found = users.signing_in(call.tx, ask.name)
    kept = found[0].password_hash or None if found else None
    right = tokens.check_password(ask.password, kept)
    if found is None or not right:
        raise Unauthenticated(_REFUSED)
    user, account_enabled = found
    if not (user.enabled and account_enabled):
        raise Unauthenticated(_REFUSED)
    around.attempts.right(prelude.caller.source, ask.name)
    return user


def create(call: Call, ask: SessionIn, user: User) -> NewSessionOut:
    """Sign in."""
    found = users.signing_in(call.tx, ask.name)  # what was proven must still be so
    if found is None or found[0] != user or not found[1]:
        raise Unauthenticated(_REFUSED)
    now = call.around.clock.now()
    id_ = SessionId(call.around.ids.new("session"))
    issued = tokens.new_session(id_, call.around.entropy)
    session = Session(
        id=id_, user=user.id, secret_hash=issued.digest, expires_at=now + LIFE, created_at=now
    )
    keys.add_session(call.tx, session)
    return NewSessionOut(
        id=session.id,
        user=session.user,
        expires_at=session.expires_at,
        created_at=session.created_at,
        token=issued.text.reveal(),
    )


def page(call: Call, query: PageQuery) -> Page[SessionOut]:
    """The caller's own that still count."""
    found = keys.sessions(
        call.tx,
        call.caller.user,
        call.around.clock.now(),
        after=query.after,
        limit=query.limit + 1,
    )
    return paged(found, query, shown)


def end(call: Call) -> None:
    """Sign out."""
    if not call.caller.via.startswith("session-"):
        raise Conflict("this credential is a key, not a session; delete the key instead")
    delete(call, SessionId(call.caller.via))


def delete(call: Call, session: SessionId) -> None:
    """Sign out elsewhere: one of the caller's own sessions."""
    keys.remove_session(call.tx, call.caller.user, session)
    sign_on.taken_back(call, call.caller.account, call.caller.name)
    credentials.changed(call.tx)


def shown(session: Session) -> SessionOut:
    """As it looks outside."""
    return SessionOut(
        id=session.id,
        user=session.user,
        expires_at=session.expires_at,
        created_at=session.created_at,
    )
