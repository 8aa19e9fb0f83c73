"""What a use case gets besides its arguments: who asks, in which transaction, and the doors to time and chance.

Nothing else is ambient. A use case's first line says which permission it needs; then the domain decides and the
store keeps. Path ids, query and body follow the call as plain arguments, in this order.
"""

from dataclasses import dataclass

from arable.domain.access import Caller
from arable.domain.image_files import ImageFiles
from arable.runtime.ca import Authority
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy, Ids
from arable.store.database import Tx


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all calls of a process."""

    clock: Clock
    entropy: Entropy
    ids: Ids
    images: ImageFiles
    authority: Authority


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    tx: Tx
    caller: Caller
    around: Surroundings
    dry_run: bool = False
    expects: int | None = None  # If-Match: the generation that the caller saw
