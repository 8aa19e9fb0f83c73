"""A secret that can't be shown by accident: not printed, not logged, not pickled, not put into JSON."""

import hmac
from typing import NoReturn


class Secret:
    """Holds text; `reveal()` is the one way to it, so every use can be found by searching for the word."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Never log, store or send what this returns, except where it is meant to go."""
        return self._text

    def matches(self, other: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self._text.encode(), other.encode())

    def __repr__(self) -> str:
        return "Secret(…)"

    def __str__(self) -> str:
        return "…"

    def __format__(self, spec: str) -> str:
        return "…"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can't be serialised")
