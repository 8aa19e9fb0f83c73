"""Why something failed after its call was answered: an error as a value, with its causes, to be kept and shown.

The same words as a problem of the API (`no-room`, `limit-exceeded`), made from the class's name in this one place.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arable.domain.errors import CloudError

_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Failure:
    """One error and what it came from. `text` is for the user, as `CloudError.public` is."""

    kind: str
    text: str
    why: Mapping[str, Any] | Sequence[Any] | None = None
    causes: tuple["Failure", ...] = ()


def kind_of(error: type[CloudError]) -> str:
    """`LimitExceeded` is `limit-exceeded`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", error.__name__).lower()


def failure(error: BaseException, depth: int = 0) -> Failure:
    """The error and its chain of causes. What is not ours says nothing of itself: it may hold anything."""
    cause = error.__cause__
    causes = (failure(cause, depth + 1),) if cause is not None and depth < _DEEPEST else ()
    if isinstance(error, CloudError):
        return Failure(kind_of(type(error)), error.public, error.why, causes)
    return Failure("internal", "an internal error; operators find it in the log", None, causes)
