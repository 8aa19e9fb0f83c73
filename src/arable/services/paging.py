"""A page of answers from one row more than was asked for: that there is another row says that there is another page."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from arable.wire.common import Page


class HasId(Protocol):
    """Whatever is listed by id."""

    @property
    def id(self) -> Any: ...


V = TypeVar("V", bound=HasId)
Answer = TypeVar("Answer")


def paged(found: Sequence[V], limit: int, out: Callable[[V], Answer]) -> Page[Answer]:
    """`found` was asked for with `limit + 1`."""
    more = len(found) > limit
    return Page(
        items=[out(each) for each in found[:limit]], next=found[limit - 1].id if more else None
    )
