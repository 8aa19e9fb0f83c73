"""How the management servers look outside: who is master, who holds what, and how that came about."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import In, Name, Out


class MasterOut(Out, frozen=True, kw_only=True):
    """The server that acts for the whole region."""

    server: Annotated[str | None, Meta(description="Null: there has been none yet.")]
    epoch: Annotated[int, Meta(description="Grows with each election; what is older is refused.")]
    since: datetime | None
    acting: Annotated[bool, Meta(description="Whether its lease has not ended.")]
    suspected_by: Annotated[tuple[str, ...], Meta(description="Who does not find it.")] = ()


class ServerOut(Out, frozen=True, kw_only=True):
    """A management server, as the others know it."""

    name: Annotated[str, Meta(examples=["server-0mh5z1x2k3q8"])]
    state: Annotated[str, Meta(description="`ready`, `silent`, `draining` or `gone`.")]
    master: bool
    sequence: Annotated[int, Meta(description="The lowest of the live ones is elected.")]
    epoch: Annotated[int, Meta(description="Its right to act; grows when its farms are taken.")]
    address: Annotated[str, Meta(description="Where the others reach it.")]
    site: str
    version: str
    heartbeat_at: datetime
    cpu_percent: Annotated[int, Meta(description="Of one core.")]
    memory_mib: int
    lag_ms: Annotated[int, Meta(description="How late its controllers are.")]
    pending: Annotated[int, Meta(description="Pieces of work that wait for its writer.")]
    farms: int
    agents: Annotated[int, Meta(description="Hosts whose channel it has.")]
    asked: Annotated[str, Meta(description="What the master asked the platform to do with it.")]
    answer: Annotated[str, Meta(description="What came of that.")]


class ServerChoice(In, frozen=True, kw_only=True):
    """One of the management servers."""

    server: Name


class FailingFarmOut(Out, frozen=True, kw_only=True):
    """A farm whose work fails: it is left out, and tried alone ever less often. The other farms' goes on."""

    farm: str
    name: Annotated[str, Meta(description="Its account's name and its own.")]
    server: Annotated[str, Meta(description="That tried last.")]
    tries: Annotated[int, Meta(description="In a row.")]
    since: datetime
    tried_at: datetime
    told: Annotated[str, Meta(description="What came of it.")]


class FarmsOut(Out, frozen=True, kw_only=True):
    """How farms are held."""

    total: int
    unheld: Annotated[int, Meta(description="Without a server that could act for them.")]
    unconfirmed: Annotated[int, Meta(description="On their way to another server.")]
    failing: Annotated[tuple[FailingFarmOut, ...], Meta(description="At most a hundred.")] = ()


class ElectionOut(Out, frozen=True, kw_only=True):
    """An election."""

    epoch: int
    server: str
    at: datetime
    cause: Annotated[str, Meta(description="`first`, `ended`, `suspected` or `reborn`.")]
    agreed: Annotated[tuple[str, ...], Meta(description="Who had not found the master before.")]


class ControlOut(Out, frozen=True, kw_only=True):
    """The management servers of this region."""

    master: MasterOut
    servers: tuple[ServerOut, ...]
    farms: FarmsOut
    elections: Annotated[tuple[ElectionOut, ...], Meta(description="The newest first.")]
