"""What the API offers, as rows: the server, OpenAPI, the permission tests and the client's test are made from them.

A row names a use case `does(call, *path ids, [query], [body], [prepared]) -> answer` and how HTTP reaches it. The
types of what goes in are said here and checked against the use case's own annotations when the row is made, as is the
policy: a row without a permission can't be written.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPMethod
from typing import Any, Protocol, get_type_hints

import msgspec

from arable.domain.access import Permission
from arable.domain.errors import CloudError
from arable.domain.ids import KINDS
from arable.services.call import Asked, Prelude

_PARAMETER = re.compile(r"\{([a-z]+)\}")


class Access(Enum):
    """Policies that are no permission."""

    PUBLIC = "public"  # no credential at all
    SIGNED_IN = "signed in"  # any credential that counts


PUBLIC = Access.PUBLIC
SIGNED_IN = Access.SIGNED_IN

Policy = Permission | Access
Prepare = Callable[..., Any]
"""`(prelude, *same args as the use case) -> prepared`, on a thread of its own before the write."""
BatchOf = Callable[[Any, Sequence[Asked]], Sequence[Any | CloudError]]
"""`(tx, asked) -> answers or refusals`, in order; a refused one has written nothing."""


class Receiver(Protocol):
    """Takes an upload piece by piece, on a thread; `done` gives what the use case then gets as its last argument."""

    def write(self, piece: bytes, /) -> None: ...

    def done(self) -> Any: ...

    def abort(self) -> None:
        """The upload broke off or was refused: leave nothing behind."""


Receive = Callable[..., Receiver]
"""`(prelude, *path ids, [query]) -> receiver`: refuses before the first byte what can't be accepted."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A read that may wait: it is done again after each nudge of `topic` until `over(answer)`.

    The query has a field `wait` (seconds). No thread and no transaction is held meanwhile.
    """

    topic: Callable[..., str]  # of the path ids
    over: Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True)
class Op:
    """One row."""

    method: str
    path: str  # "/v1/machines/{machine}/start": a parameter is named by the kind of id it is
    does: Callable[..., Any]
    permission: Policy
    writes: bool
    summary: str
    takes: Any = None  # the body's document
    query: type[msgspec.Struct] | None = None
    status: int = 200
    batch: BatchOf | None = None
    prepare: Prepare | None = None
    prepare_if: Callable[..., bool] | None = None  # of the same arguments; else `prepared` is None
    receive: Receive | None = None  # the body is a stream of bytes, not a document
    appends: bool = (
        False  # the body goes on where `Upload-Offset` says: `receive` gets a `Piece`, too
    )
    wait: Wait | None = None
    stream: Any = None  # server-sent events without end, each of them such a document
    secrets: tuple[str, ...] = ()  # fields of the answer that are shown once and never stored
    about: str = ""  # a paragraph for the reader of the documentation
    example: Any = None  # of the body
    name: str = ""  # "machines.deploy": operation id and method of the client
    dry_run: bool = True  # whether a write may be tried; false where trying has no meaning
    conditions: bool = (
        True  # whether what the path names has a generation, and `If-Match` is heeded
    )
    gives: Any = field(init=False)  # the answer's document; None: no body
    parameters: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        hints = get_type_hints(self.does)
        made = {
            "name": self.name or f"{self.does.__module__.rpartition('.')[2]}.{self.does.__name__}",
            "gives": None if hints["return"] is type(None) else hints["return"],
            "parameters": tuple(_PARAMETER.findall(self.path)),
        }
        for key, value in made.items():
            object.__setattr__(self, key, value)
        for fault in self._faults(hints):
            raise ValueError(f"{self.method} {self.path}: {fault}")

    @property
    def action(self) -> str:
        """What the audit calls it."""
        return f"{self.method} {self.path}"

    @property
    def conditional(self) -> bool:
        """Whether it may be asked for on condition that nothing changed. Elsewhere `If-Match` is refused, not ignored."""
        return self.writes and self.conditions and bool(self.parameters)

    @property
    def tag(self) -> str:
        """The noun."""
        return self.name.partition(".")[0]

    def _faults(self, hints: dict[str, Any]) -> Iterator[str]:
        if self.method not in HTTPMethod.__members__:
            yield "no such method"
        if not self.path.startswith("/v1/"):
            yield "every operation stands under /v1/"
        if not isinstance(self.permission, Permission | Access):
            yield "it has no policy"
        if self.writes == (self.method == "GET"):
            yield "GET never writes, everything else does"
        if unknown := set(self.parameters) - KINDS:
            yield f"{sorted(unknown)} are no kinds of ids"
        if not self.writes and (self.batch or self.prepare or self.receive or self.takes):
            yield "a read has no body, batch or prelude"
        if self.writes and (self.wait or self.stream):
            yield "only reads wait"
        if self.appends and not self.receive:
            yield "only a stream of bytes goes on where another one ended"
        if self.receive and (self.takes or self.prepare):
            yield "a stream of bytes is all of the body, and its own prelude"
        expected = [query for query in (self.query,) if query is not None]
        expected += [self.takes] if self.takes is not None else []
        given = [hints.get(name) for name in list(inspect.signature(self.does).parameters)[1:]]
        more = 1 if self.prepare or self.receive else 0
        if len(given) != len(self.parameters) + len(expected) + more:
            yield f"the use case takes {len(given)} arguments after the call"
        elif given[len(self.parameters) : len(given) - more] != expected:
            yield "query and body are not what the use case takes"


__all__ = ["PUBLIC", "SIGNED_IN", "Access", "Op", "Prelude", "Receiver", "Wait"]
