"""Pages: a store is asked for one more than is wanted, which tells whether there is a next page."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from arable.wire.common import Page, PageQuery


class _Kept(Protocol):
    @property
    def id(self) -> str: ...


V = TypeVar("V", bound=_Kept)
O = TypeVar("O")  # noqa: E741 - an answer's document


def paged(found: Sequence[V], query: PageQuery, shape: Callable[[V], O]) -> Page[O]:
    """The page of what was found with `limit=query.limit + 1`."""
    kept = found[: query.limit]
    more = len(found) > query.limit
    return Page(items=[shape(each) for each in kept], next=kept[-1].id if more else None)
