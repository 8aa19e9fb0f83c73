"""From a token to a caller: the one place where callers of the public API are made.

A verified credential may be believed for `BELIEVED` seconds without asking the store again, so that a busy client costs
one query a second. Whatever changes users, keys, sessions or roles nudges `TOPIC`, and this server forgets at once;
other servers follow within that second.
"""

import hashlib
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from arable.domain.access import Caller, Rank, Scope
from arable.domain.errors import Unauthenticated
from arable.domain.ids import AccountId, DomainId, KeyId, SessionId, UserId
from arable.domain.sign_on import PREFIX
from arable.runtime import tokens
from arable.runtime.clock import Clock
from arable.services import sign_on
from arable.store import credentials
from arable.store.database import Database, Tx
from arable.store.nudges import nudge
from arable.store.writer import Writer

TOPIC = "credentials"
BELIEVED = 1.0
_MOST = 10_000
_USED_EVERY = timedelta(minutes=5)  # how exact `used_at` of a key is
REFUSED = "this credential does not count: it is unknown, has expired or was revoked; sign in again"

NOBODY = Caller(
    user=UserId(""),
    name="",
    account=AccountId("nobody"),  # so that its scope is one account, and that one owns nothing
    domain=DomainId(""),
    path="",
    role="nobody",
    rank=Rank.READER,
    permissions=frozenset(),
    via="nothing",
)
"""Who asks without a credential, where that is allowed."""

assert NOBODY.scope == Scope(account=AccountId("nobody"))


def changed(tx: Tx) -> None:
    """To be said by whatever changes what a credential is worth."""
    nudge(tx, TOPIC)


@dataclass
class Credentials:
    """Verifies tokens. Safe to share between threads."""

    database: Database
    writer: Writer
    clock: Clock
    _believed: dict[bytes, tuple[Caller, float]] = field(default_factory=dict)
    _epoch: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def believed(self, token: str) -> Caller | None:
        """Who this was a moment ago; None when the store must be asked. Never blocks."""
        found = self._believed.get(_mark(token))
        if found is None or found[1] < self.clock.monotonic():
            return None
        return found[0]

    def verify(self, token: str) -> Caller:
        """Who this is, as the store says now. Raises `Unauthenticated`, with one text for every reason."""
        found = self.verify_many([token])[token]
        if found is None:
            raise Unauthenticated(REFUSED)
        return found

    def verify_many(self, asked: Sequence[str]) -> dict[str, Caller | None]:
        """The same of many at once, by one look at the store; None for those that don't count."""
        with self._lock:
            epoch = self._epoch
        until = self.clock.monotonic() + BELIEVED
        holders = self._holders(asked)
        now = self.clock.now()
        found: dict[str, Caller | None] = dict.fromkeys(asked)
        signed = [token for token in asked if token.startswith(PREFIX)]
        if signed:  # judged each time: they count for minutes, and what is taken back is heard from elsewhere
            with self.database.read() as tx:
                found |= sign_on.callers(tx, signed, now)
        for token, holder in holders.items():
            if not self._counts(token, holder, now):
                continue
            caller = found[token] = _caller(holder)
            with self._lock:
                if epoch == self._epoch:  # nothing was revoked while we looked
                    if len(self._believed) >= _MOST:
                        self._believed.clear()
                    self._believed[_mark(token)] = (caller, until)
        used = [
            KeyId(holders[token].id)
            for token, caller in found.items()
            if caller is not None
            and token in holders
            and holders[token].scopes is not None
            and _is_long_ago(holders[token].used_at, now)
        ]
        if used:
            self.writer.submit(lambda tx: credentials.used(tx, used, now))
        return found

    def forget(self) -> None:
        """Believe nothing any more."""
        with self._lock:
            self._epoch += 1
            self._believed.clear()

    def _holders(self, asked: Sequence[str]) -> dict[str, credentials.Holder]:
        """By token: whose it says it is. Whether it is theirs is to be seen."""
        keys: dict[str, KeyId] = {}
        sessions: dict[str, SessionId] = {}
        for token in asked:
            with suppress(Unauthenticated):  # a text that is none of ours
                if token.startswith("ak_"):
                    keys[token] = tokens.api_key_id(token)
                elif token.startswith("as_"):
                    sessions[token] = tokens.session_id(token)
        if not keys and not sessions:
            return {}
        with self.database.read() as tx:
            there = credentials.of_keys(tx, set(keys.values()))
            there |= credentials.of_sessions(tx, set(sessions.values()))
        ids: dict[str, str] = {**keys, **sessions}
        return {token: there[id_] for token, id_ in ids.items() if id_ in there}

    @staticmethod
    def _counts(token: str, holder: credentials.Holder, now: datetime) -> bool:
        return (
            tokens.matches(token, holder.secret_hash)
            and holder.enabled
            and (holder.expires_at is None or now < holder.expires_at)
        )


def _is_long_ago(used_at: datetime | None, now: datetime) -> bool:
    return used_at is None or used_at < now - _USED_EVERY


def _caller(holder: credentials.Holder) -> Caller:
    permissions = holder.permissions
    if holder.scopes is not None:
        permissions &= holder.scopes
    return Caller(
        user=holder.user,
        name=holder.name,
        account=holder.account,
        domain=holder.domain,
        path=holder.path,
        role=holder.role,
        rank=holder.rank,
        permissions=permissions,
        via=holder.id,
    )


def _mark(token: str) -> bytes:
    """What a token is remembered by: its text stays nowhere."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
