"""Names of databases that took each other's place, and which of two is the later one (docs/decisions/0005).

A name is an id, so it begins with the time when it was drawn. Of two databases of one cloud the one that was named
later counts: it was restored, or promoted, when the other one had been given up.
"""

KIND = "incarnation"

_LENGTH = len(KIND) + 1 + 20


def is_later(one: str, other: str) -> bool:
    """Whether `one` was named after `other`; False where that can't be told."""
    return _ordered(one) and _ordered(other) and one[:_LENGTH] > other[:_LENGTH]


def _ordered(name: str) -> bool:
    return name.startswith(f"{KIND}-") and len(name) >= _LENGTH
