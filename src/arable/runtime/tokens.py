"""Secrets that people and programs show to be let in: their text, how they are kept, how they are compared.

Tokens (API keys, sessions, join tokens) are drawn by us and carry 200 bits of chance, so a plain SHA-256 of the
text is all that is kept: it can't be turned back, and it can be looked up. Passwords are drawn by people and
can be guessed, so they are kept with argon2id, which makes each guess dear. A token is shown once, at creation.

A token's text begins with what it is, so that a scanner finds one that was published by mistake, and a log's
reader knows what to revoke.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

import crypt_r
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from arable.domain.errors import BadInput, Unauthenticated
from arable.domain.ids import KeyId, SessionId
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

PASSWORD_LIMIT = 1024
"""Characters; more would only let strangers burn our CPU."""

_API_KEY = re.compile(r"ak_(?P<id>[0-9a-z]{1,32})_(?P<secret>[0-9a-z]{40})")
_SESSION = re.compile(r"as_(?P<id>[0-9a-z]{1,32})_(?P<secret>[0-9a-z]{40})")
_JOIN = re.compile(r"join\.(?P<secret>[0-9a-z]{40})\.(?P<authority>[0-9a-f]{64})")

# OWASP's second choice for argon2id: 19 MiB and one thread a guess, so that a burst of logins neither takes the
# memory of a small server nor all its cores. 20-40 ms here.
_ARGON2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# A password of nobody, for the same work when the user does not exist.
_NOBODY = (
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA"
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token: the text for its owner, once; the digest for the store."""

    text: Secret
    digest: str


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a host was given: the secret's digest finds the token's row, `authority` pins the server."""

    digest: str
    authority: str


def digest(text: str) -> str:
    """What the store keeps of a token, in hex."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def matches(text: str, kept: str) -> bool:
    """Whether `text` is the token whose digest is `kept`; takes the same time whatever the answer."""
    return hmac.compare_digest(digest(text).encode(), kept.encode())


def new_api_key(key: KeyId, entropy: Entropy) -> Issued:
    """`ak_<the id's key>_<secret>`."""
    return _issued(f"ak_{_own(key)}_{entropy.secret()}")


def api_key_id(text: str) -> KeyId:
    """Which key this text claims to be; `matches` says whether it is. Raises `Unauthenticated` for other text."""
    return KeyId(f"key-{_part(_API_KEY, text, 'id', 'an API key')}")


def new_session(session: SessionId, entropy: Entropy) -> Issued:
    """`as_<the id's key>_<secret>`."""
    return _issued(f"as_{_own(session)}_{entropy.secret()}")


def session_id(text: str) -> SessionId:
    """Which session this text claims to be; `matches` says whether it is. Raises `Unauthenticated` for other text."""
    return SessionId(f"session-{_part(_SESSION, text, 'id', 'a session token')}")


def new_join_token(authority: str, entropy: Entropy) -> Issued:
    """`join.<secret>.<fingerprint of the authority>`; the digest is the secret's alone."""
    secret = entropy.secret()
    return Issued(Secret(f"join.{secret}.{authority}"), digest(secret))


def join_token(text: str) -> JoinToken:
    """Read a join token, on either side. Raises `Unauthenticated`."""
    secret = _part(_JOIN, text, "secret", "a join token")
    return JoinToken(digest(secret), _part(_JOIN, text, "authority", "a join token"))


def hash_password(text: str, entropy: Entropy) -> str:
    """What the store keeps of a password."""
    return _ARGON2.hash(_sane(text), salt=entropy.random.randbytes(16))


def check_password(text: str, kept: str | None) -> bool:
    """Whether `text` is the password that `kept` was made of. None (no such user) takes as long and is False."""
    try:
        right = _ARGON2.verify(kept or _NOBODY, _sane(text))
    except (VerificationError, InvalidHashError, BadInput):
        return False
    return right and kept is not None


def needs_rehash(kept: str) -> bool:
    """Whether `kept` was made with weaker settings than today's; hash anew at the next login."""
    return _ARGON2.check_needs_rehash(kept)


def crypt_password(text: str, entropy: Entropy) -> str:
    """A password as `/etc/shadow` has it (SHA-512 crypt), for cloud-init: no clear text reaches the guest's disk."""
    made: str | None = crypt_r.crypt(_sane(text), f"$6$rounds=10000${entropy.letters(16)}")
    if not made or not made.startswith("$6$"):
        raise BadInput("this password can't be hashed", field="password")
    return made


def _issued(text: str) -> Issued:
    return Issued(Secret(text), digest(text))


def _own(name: str) -> str:
    return name.partition("-")[2]


def _part(shape: re.Pattern[str], text: str, part: str, what: str) -> str:
    found = shape.fullmatch(text)
    if not found:
        raise Unauthenticated(f"not {what}")
    return found[part]


def _sane(text: str) -> str:
    """crypt() stops at a NUL, and half a surrogate has no bytes: neither may pass as a password."""
    if not 0 < len(text) <= PASSWORD_LIMIT or "\0" in text or not _encodable(text):
        raise BadInput("a password has 1 to 1024 characters, none of them NUL", field="password")
    return text


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
