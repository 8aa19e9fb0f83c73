"""What an operation says of itself: the asynchronous rest of a call that was accepted."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from arable.wire.common import Id, In, Out, PageQuery

OperationState = Literal["running", "done", "failed"]


class StepOut(Out, frozen=True, kw_only=True):
    """One thing that happened on the way."""

    at: datetime
    text: Annotated[str, Meta(examples=["placed on host-0mh5z1x2k3q8w7e6r5t4"])]


class FailureOut(Out, frozen=True, kw_only=True):
    """Why it failed, as a problem of the API says it, with what it came from."""

    type: Annotated[str, Meta(examples=["urn:arable:problem:no-room"])]
    title: Annotated[str, Meta(examples=["No room"])]
    detail: str
    why: Any = None
    causes: list["FailureOut"] = msgspec.field(default_factory=list)


class OperationOut(Out, frozen=True, kw_only=True):
    """How far an asynchronous call has come. It ends `done` or `failed`, and then stays so."""

    id: Annotated[str, Meta(examples=["operation-0mh5z1x2k3q8w7e6r5t4"])]
    kind: Annotated[str, Meta(description="Which call began it.", examples=["machine.deploy"])]
    target: Annotated[
        str, Meta(description="What it is about: an id, or empty text for several things at once.")
    ]
    state: OperationState
    total: Annotated[int, Meta(description="How many parts it has, such as machines to start.")]
    pending: Annotated[int, Meta(description="How many of them are not settled yet.")]
    steps: list[StepOut]
    result: Annotated[Any, Meta(description="What came out of it; its form depends on `kind`.")]
    error: FailureOut | None = None
    account: str
    user: Annotated[str, Meta(description="Who began it.")]
    created_at: datetime
    changed_at: datetime


class OperationQuery(PageQuery, frozen=True, kw_only=True):
    """Which operations."""

    state: Annotated[tuple[OperationState, ...], Meta(max_length=3)] = ()
    kind: (
        Annotated[str, Meta(max_length=63, pattern=r"^[a-z.]+$(?!\n)", examples=["machine.deploy"])]
        | None
    ) = None
    target: Id | None = None
    account: Id | None = None


class OperationWaitQuery(In, frozen=True, kw_only=True):
    """Whether to answer at once."""

    wait: Annotated[
        int,
        Meta(
            ge=0,
            le=60,
            description="Answer when the operation has ended, or after this many seconds.",
        ),
    ] = 0
