"""What regions tell the grid manager, and it tells them: facts with versions, and how two copies of them become equal.

A region numbers what it says of itself. A fact of a newer version takes the place of an older one; a snapshot is all
that is the case as of a version. So each push may be lost, doubled, late or overtaken by others, and any interleaving
that ends with what the region said last ends with the region's truth. Nothing here knows how it is kept or sent.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from arable.domain.ids import RegionId

FactKey = tuple[str, str]
"""Kind and key."""


class FactKind(StrEnum):
    """What facts are about."""

    REGION = "region"  # one: its software and its servers
    ZONE = "zone"  # by id: hosts, capacity, load
    ALERT = "alert"  # by id: an open one
    IMAGE = "image"  # by account, image and number: a version that is stored there
    ACCOUNT = "account"  # by its path: others may ask for it here
    KEY = "key"  # by id: by which it signs for those whom it let in
    REVOKED = "revoked"  # by mark: of whom nothing that was signed until then counts
    POLICY = "policy"  # by account and image: in which other regions it should be
    BILL = "bill"  # by month and account: what it comes to there
    HELD = "held"  # by account: what it holds there, and may hold
    EVENT = "event"  # by number: one of the newest of its operators' events
    INSTRUCTED = "instructed"  # by id: how far it is with what grid operators told it to do
    INSTRUCTION = "instruction"  # the grid manager's own, by region and id: what to do
    LIMIT = "limit"  # the grid manager's own, by account: what it may hold in all regions together


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that a region says of itself. `body` None: it is the case no more.

    `audience` empty: every region may know. Else the path of the account whose it is: only regions that know this
    account as theirs, too, are told. Or `GRID_ONLY`.
    """

    kind: FactKind
    key: str
    version: int
    body: Any = None
    audience: str = ""

    @property
    def at(self) -> FactKey:
        """What it is about."""
        return (self.kind, self.key)


MANAGER = "grid"
"""Whose facts the grid manager's own are; no region is called so."""
GRID_ONLY = "grid"
"""An audience: the grid manager alone. No account's path, for those have a slash."""


class MemberState(StrEnum):
    """How the grid manager sees a region."""

    REACHED = "reached"
    SILENT = "silent"  # not heard for `SILENT_AFTER`
    GONE = "gone"  # removed: its certificates are worth nothing


SILENT_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A region of the grid.

    `seen` is the newest version that it told, `floor` that of its last snapshot: what is older and came late is no
    news. `epoch` is that of its certificates; those of the epochs before are worth nothing.
    """

    id: RegionId
    name: str
    url: str = ""  # of its grid port; empty: it has none
    software: str = ""
    state: MemberState = MemberState.REACHED
    epoch: int = 1
    seen: int = 0
    floor: int = 0
    resync: int = 0  # whoever has heard no later than this hears all anew
    knows: str = ""  # the incarnation of the grid manager's store that its last message was for
    labels: tuple[str, ...] = ()
    heard_at: datetime | None = None
    created_at: datetime

    def state_at(self, now: datetime) -> MemberState:
        """Whether it was heard lately."""
        if self.state is MemberState.GONE:
            return MemberState.GONE
        heard = self.heard_at is not None and now - self.heard_at < SILENT_AFTER
        return MemberState.REACHED if heard else MemberState.SILENT


def next_version(last: int, micros: int) -> int:
    """The version of the next fact: more than any before, also of a region whose store was set back, if clocks go on."""
    return max(last + 1, micros)


def news(known: Mapping[FactKey, int], floor: int, facts: Iterable[Fact]) -> list[Fact]:
    """Those of pushed facts that are to be kept, each thing once: `known` has the versions of what is kept already,
    things that are gone among them, and `floor` is the version of the last snapshot.
    """
    newest: dict[FactKey, Fact] = {}
    for fact in facts:
        old = max(floor, known.get(fact.at, 0), newest[fact.at].version if fact.at in newest else 0)
        if fact.version > old:
            newest[fact.at] = fact
    return list(newest.values())


def by_snapshot(
    known: Mapping[FactKey, int],
    live: Collection[FactKey],
    version: int,
    facts: Iterable[Fact],
    unread: Collection[FactKey] = (),
) -> list[Fact]:
    """What a snapshot as of `version` changes: what is newer in it, and what of the `live` is missing from it, as gone.

    What was told later than the snapshot was made stays as it is. What was told earlier does not, even if by its own
    version it is newer: the region's store was set back since. What is `unread` was said, and nobody could make anything
    of it: what was known of it before stays.
    """
    said = {fact.at: fact for fact in facts}
    put = [
        fact
        for at, fact in said.items()
        if fact.version > known.get(at, 0) or fact.version < known[at] <= version
    ]
    gone = [
        Fact(kind=FactKind(kind), key=key, version=version)
        for kind, key in sorted(live)
        if (kind, key) not in said and (kind, key) not in unread and known[(kind, key)] <= version
    ]
    return [*put, *gone]


def ago(span: timedelta) -> str:
    """How long ago something was, for people: "3 min"."""
    seconds = max(0, round(span.total_seconds()))
    for size, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {word}"
    return f"{seconds} s"
