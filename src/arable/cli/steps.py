"""A document, and what is to be done for it. Values only: `plans.py` finds them out, `doing.py` does them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from arable.cli.documents import Document

DEFAULT_NETWORK = "default"
MEMBERS = "members"


class Deed(StrEnum):
    """What is to be done with a document's thing."""

    CREATE = "create"
    CHANGE = "change"
    REPLACE = "replace"
    NOTHING = "nothing"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one field."""

    field: str
    has: Any
    wanted: Any
    impossible: str = ""  # why it can't be changed


@dataclass(slots=True)
class Step:
    """A document and what is to be done for it."""

    document: Document
    deed: Deed
    found: Any = None
    differences: list[Difference] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)  # what it refers to that is not there yet
    follows: list[str] = field(default_factory=list)
    """What it takes the newest of, while other documents of the same files are about to make a newer one."""


class Pending(Exception):
    """What is referred to will be made by another document of the same files."""


def network_of(document: Document) -> str:
    """Whose appliance answers for an address."""
    return str(document.fields.get("network") or DEFAULT_NETWORK)
