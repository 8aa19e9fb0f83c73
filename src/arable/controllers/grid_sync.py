"""A region's side of the grid: says what is new here, and keeps what is new elsewhere, on a thread of its own.

Only the server that acts does it. What is to be said stands in the store with its version, and what was heard is kept
with the cursor up to which it was heard; so a crash, a lost answer or a cut WAN costs time and nothing else, and no
request ever waits for the grid manager. The region calls, never the grid manager: one way through a firewall is enough.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from arable.controllers import evicting, grid_shares
from arable.controllers.grid_bills import Bills
from arable.domain.errors import CloudError, Forbidden, Unavailable
from arable.domain.ids import RegionId
from arable.domain.region import Fact, FactKind, Member, MemberState, next_version
from arable.domain.settings import GRID_SECONDS, GRID_SNAPSHOT_SECONDS
from arable.runtime.ca import fingerprint_of, new_request, should_renew
from arable.runtime.clock import Clock
from arable.runtime.rounds import Rounds
from arable.runtime.secret import Secret
from arable.store import evictions, grid_copy, grid_facts, grid_members, grid_own, images, settings
from arable.store.columns import micros
from arable.store.database import Tx
from arable.store.grid_members import TOPIC, Link
from arable.wire.grid import (
    BODIES,
    RENEW,
    SYNC,
    EvictDoc,
    FactDoc,
    GridJoinOut,
    GridRenewIn,
    MemberDoc,
    SyncIn,
    SyncOut,
)

log = logging.getLogger(__name__)

TOPICS = frozenset({TOPIC, images.TOPIC})
"""What is to be said, or asked for, at once."""
FIGURES_SECONDS = 15.0
"""Between looks at what takes sums over all hosts, and at all images in case a nudge was lost."""
PUSH = 2000
"""Facts in one message, unless it is a snapshot."""
_ROUNDS = 100  # messages in a row
_SHOWN = 20  # facts that could not be read
_OFTEN = (
    *(FactKind.REGION, FactKind.ALERT, FactKind.ACCOUNT, FactKind.POLICY),
    *(FactKind.KEY, FactKind.REVOKED, FactKind.INSTRUCTED, FactKind.EVENT),
)
_SELDOM = (FactKind.ZONE, FactKind.IMAGE, FactKind.HELD)

Fence = Callable[[Tx], None]
Look = Callable[[], AbstractContextManager[Tx]]
T = TypeVar("T")


class Wire(Protocol):
    """To the grid manager, as the region that the link says."""

    def ask(self, link: Link, path: str, body: msgspec.Struct, gives: type[T]) -> T:
        """Raises `Unavailable` when nobody answers, another `CloudError` for a refusal."""


@dataclass(slots=True)
class GridSync:
    """`step` says and hears what is new. `look` opens a transaction that reads, `transact` does work in one that writes.

    `acts` gives the fence of this server while it acts; `address` where others
    reach this region's grid port (empty: nowhere); `seal` what keeps a private key.
    """

    look: Look
    transact: Callable[[Callable[[Tx], Any]], Any]
    clock: Clock
    wire: Wire
    seal: Callable[[Secret], str]
    acts: Callable[[], Fence | None]
    address: Callable[[], str] = lambda: ""
    software: str = ""
    api: str = ""  # where people reach this region's API; empty: not told
    _due: float = 0.0  # when figures are to be looked at
    _images: bool = True  # somebody said that there are others
    _every: bool = True  # all shares are to be looked at
    _bills: Bills = field(default_factory=Bills)
    _strange: Sequence[str] = ()  # granted to this region, and not known here
    _seconds: float = 5.0
    _rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self._rounds = Rounds("grid", self.step, lambda: self._seconds, "the grid has to wait", log)

    def nudge(self, topics: Iterable[str]) -> None:
        """Something changed; from any thread."""
        found = TOPICS.intersection(topics)
        if images.TOPIC in found:
            self._images = True
        if found:
            self._rounds.nudge()

    def start(self) -> None:
        """Run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Finish what is being said, then end."""
        self._rounds.stop()

    def step(self) -> None:
        """Say and hear what is new, all of it."""
        fence = self.acts()
        if fence is None:
            return
        with self.look() as tx:
            link = grid_members.link(tx)
            self._seconds = float(settings.get(tx, GRID_SECONDS))
            often = timedelta(seconds=settings.get(tx, GRID_SNAPSHOT_SECONDS))
        if link is None:
            return
        self._look(fence, link)
        self._reckon(fence, link)
        self._give_back(fence, link)
        try:
            self._renew(fence, link)
            for _ in range(_ROUNDS):
                if self._rounds.closing or not self._exchange(fence, often):
                    return
        except CloudError as error:
            told = (
                error.public
                if isinstance(error, Unavailable | Forbidden)
                else f"refused: {error.public}"
            )
            log.warning("the grid manager: %s", told)
            at = self.clock.now()
            self._keep(fence, lambda tx: grid_members.change_link(tx, told=told, tried_at=at))

    def _look(self, fence: Fence, link: Link) -> None:
        """What this region has to say of itself, kept with its versions before it is said."""
        kinds = set(_OFTEN)
        now = self.clock.monotonic()
        if now >= self._due:
            self._every = True
            self._due = now + FIGURES_SECONDS
            kinds |= set(_SELDOM)
        if self._images:
            self._images = False
            kinds.add(FactKind.IMAGE)
        at = self.clock.now()
        with self.look() as tx:
            changed = grid_own.facts(tx, link.region, kinds, self.software, at, self.api)
            ended = FactKind.IMAGE in kinds and evictions.unlooked(tx)
        if not changed and not ended:
            return

        def say(tx: Tx) -> None:
            """Looked at once more, with the link held: two servers may both believe that they act."""
            now = grid_members.link(tx, lock=True)
            if now is None or now.region != link.region:
                return
            news = grid_own.facts(tx, link.region, kinds, self.software, at, self.api)
            last = max(now.acked, grid_facts.last_version(tx, link.region))
            first = next_version(last, micros(at))
            grid_facts.put(
                tx, link.region, [replace(fact, version=first + n) for n, fact in enumerate(news)]
            )
            if ended:
                evictions.looked(tx, grid_facts.last_version(tx, link.region))

        self._keep(fence, say)

    def _reckon(self, fence: Fence, link: Link) -> None:
        """Some accounts' bills, as `_look`."""
        at = self.clock.now()
        with self.look() as tx:
            told = self._bills.look(tx, link.region, at, self.clock.monotonic())
        if not told:
            return

        def say(tx: Tx) -> None:
            now = grid_members.link(tx, lock=True)
            if now is None or now.region != link.region:
                return
            last = max(now.acked, grid_facts.last_version(tx, link.region))
            first = next_version(last, micros(at))
            facts = [
                Fact(kind=FactKind.BILL, key=key, version=first + n, body=body, audience=audience)
                for n, (key, body, audience) in enumerate(told)
            ]
            grid_facts.put(tx, link.region, facts)

        self._keep(fence, say)

    def _give_back(self, fence: Fence, link: Link) -> None:
        """What is not used of limits over all regions, while somebody is there to give it to."""
        at = self.clock.now()
        every = self._every
        with self.look() as tx:
            accounts = grid_shares.due(tx, link, at, every=every)
        if accounts:
            self._keep(fence, lambda tx: grid_shares.look(tx, link, accounts, at))

    def _exchange(self, fence: Fence, often: timedelta) -> bool:
        """One message and its answer; whether there is more to say or to hear."""
        now = self.clock.now()
        with self.look() as tx:
            link = grid_members.link(tx)
            if link is None:
                return False
            last = grid_facts.last_version(tx, link.region)
            snapshot = link.snapshot_at is None or now - link.snapshot_at >= often
            if snapshot:
                version = next_version(max(last, link.acked), micros(now))
                facts = grid_facts.of(tx, link.region)
            else:
                version = 0
                facts = grid_facts.after(tx, link.region, link.acked, PUSH)
            asks = evictions.asked(tx) if link.incarnation else []
            reached = version or (facts[-1].version if facts else link.acked)
            over = evictions.told_until(tx, reached)
            shares = grid_shares.asks(tx, link, now, every=self._every) if link.incarnation else ()
        ask = SyncIn(
            url=self.address(),
            software=self.software,
            facts=tuple(_doc(fact) for fact in facts),
            snapshot=version or None,
            incarnation=link.incarnation,
            cursor=link.cursor,
            evict=tuple(EvictDoc(id=e.id, key=e.key, digest=e.digest, keys=e.keys) for e in asks),
            over=(*over, *self._strange),
            shares=shares,
        )
        answer = self.wire.ask(link, SYNC, ask, SyncOut)
        said = version or (facts[-1].version if facts else 0)
        # What the grid manager had and we don't know: our store was set back. What it lacks: its was.
        back = answer.seen < max(link.acked, said)
        if answer.had > link.acked and not snapshot:
            with self.look() as tx:
                back = back or not grid_facts.has_version(tx, link.region, answer.had)
        at = self.clock.now()
        strange: list[str] = []

        def keep(tx: Tx) -> bool:
            now = grid_members.link(tx, lock=True)
            if now is None or (now.region, now.incarnation, now.cursor) != (
                link.region,
                link.incarnation,
                link.cursor,
            ):
                return False  # it left, or another server heard this meanwhile
            unread = _heard(tx, link, answer)
            refused = [f"{r.kind} {r.key}: {r.told}" for r in answer.refused] + unread
            strange[:] = evicting.heard(tx, now.incarnation, answer, at)
            grid_shares.answered(tx, shares, answer, at)
            acked = max(now.acked, said, answer.seen)
            grid_members.change_link(
                tx,
                acked=acked,
                cursor=answer.cursor,
                incarnation=answer.incarnation,
                told="",
                tried_at=at,
                heard_at=at,
                snapshot_at=None if back else at if snapshot else now.snapshot_at,
                refused=((() if snapshot else now.refused) + tuple(refused))[-_SHOWN:],
            )
            if snapshot:
                grid_facts.forget_gone(tx, link.region, acked)
            return True

        kept = self._keep(fence, keep)
        self._every = self._every and not kept
        self._strange = strange if kept else ()
        return bool(kept) and (answer.more or back or len(facts) == PUSH)

    def _renew(self, fence: Fence, link: Link) -> None:
        if not should_renew(link.certificate, self.clock):
            return
        made = new_request(link.region)
        answer = self.wire.ask(link, RENEW, GridRenewIn(request=made.request), GridJoinOut)
        sealed = self.seal(made.key)
        self._keep(
            fence,
            lambda tx: grid_members.change_link(
                tx,
                certificate=answer.certificate,
                key_sealed=sealed,
                authorities=list(answer.authorities),
            ),
        )
        log.info("this region's certificate of the grid was renewed")

    def _keep(self, fence: Fence, work: Callable[[Tx], Any]) -> Any:
        def fenced(tx: Tx) -> Any:
            fence(tx)
            return work(tx)

        return self.transact(fenced)


