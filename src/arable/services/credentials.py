"""From a token to a caller: the one place where callers of the public API are made.

A verified credential may be believed for `BELIEVED` seconds without asking the store again, so that a busy client costs
one query a second. Whatever changes users, keys, sessions or roles nudges `TOPIC`, and this server forgets at once;
other servers follow within that second.
"""

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import timedelta

from arable.domain.access import Caller, Rank, Scope
from arable.domain.errors import Unauthenticated
from arable.domain.ids import AccountId, DomainId, KeyId, UserId
from arable.runtime import tokens
from arable.runtime.clock import Clock
from arable.store import credentials
from arable.store.database import Database, Tx
from arable.store.nudges import nudge
from arable.store.writer import Writer

TOPIC = "credentials"
BELIEVED = 1.0
_MOST = 10_000
_USED_EVERY = timedelta(minutes=5)  # how exact `used_at` of a key is
_REFUSED = (
    "this credential does not count: it is unknown, has expired or was revoked; sign in again"
)

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
        with self._lock:
            epoch = self._epoch
        until = self.clock.monotonic() + BELIEVED
        with self.database.read() as tx:
            holder = self._holder(tx, token)
        if holder is None or not tokens.matches(token, holder.secret_hash) or not holder.enabled:
            raise Unauthenticated(_REFUSED)
        now = self.clock.now()
        if holder.expires_at is not None and holder.expires_at <= now:
            raise Unauthenticated(_REFUSED)
        caller = _caller(holder)
        with self._lock:
            if epoch == self._epoch:  # nothing was revoked while we looked
                if len(self._believed) >= _MOST:
                    self._believed.clear()
                self._believed[_mark(token)] = (caller, until)
        if holder.scopes is not None and (
            holder.used_at is None or holder.used_at < now - _USED_EVERY
        ):
            key = KeyId(holder.id)
            self.writer.submit(lambda tx: credentials.used(tx, key, now))
        return caller

    def forget(self) -> None:
        """Believe nothing any more."""
        with self._lock:
            self._epoch += 1
            self._believed.clear()

    def _holder(self, tx: Tx, token: str) -> credentials.Holder | None:
        if token.startswith("ak_"):
            return credentials.of_key(tx, tokens.api_key_id(token))
        if token.startswith("as_"):
            return credentials.of_session(tx, tokens.session_id(token))
        raise Unauthenticated(_REFUSED)


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
