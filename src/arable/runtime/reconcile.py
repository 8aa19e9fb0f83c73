"""Look, decide, act: the one shape of everything that runs by itself.

No argument, no memory between rounds, no retry inside: the next round is the retry.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from arable.domain.errors import CloudError
from arable.runtime.full_disk import or_no_room

log = logging.getLogger(__name__)

Seen = TypeVar("Seen")
Action = TypeVar("Action")


class Reconciler(Protocol[Seen, Action]):
    """`plan` is pure: it can be tested with values, printed and explained."""

    @property
    def name(self) -> str: ...

    def observe(self) -> Seen: ...

    def plan(self, seen: Seen, /) -> Sequence[Action]: ...

    def apply(self, action: Action, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Round:
    """How a round went."""

    actions: int
    failed: int


def run_once(reconciler: Reconciler[Seen, Action]) -> Round:
    """One round. An action that fails is left for the next round to plan again."""
    actions = reconciler.plan(reconciler.observe())
    failed = 0
    for action in actions:
        try:
            with or_no_room():
                reconciler.apply(action)
        except CloudError as error:
            failed += 1
            log.warning("%s: %s: %s", reconciler.name, action, error.public)
    return Round(len(actions), failed)
