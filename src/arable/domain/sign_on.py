"""One sign-on: who was let in by a region says so to another one by a short text that the first one signed. Pure.

The text names who signed it and by which key, for which one region it is meant, who asks, what that credential may, and
for how long it counts: minutes. The region that it is meant for needs nobody to judge it: it knows others' public keys,
and which texts were taken back, as facts of the grid.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import msgspec

from arable.domain.errors import Unauthenticated

PREFIX = "at_"
LONGEST = 3072
"""Characters of such a text."""
LIFE = timedelta(minutes=10)
"""How long one counts; what claims to count for longer does not."""
SKEW = timedelta(seconds=60)
"""How far clocks of regions may differ."""
ROTATE = timedelta(days=7)
"""How old a key becomes until there is a new one."""
SPREADS = timedelta(minutes=5)
"""A new key is told for so long before anything is signed by it, unless there is no other."""
KEPT = 2 * LIFE + SKEW
"""For so long is known what was taken back, and which key is used no more: nothing of before counts after that."""
_SIGNED = b"arable sign-on 1\n"
_REFUSED = "not a token of another region"


class Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. Times are milliseconds since 1970."""

    by: str  # region
    key: str
    to: str  # region
    account: str  # path
    user: str
    may: tuple[str, ...]  # permissions
    at: int
    until: int


def text_of(claims: Claims) -> str:
    """As it goes over wires, without the signature."""
    return _letters(msgspec.json.encode(claims))


def to_sign(text: str) -> bytes:
    """What is signed of that text. No other signature of the same key can be taken for this one."""
    return _SIGNED + text.encode()


def token(text: str, signature: bytes) -> str:
    """The whole of it."""
    return f"{PREFIX}{text}.{_letters(signature)}"


def parsed(token: str) -> tuple[Claims, bytes, bytes]:
    """What it claims, what is signed, and by what. Raises `Unauthenticated`. Nothing of it is to be believed as yet."""
    text, _, signature = token.removeprefix(PREFIX).partition(".")
    if not token.startswith(PREFIX) or len(token) > LONGEST:
        raise Unauthenticated(_REFUSED)
    try:
        claims = msgspec.json.decode(_octets(text), type=Claims)
        return claims, to_sign(text), _octets(signature)
    except (ValueError, msgspec.DecodeError) as error:
        raise Unauthenticated(_REFUSED) from error


def counts(claims: Claims, own: str, now: datetime, taken_back: Sequence[datetime]) -> bool:
    """Whether what was rightly signed counts here and now; `taken_back`: nothing that was signed until then does."""
    at, until = moment(claims.at), moment(claims.until)
    return (
        bool(own)
        and claims.to == own
        and claims.by != own
        and at - SKEW <= now < until
        and timedelta(0) < until - at <= LIFE
        and all(at > before for before in taken_back)
    )


def millis(at: datetime) -> int:
    """Whole milliseconds, downwards."""
    return (at - _BEGIN) // timedelta(milliseconds=1)


def moment(value: int) -> datetime:
    """The other way round. Raises `Unauthenticated` for what is none."""
    try:
        return _BEGIN + timedelta(milliseconds=value)
    except OverflowError as error:
        raise Unauthenticated(_REFUSED) from error


def mark(account: str, user: str = "") -> str:
    """By what is told whose texts are taken back, without names; without a user: all of the account."""
    return hashlib.sha256(f"{account}\n{user}".encode()).hexdigest()


_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


class Key(Protocol):
    """A region's key to sign by."""

    @property
    def created_at(self) -> datetime: ...


K = TypeVar("K", bound=Key)


def signing(keys: Sequence[K], now: datetime) -> K | None:
    """By which of a region's keys is signed now: the newest that all had time to hear of, else the oldest."""
    ordered = sorted(keys, key=lambda key: key.created_at)
    told = [key for key in ordered if now - key.created_at >= SPREADS]
    return told[-1] if told else ordered[0] if ordered else None


def is_due(keys: Sequence[K], now: datetime) -> bool:
    """Whether there should be a new one."""
    return all(now - key.created_at >= ROTATE for key in keys)


def over(keys: Sequence[K], now: datetime) -> list[K]:
    """Those that nothing is signed by any more, and nothing counts that was."""
    newest = max((key.created_at for key in keys), default=now)
    done = now - newest >= SPREADS + KEPT
    return [key for key in keys if done and key.created_at < newest]


def _letters(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _octets(letters: str) -> bytes:
    padded = letters.encode("ascii") + b"=" * (-len(letters) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)
