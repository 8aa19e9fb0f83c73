"""When a call that was not answered as it should is made again, and after how long.

A server that is restarted, or that its load balancer has not missed yet, should be noticed by nobody. What may be
repeated is repeated a few times: what only looks, what has an idempotency key, and anything at all that never
reached a server. Pauses grow, and are of random length, so that those who were hit together don't come back together.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import httpx

BUSY = frozenset({502, 503, 504})
"""Of a server that is leaving or starts, or of a load balancer that has none."""

_FAR = 30.0  # a server that wants us to come back later than that is told to the caller
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)
_CUT_OFF = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _chance() -> float:
    return int.from_bytes(os.urandom(4)) / (1 << 32)


def _key() -> str:
    return os.urandom(16).hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`keys`: writes that bring no idempotency key are given one, so that they can be repeated."""

    tries: int = 5
    first: float = 0.1  # seconds, of the longest first pause
    longest: float = 2.0
    keys: bool = False
    pause: Callable[[float], None] = _pause
    chance: Callable[[], float] = _chance
    key: Callable[[], str] = _key

    def after_failure(self, tried: int, error: httpx.TransportError, *, repeatable: bool) -> bool:
        """Whether to try again, having waited; `tried` is how often it was."""
        unsent = isinstance(error, _UNSENT)
        if tried >= self.tries or not (unsent or (repeatable and isinstance(error, _CUT_OFF))):
            return False
        self.pause(self._long(tried))
        return True

    def after_answer(self, tried: int, answer: httpx.Response, *, repeatable: bool) -> bool:
        """The same for an answer that says to come again."""
        if tried >= self.tries or not repeatable or answer.status_code not in BUSY:
            return False
        asked = _seconds(answer.headers.get("retry-after", ""))
        if asked > _FAR:
            return False
        self.pause(asked + self._long(tried))
        return True

    def rest(self, tried: int) -> None:
        """The pause before one more try, for those who know themselves what may be repeated."""
        self.pause(self._long(tried))

    def _long(self, tried: int) -> float:
        return min(self.first * (1 << min(tried - 1, 20)), self.longest) * self.chance()


NONE = Patience(tries=1)
"""Whatever happens is told at once."""


def _seconds(said: str) -> float:
    """`Retry-After` in seconds; a date, or anything else, counts as nothing."""
    return float(said) if said.isascii() and said.isdecimal() else 0.0
