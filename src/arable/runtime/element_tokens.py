"""Tokens of programs inside a farm: signed, not kept. Each is of one element's one machine, for some minutes.

Nothing has to be written to give one out or to have it die: it is worth nothing once its element has another machine,
and that is looked up with each call. Its text begins with what it is, so that a scanner finds one that was published.
"""

import base64
import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from arable.domain.errors import Unauthenticated
from arable.domain.ids import ElementId, MachineId
from arable.domain.inside import MOST_TOKEN, Right
from arable.runtime.ca import Authority
from arable.runtime.secret import Secret

_PREFIX = "ae_"
_PURPOSE = "arable element tokens 1"
_REFUSED = "this token does not count: it is no token, its time is over, or it is another machine's; ask for one anew"


@dataclass(frozen=True, slots=True)
class ElementToken:
    """What one says. `until` in whole seconds since 1970."""

    element: ElementId
    machine: MachineId
    rights: tuple[Right, ...]
    until: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ElementToken).decode


def issue(
    authority: Authority,
    element: ElementId,
    machine: MachineId,
    rights: Collection[Right],
    until: datetime,
) -> Secret:
    """Its text, for who asked."""
    said = ElementToken(element, machine, tuple(sorted(rights)), int(until.timestamp()))
    body = base64.urlsafe_b64encode(_encode(said)).decode().rstrip("=")
    return Secret(f"{_PREFIX}{body}.{_sign(authority, body)}")


def read(authority: Authority, text: str, now: datetime) -> ElementToken:
    """What it says, if it is one of ours and its time is not over. Raises `Unauthenticated`, always with the same text."""
    body, _, signed = text.removeprefix(_PREFIX).partition(".")
    ours = len(text) <= MOST_TOKEN and text.isascii() and text.startswith(_PREFIX)
    if not ours or not hmac.compare_digest(signed, _sign(authority, body)):
        raise Unauthenticated(_REFUSED)
    said = _decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    if now >= datetime.fromtimestamp(said.until, UTC):
        raise Unauthenticated(_REFUSED)
    return said


def refused() -> Unauthenticated:
    """What is said of every token that does not count."""
    return Unauthenticated(_REFUSED)


def _sign(authority: Authority, body: str) -> str:
    key = authority.key_for(_PURPOSE)
    return hmac.new(key, body.encode(), hashlib.sha256).hexdigest()
