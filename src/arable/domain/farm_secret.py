"""A secret of a farm: a text that its elements are given, and that nobody else is shown."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from arable.domain.ids import AccountId, FarmId, SecretId


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmSecret:
    """As it is kept. `sealed` is its text, encrypted for this farm; empty while its owner has yet to give it.

    `number` counts the texts that it had. A machine keeps the one that there was when it was made.
    """

    id: SecretId
    farm: FarmId
    account: AccountId
    name: str
    sealed: str = field(default="", repr=False)
    given: bool = False  # by its owner; else drawn
    number: int = 0
    generation: int = 1
    created_at: datetime
    changed_at: datetime

    def changed(self, at: datetime, **but: Any) -> "FarmSecret":
        """The same secret with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, changed_at=at, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedWord:
    """What a word of a machine's user-data, `{{secret.NAME}}`, stands for: encrypted for that machine alone."""

    name: str
    sealed: str = field(repr=False)
