"""What is on its way, and what was."""

from collections.abc import Callable, Iterator

import msgspec

from arable.client.connection import Group, part
from arable.client.errors import OperationFailed, StillRunning
from arable.wire.common import Page
from arable.wire.events import AuditOut, AuditQuery, EventOut, EventQuery, EventStreamQuery
from arable.wire.operations import OperationOut, OperationQuery, OperationWaitQuery

_LONGEST = 60  # seconds that the server waits in one call
_PROGRESS = 1


class Operations(Group):
    """What became of calls that were accepted."""

    def page(self, query: OperationQuery | None = None) -> Page[OperationOut]:
        """List operations, the newest first."""
        return self._to.read("/v1/operations", Page[OperationOut], query)

    def all(self, query: OperationQuery | None = None) -> Iterator[OperationOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or OperationQuery())

    def get(self, operation: str, query: OperationWaitQuery | None = None) -> OperationOut:
        """Show an operation, or wait for its end."""
        waits = query.wait if query else 0
        return self._to.read(f"/v1/operations/{part(operation)}", OperationOut, query, waits=waits)

    def wait(
        self,
        operation: str,
        *,
        seconds: int = 3600,
        progress: Callable[[OperationOut], None] | None = None,
    ) -> OperationOut:
        """Until it is done; raises `OperationFailed` or, when the time is over, `StillRunning`.

        The server does the waiting. With `progress`, it is asked every second what has come of it so far.
        """
        left = seconds
        while True:
            step = min(left, _PROGRESS if progress else _LONGEST)
            now = self.get(operation, OperationWaitQuery(wait=step))
            if progress is not None:
                progress(now)
            if now.state == "failed":
                raise OperationFailed(now)
            if now.state == "done":
                return now
            left -= step
            if left <= 0:
                raise StillRunning(now)


class Events(Group):
    """What happened."""

    def page(self, query: EventQuery | None = None) -> Page[EventOut]:
        """List events, the oldest first."""
        return self._to.read("/v1/events", Page[EventOut], query)

    def all(self, query: EventQuery | None = None) -> Iterator[EventOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or EventQuery())

    def stream(
        self, query: EventStreamQuery | None = None, *, last: int | None = None
    ) -> Iterator[EventOut]:
        """Follow events as they happen, from the one after `last`; goes on when the server ends a stream.

        Raises `Unreachable` when there is no server to go on with: call it again, with the last number seen.
        """
        after = "" if last is None else str(last)
        while True:
            for number, data in self._to.stream("/v1/events/stream", query, after):
                after = number
                yield msgspec.json.decode(data, type=EventOut)


class Audit(Group):
    """Who did what."""

    def page(self, query: AuditQuery | None = None) -> Page[AuditOut]:
        """List who did what, the newest first."""
        return self._to.read("/v1/audit", Page[AuditOut], query)

    def all(self, query: AuditQuery | None = None) -> Iterator[AuditOut]:
        """All of them, page after page."""
        return self._to.each(self.page, query or AuditQuery())
