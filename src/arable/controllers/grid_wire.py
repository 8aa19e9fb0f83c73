"""How a region reaches the grid manager and other regions: over mutual TLS, with what its link keeps.

The identity stands in the region's store, so that all of its management servers have it; each keeps it in its data
directory as well, because TLS wants files (`runtime/grid_identity.py`).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from arable.client import grid_calls
from arable.client.errors import CallError, NotArable, Refused, Unreachable
from arable.domain.errors import CloudError, Unavailable
from arable.domain.failure import kind_of
from arable.runtime.ca import client_context, new_request, pinned
from arable.runtime.entropy import Entropy
from arable.runtime.grid_identity import GridIdentity, identity, keep_identity
from arable.runtime.secret import Secret
from arable.runtime.showing import shown_by
from arable.runtime.tokens import join_token
from arable.store.grid_members import Link
from arable.wire.grid import (
    CONSOLE,
    ELSEWHERE,
    FARMS,
    FOLLOW,
    GRID_NAME,
    JOIN,
    UPLOAD,
    FarmPartsIn,
    FarmPartsOut,
    GridJoinIn,
    GridJoinOut,
    PassIn,
    PassOut,
)

if TYPE_CHECKING:
    from arable.client.grid_lines import Line

_WITHIN = 30.0
_KINDS: dict[str, type[CloudError]] = {kind_of(each): each for each in CloudError.__subclasses__()}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a region has once it joined."""

    authorities: tuple[str, ...]
    certificate: str
    key: Secret


@dataclass(slots=True)
class GridWire:
    """Of one management server. `unseal` opens a link's private key."""

    data: Path
    entropy: Entropy
    unseal: Callable[[str], Secret]
    _identity: GridIdentity | None = field(default=None)

    def join(self, grid: str, token: str, region: str) -> Enrolled:
        """Have the grid manager at HOST:PORT let this region in. The token says whom to trust."""
        fingerprint = join_token(token).authority
        authority = pinned(shown_by(grid, fingerprint, _WITHIN), fingerprint)
        made = new_request(region)
        ask = GridJoinIn(token=token, region=region, request=made.request)
        answer = _asked(grid, GRID_NAME, client_context(authority), JOIN, ask, GridJoinOut)
        return Enrolled(answer.authorities, answer.certificate, made.key)

    def ask(self, link: Link, path: str, body: msgspec.Struct, gives: type[T]) -> T:
        """Ask the grid manager, as this region."""
        return _asked(link.grid, GRID_NAME, self.context(link), path, body, gives)

    def carry(self, link: Link, url: str, region: str, ask: PassIn, waits: int) -> PassOut:
        """Ask another region, as this one, what somebody asked here."""
        within = _WITHIN + waits
        return _asked(url, region, self.context(link), ELSEWHERE, ask, PassOut, within)

    def send(
        self, link: Link, url: str, region: str, ask: PassIn, pieces: Iterator[bytes]
    ) -> PassOut:
        """The same with a file that follows, piece by piece."""
        try:
            return grid_calls.send(url, region, self.context(link), UPLOAD, ask, pieces, PassOut)
        except CallError as error:
            raise as_ours(error) from error

    def console(
        self, link: Link, url: str, region: str, ticket: str
    ) -> "AbstractAsyncContextManager[Line]":
        """A console of a machine there; raises `Unavailable` when it can't be had."""
        return self._line(link, url, region, CONSOLE + ticket, lost="; the machine runs on")

    def follow(self, link: Link, url: str, region: str) -> "AbstractAsyncContextManager[Line]":
        """A line for a stream of events from there; raises `Unavailable` when it can't be had."""
        return self._line(link, url, region, FOLLOW)

    @asynccontextmanager
    async def _line(
        self, link: Link, url: str, region: str, path: str, lost: str = ""
    ) -> "AsyncIterator[Line]":
        from arable.client import grid_lines  # websockets: not for every process

        try:
            context = await asyncio.to_thread(self.context, link)
            async with grid_lines.line(url, region, context, path, lost) as line:
                yield line
        except CallError as error:
            raise as_ours(error) from error

    def farms(self, link: Link, url: str, region: str, ask: FarmPartsIn) -> FarmPartsOut:
        """Tell another region what farms of this one are to be there."""
        return _asked(url, region, self.context(link), FARMS, ask, FarmPartsOut)

    def context(self, link: Link) -> ssl.SSLContext:
        """TLS as this region."""
        return self.identity(link).asking()

    def identity(self, link: Link) -> GridIdentity:
        """Who this region is, kept in the data directory as the link says it."""
        found = self._identity or identity(self.data, self.entropy)
        if found is None or (found.region, found.certificate, found.authorities) != (
            link.region,
            link.certificate,
            link.authorities,
        ):
            found = keep_identity(
                self.data,
                link.region,
                link.authorities,
                link.certificate,
                self.unseal(link.key_sealed),
                self.entropy,
            )
        self._identity = found
        return found


def _asked(
    address: str,
    name: str,
    context: ssl.SSLContext,
    path: str,
    body: msgspec.Struct,
    gives: type[T],
    within: float = _WITHIN,
) -> T:
    try:
        return grid_calls.ask(address, name, context, path, body, gives, within=within)
    except CallError as error:
        raise as_ours(error) from error


def as_ours(error: CallError) -> CloudError:
    """What another control plane said, or that it said nothing, as an error of this one."""
    match error:
        case Refused():
            kind = _KINDS.get(error.problem.type.rpartition(":")[2], Unavailable)
            why: Any = error.problem.why
            return kind(str(error), why=why)
        case Unreachable() | NotArable():
            return Unavailable(str(error))
        case _:
            return Unavailable("the other end does not answer", detail=str(error))
