"""What management servers say to each other. Answers are read leniently: two adjacent versions run together."""

import msgspec

PING = "/cluster/ping"
"""Answered to servers alone, by their certificates."""


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, in which of its lives, and the epoch that it acts as master with; 0: it does not."""

    id: str
    incarnation: int
    epoch: int = 0
