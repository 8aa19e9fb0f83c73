"""What tells operators of alerts, to those who call it; the ways themselves are in `drivers/alerts/`."""

from collections.abc import Sequence
from typing import Protocol

from arable.domain.alert import Notice, Target
from arable.runtime.secret import Secret

SECONDS = 10.0
"""The longest that anything may take the other end to answer."""


class Sender(Protocol):
    """Sends by one kind of route."""

    @property
    def most(self) -> int:
        """How many notices go in one."""

    def send(self, target: Target, secret: Secret | None, notices: Sequence[Notice]) -> None:
        """Returns when the other end has taken all of them.

        Raises `Unavailable` when it can't be reached, and `Conflict` when it answers and does not want them.
        """
