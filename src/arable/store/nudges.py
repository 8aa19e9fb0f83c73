"""Who should look again once this transaction is durable: topics, collected while it runs, told after its commit.

A nudge is a hint and carries no truth: losing one costs time (until the next timer), never a result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from arable.store.database import Tx

_KEY = "arable-nudges"


@dataclass(slots=True)
class Nudges:
    """`hosts` have a newer manifest; `topics` are names of controllers or streams ("machines", "events")."""

    hosts: set[str] = field(default_factory=set)
    topics: set[str] = field(default_factory=set)


def nudge(tx: Tx, topic: str) -> None:
    """Whoever listens to `topic` should look again after the commit."""
    _of(tx).topics.add(topic)


def nudge_all(tx: Tx, topics: Iterable[str]) -> None:
    """The same for many."""
    _of(tx).topics.update(topics)


def nudge_hosts(tx: Tx, hosts: set[str]) -> None:
    """These hosts' manifests grew."""
    _of(tx).hosts |= hosts


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
