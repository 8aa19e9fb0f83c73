"""Who should look again once this transaction is durable: topics, collected while it runs, told after its commit.

A nudge is a hint and carries no truth: losing one costs time (until the next timer), never a result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event

from arable.store.database import Tx
from arable.store.manifests import Difference

_KEY = "arable-nudges"


@dataclass(slots=True)
class Nudges:
    """`hosts` have a newer manifest; `topics` are names of controllers or streams ("machines", "events").

    For whoever committed it, and told to nobody else: `ended` are operations that this very transaction ended, `told`
    is all that it wrote for some of the hosts (of the database named `incarnation`), so that it need not be read again.
    """

    hosts: set[str] = field(default_factory=set)
    topics: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    told: dict[str, Difference] = field(default_factory=dict)
    incarnation: str = ""


def nudge(tx: Tx, topic: str) -> None:
    """Whoever listens to `topic` should look again after the commit."""
    _of(tx).topics.add(topic)


def nudge_all(tx: Tx, topics: Iterable[str]) -> None:
    """The same for many."""
    _of(tx).topics.update(topics)


def nudge_hosts(tx: Tx, hosts: set[str]) -> None:
    """These hosts' manifests grew, or the hosts went."""
    found = _of(tx)
    found.hosts |= hosts
    for host in hosts & found.told.keys():
        del found.told[host]


def undone(tx: Tx) -> None:
    """Something was taken back to a savepoint. What it was is not known here, so nothing that was written counts."""
    _of(tx).told.clear()


@event.listens_for(Engine, "rollback_savepoint")
def _undone(tx: Tx, _name: str, _context: Any) -> None:
    undone(tx)


def ended(tx: Tx, operations: Iterable[str]) -> None:
    """These operations end with this transaction."""
    _of(tx).ended.update(operations)


def collected(tx: Tx) -> Nudges:
    """What was nudged in this transaction."""
    return _of(tx)


def _of(tx: Tx) -> Nudges:
    transaction = tx.get_transaction()
    info = tx.info
    if info.get("transaction") is not transaction:
        info["transaction"] = transaction
        info[_KEY] = Nudges()
    found: Nudges = info[_KEY]
    return found
