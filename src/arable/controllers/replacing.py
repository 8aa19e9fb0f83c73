"""Elements that somebody wants other machines for: who asked is told how far it is, and when it is done or off.

That they are drained, dropped and made anew is the tiers' business (`controllers/tiers`), as it is with those that failed.
"""

from datetime import datetime

from arable.domain.element import Element
from arable.domain.errors import CloudError, Conflict
from arable.store import operations
from arable.store.database import Tx


def step(tx: Tx, element: Element, text: str, at: datetime) -> None:
    """It is so far."""
    if element.operation is not None and text:
        operations.advance(tx, element.operation, text, at)


def served(tx: Tx, element: Element, at: datetime) -> dict[str, object]:
    """It serves; with another machine, what was asked for is done. The columns that change with that."""
    if element.replaces is None or element.replaced:
        return {}
    return _over(tx, element, at, None)


def kept(tx: Tx, element: Element, why: str, at: datetime) -> dict[str, object]:
    """It is not replaced after all. The columns that change with that."""
    told = f"it keeps its machine: {why}; let there be more of them first, or force it"
    return _over(tx, element, at, Conflict(told))


def dismissed(tx: Tx, element: Element, at: datetime) -> None:
    """There is no such element any more."""
    if element.operation is not None:
        _over(tx, element, at, Conflict("it is wanted no more: its tier has become smaller"))


def _over(tx: Tx, element: Element, at: datetime, error: CloudError | None) -> dict[str, object]:
    if element.operation is not None and error is None:
        operations.finish(tx, element.operation, at)
    elif element.operation is not None and error is not None:
        operations.fail(tx, element.operation, at, error)
    return {"replaces": None, "by_force": False, "operation": None}
