"""A life cycle as a table: the table is the code, the diagram in the docs and the plan of the tests."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from arable.domain.errors import Conflict

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True)
class Lifecycle(Generic[S, E]):
    """States, and what each event makes of them."""

    first: S
    final: frozenset[S]
    rows: Mapping[tuple[S, E], S]

    def next(self, state: S, event: E) -> S:
        """The state after `event`; raises `Conflict` when the event can't happen in this state."""
        after = self.rows.get((state, event))
        if after is None:
            raise Conflict(f"can't {event} while {state}; possible now: {self._choices(state)}")
        return after

    def allows(self, state: S, event: E) -> bool:
        """Whether `event` may happen in `state`."""
        return (state, event) in self.rows

    def events(self, state: S) -> Iterator[E]:
        """What may happen in `state`."""
        return (event for (before, event) in self.rows if before == state)

    def mermaid(self) -> str:
        """The diagram for the docs."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.first}"]
        lines += [
            f"    {before} --> {after}: {event}" for (before, event), after in self.rows.items()
        ]
        lines += [f"    {state} --> [*]" for state in sorted(self.final)]
        return "\n".join(lines) + "\n"

    def _choices(self, state: S) -> str:
        return ", ".join(sorted(self.events(state))) or "nothing"


def table(first: S, final: set[S], *rows: tuple[S, E, S]) -> Lifecycle[S, E]:
    """Rows of (state, event, state after), each pair at most once."""
    made = {(before, event): after for before, event, after in rows}
    if len(made) != len(rows):
        raise ValueError("two rows for the same state and event")
    return Lifecycle(first, frozenset(final), made)