def _heard(tx: Tx, link: Link, answer: SyncOut) -> list[str]:
    """Keep what others said; what of it can't be read, and why: that is passed over, and everything else is kept."""
    authority = link.authorities[0]
    told = [_member(each) for each in answer.members]
    grid_copy.members(tx, link.region, told, authority, fingerprint_of(authority))
    facts: dict[str, list[Fact]] = {}
    unread = []
    for doc in answer.facts:
        if doc.kind not in set(FactKind):
            continue
        try:
            if doc.body is not None:
                msgspec.convert(doc.body, BODIES[doc.kind])
        except msgspec.ValidationError as error:
            unread.append(f"{doc.region}'s {doc.kind} {doc.key}: {error}")
            continue
        facts.setdefault(doc.region, []).append(_fact(doc))
    if facts or answer.full:
        grid_copy.tell(tx, link.region, facts, answer.at, full=answer.full)
    if unread:
        log.warning("what others said can't be read: %s", "; ".join(unread[:_SHOWN]))
    return unread


def _doc(fact: Fact) -> FactDoc:
    return FactDoc(
        kind=str(fact.kind),
        key=fact.key,
        version=fact.version,
        body=fact.body,
        audience=fact.audience,
    )


def _fact(doc: FactDoc) -> Fact:
    return Fact(
        kind=FactKind(doc.kind),
        key=doc.key,
        version=doc.version,
        body=doc.body,
        audience=doc.audience,
    )


def _member(doc: MemberDoc) -> Member:
    return Member(
        id=RegionId(doc.id),
        name=doc.name,
        url=doc.url,
        software=doc.software,
        state=MemberState(doc.state),
        epoch=doc.epoch,
        heard_at=doc.heard_at,
        created_at=doc.created_at,
        labels=doc.labels,
    )
