"""The gateway's way to the store: what many hosts need at once, in as few transactions as can be.

What writes is a future of the group commit; greetings that wait are taken together, so a thousand hosts that come back
after a network failure cost a few commits. What only reads blocks, and is given a thread by the caller.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from arable.domain.errors import CloudError
from arable.domain.ids import HostId, OperationId
from arable.domain.manifest import HostReport, ImagePart
from arable.runtime.ca import FIRST_EPOCH, Authority
from arable.services import agents, bringing
from arable.services.call import Surroundings
from arable.services.images import Incoming
from arable.services.spread import Peer
from arable.services.usage_notes import UsageNotes
from arable.store import hosts
from arable.store.database import Database, Tx, lost_race
from arable.store.hosts import Channelled
from arable.store.manifests import Difference
from arable.store.nudges import Nudges
from arable.store.writer import Writer
from arable.wire.agent import Hello, JoinIn, JoinOut, RenewIn, encode

_Word = tuple[HostId, Hello | None, int]
"""A host's first word and its certificate's epoch; None: its last one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A change, ready to be sent. Without data there is nothing to be told yet."""

    generation: int
    data: bytes


@dataclass(frozen=True, slots=True)
class News:
    """What a transaction of this server wrote for a host. `base`: for one that holds this generation."""

    host: HostId
    base: int
    difference: Difference
    incarnation: str
    authority: Authority

    def frame(self) -> Frame:
        """What to send."""
        change = agents.change(self.difference, self.incarnation, self.authority)
        return Frame(self.difference.generation, encode(change))


@dataclass(frozen=True)
class Desk:
    """`server` is the name by which the store knows this management server; `settle` is what reports are given to."""

    database: Database
    writer: Writer
    around: Surroundings
    server: str
    settle: agents.Settle
    notes: UsageNotes = field(default_factory=UsageNotes)

    def join(self, ask: JoinIn) -> "Future[JoinOut]":
        """See `agents.join`."""
        return self.writer.submit(lambda tx: agents.join(tx, self.around, ask))

    def renew(self, host: HostId, epoch: int, ask: RenewIn) -> "Future[JoinOut]":
        """See `agents.renew`."""
        return self.writer.submit(lambda tx: agents.renew(tx, self.around, host, epoch, ask))

    def greet(self, host: HostId, hello: Hello, epoch: int = FIRST_EPOCH) -> "Future[None]":
        """A channel begins here; done when that is kept, or refused."""
        return self.writer.submit_batch(self._words, (host, hello, epoch))

    def left(self, host: HostId) -> "Future[None]":
        """A channel of this server's has ended. Kept in order with greetings: a host may be back by now."""
        self.notes.forget(host)
        return self.writer.submit_batch(self._words, (host, None, FIRST_EPOCH))

    def report(self, reports: Sequence[HostReport], alive: Sequence[HostId]) -> "Future[None]":
        """See `agents.report`: all of them in one transaction, or none."""

        def keep(tx: Tx) -> None:
            kept = self.notes.worth(tx, reports, self.around.clock.now())
            agents.report(tx, self.around, self.server, self.settle, kept, alive)

        return self.writer.submit(keep)

    def news(self, nudges: Nudges) -> list[News]:
        """All that a transaction left in memory."""
        authority = self.around.authority
        return [
            News(HostId(host), difference.base, difference, nudges.incarnation, authority)
            for host, difference in nudges.told.items()
        ]

    def frames(self, have: Mapping[HostId, int]) -> dict[HostId, Frame]:
        """What to send to hosts that hold these generations. Blocks. A host that was removed is not in the answer."""
        with self.database.read() as tx:
            found = agents.changes(tx, self.around.authority, have)
        return {
            host: Frame(change.generation, encode(change)) if change else Frame(have[host], b"")
            for host, change in found.items()
        }

    def look(self, connected: Collection[HostId]) -> dict[HostId, Channelled]:
        """What the channels of these hosts have to agree with. Blocks."""
        with self.database.read() as tx:
            return hosts.channels(tx, connected)

    def report_seconds(self) -> int:
        """How often hosts should report. Blocks."""
        with self.database.read() as tx:
            return agents.report_seconds(tx)

    def image_cache_seconds(self) -> int:
        """How long hosts should keep images that nothing uses. Blocks."""
        with self.database.read() as tx:
            return agents.image_cache_seconds(tx)

    def peers(self) -> list[Peer]:
        """Other servers that take agents now. Blocks."""
        with self.database.read() as tx:
            return agents.peers(tx, self.around, self.server)

    def image_part(self, host: HostId, epoch: int, sha256: str) -> Path:
        """See `agents.image_part`. Blocks."""
        with self.database.read() as tx:
            return agents.image_part(tx, self.around, host, epoch, sha256)

    def may_bring(
        self, host: HostId, epoch: int, operation: OperationId, sha256: str, length: int
    ) -> Incoming:
        """See `bringing.may`. Blocks."""
        with self.database.read() as tx:
            return bringing.may(tx, self.around, host, epoch, operation, sha256, length)

    def brought(
        self, host: HostId, epoch: int, operation: OperationId, received: ImagePart
    ) -> "Future[None]":
        """See `bringing.brought`."""
        return self.writer.submit(
            lambda tx: bringing.brought(tx, self.around, host, epoch, operation, received)
        )

    def _words(self, tx: Tx, words: Sequence[_Word]) -> list[CloudError | None]:
        greetings = [(host, hello, epoch) for host, hello, epoch in words if hello is not None]
        answers = iter(agents.greet(tx, self.around, self.server, greetings))
        last = {host: hello for host, hello, _ in words}
        gone = [host for host, hello in last.items() if hello is None]
        agents.heard(tx, self.around, self.server, [], gone, {})
        return [None if hello is None else next(answers) for _, hello, _ in words]


__all__ = ["Desk", "Frame", "News", "lost_race"]
