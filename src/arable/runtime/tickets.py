"""Tickets: secrets that let their bearer do one thing, once, soon. Kept in memory: whoever loses one asks for another."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy

V = TypeVar("V")

_MOST = 10_000


@dataclass
class Tickets(Generic[V]):
    """`issue` one for something; the first to show it within `seconds` gets that something. From any thread."""

    clock: Clock
    entropy: Entropy
    seconds: float = 30.0
    _waiting: OrderedDict[str, tuple[float, V]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self, what: V) -> str:
        """A ticket's text. When far too many are out, the oldest ones end early."""
        text = self.entropy.secret()
        with self._lock:
            self._expire()
            if len(self._waiting) >= _MOST:
                self._waiting.popitem(last=False)
            self._waiting[text] = (self.clock.monotonic() + self.seconds, what)
        return text

    def take(self, text: str) -> V | None:
        """What the ticket is for; None when it does not count (any more)."""
        with self._lock:
            self._expire()
            found = self._waiting.pop(text, None)
        return None if found is None else found[1]

    @property
    def life(self) -> timedelta:
        """How long a new one counts."""
        return timedelta(seconds=self.seconds)

    def _expire(self) -> None:
        now = self.clock.monotonic()
        while self._waiting:
            text, (until, _) = next(iter(self._waiting.items()))
            if until > now:
                return
            del self._waiting[text]
