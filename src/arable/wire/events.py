"""How events and audit entries look outside."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from arable.wire.common import Id, In, Out, PageQuery

Kind = Annotated[
    str,
    Meta(
        max_length=63,
        pattern=r"^[a-z_-]+(\.[a-z_-]+)*$(?!\n)",
        description="The kind, or its beginning up to a dot.",
        examples=["machine", "machine.running"],
    ),
]
Number = Annotated[str, Meta(max_length=15, pattern=r"^[0-9]+$(?!\n)")]


class EventOut(Out, frozen=True, kw_only=True):
    """Something that happened. Numbers grow; between two of one's own there may be others'."""

    number: int
    at: datetime
    account: str | None
    kind: Annotated[str, Meta(examples=["machine.running"])]
    subject: Annotated[str, Meta(description="The id of what it happened to.")]
    text: str
    data: Any = None


class EventQuery(PageQuery, frozen=True, kw_only=True):
    """Which events, the oldest first."""

    after: Annotated[Number, Meta(description="Those after this number.")] | None = None
    kind: Kind | None = None
    subject: Id | None = None
    account: Id | None = None


class EventStreamQuery(In, frozen=True, kw_only=True):
    """Which events, from now on; or from a number on, in `after` or in the header `Last-Event-ID`."""

    after: (
        Annotated[Number, Meta(description="Those after this number; 0: from the first.")] | None
    ) = None
    kind: Kind | None = None
    subject: Id | None = None
    account: Id | None = None


class AuditOut(Out, frozen=True, kw_only=True):
    """Who did what, or was refused it."""

    number: int
    at: datetime
    account: str
    user: str
    via: Annotated[str, Meta(description="The key or the session.")]
    source: Annotated[str, Meta(description="The network address it came from.")]
    request: Annotated[str, Meta(description="As in the answer's header `Arable-Request`.")]
    action: Annotated[str, Meta(examples=["POST /v1/machines"])]
    target: str
    outcome: Annotated[str, Meta(description="`ok`, or the kind of refusal.", examples=["ok"])]


class AuditQuery(PageQuery, frozen=True, kw_only=True):
    """Which entries, the newest first."""

    after: (
        Annotated[Number, Meta(description="Those before this number: `next` of the page before.")]
        | None
    ) = None
    user: Id | None = None
    account: Id | None = None
    target: Id | None = None
    outcome: Annotated[str, Meta(max_length=63, pattern=r"^[a-z-]+$(?!\n)")] | None = None
    since: datetime | None = None
    until: datetime | None = None
