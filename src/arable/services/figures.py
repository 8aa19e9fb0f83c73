"""How much of everything there is, for the operators' Prometheus: looked up when asked, and not too often.

Counting takes longer the more there is, and whoever scrapes must not slow down who deploys. So what was found is told
again for `KEPT`, and for as long as it takes to make counting a fiftieth of one processor's time.
"""

import threading
from dataclasses import dataclass, field

from arable.domain.errors import CloudError
from arable.runtime.clock import Clock
from arable.store.database import Database
from arable.store.figures import CloudFigures, look

KEPT = 5.0  # seconds
_SHARE = 50


@dataclass(slots=True)
class Counting:
    """`figures` blocks; from any thread. `took` is how long the last look was, in seconds."""

    database: Database
    clock: Clock
    took: float = 0.0
    _found: CloudFigures | None = None
    _until: float = 0.0
    _one: threading.Lock = field(default_factory=threading.Lock)

    def figures(self) -> CloudFigures | None:
        """None while the store does not answer."""
        with self._one:
            now = self.clock.monotonic()
            if now < self._until:
                return self._found
            try:
                with self.database.read() as tx:
                    self._found = look(tx)
            except CloudError:
                self._found = None
            self.took = self.clock.monotonic() - now
            self._until = now + self.took + max(KEPT, _SHARE * self.took)
            return self._found
