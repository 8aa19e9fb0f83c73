"""How instructions to regions look."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.accounts import Limit
from arable.wire.common import Id, In, Out, PageQuery, Plain
from arable.wire.regions import RegionName


class InstructIn(In, frozen=True, kw_only=True):
    """What regions are to do. With `cap`, and for a new account, limits are said as for `arable limit update`; null: no limit."""

    kind: Annotated[
        Literal["evacuate", "cap", "suspend", "resume", "open"],
        Meta(
            description="evacuate: all hosts of a zone go into maintenance, and what can leave them does; cap: an account's"
            " limits in these regions; suspend, resume: whether an account's users are let in; open: an account is made"
            " where it is not yet, and may be asked for from the `origins`."
        ),
    ]
    subject: Annotated[
        Plain,
        Meta(min_length=1, max_length=600, description="A zone's name, or an account's path: root/acme/acme."),
    ]  # fmt: skip
    at: Annotated[
        tuple[RegionName, ...],
        Meta(max_length=1000, description="Which regions; none: all that are in the grid now."),
    ] = ()
    origins: Annotated[
        tuple[RegionName, ...],
        Meta(max_length=100, description="open: from which regions the account's users may ask for it."),
    ] = ()  # fmt: skip
    stop: Annotated[
        bool,
        Meta(description="evacuate: what can't leave while it runs is stopped, as by `arable host maintenance --stop`."),
    ] = False  # fmt: skip
    seconds: Annotated[
        int,
        Meta(ge=10, le=30 * 86_400, description="How long it counts. Who hears of it later does nothing."),
    ] = 86_400  # fmt: skip
    machines: Limit | UnsetType | None = UNSET
    cpus: Limit | UnsetType | None = UNSET
    memory_mib: Limit | UnsetType | None = UNSET
    volumes: Limit | UnsetType | None = UNSET
    storage_mib: Limit | UnsetType | None = UNSET
    snapshots: Limit | UnsetType | None = UNSET
    snapshot_mib: Limit | UnsetType | None = UNSET
    networks: Limit | UnsetType | None = UNSET
    addresses: Limit | UnsetType | None = UNSET


class CancelInstructionIn(In, frozen=True, kw_only=True):
    """Which one."""

    id: Id


class InstructionQuery(PageQuery, frozen=True, kw_only=True):
    """Which ones."""

    id: Id | None = None


class InstructedOut(Out, frozen=True, kw_only=True):
    """How far a region is, as it said at `as_of`; null: it has not said anything of it."""

    region: str
    number: Annotated[int, Meta(description="The how-manieth to that region.")]
    state: Annotated[
        str,
        Meta(description="waiting, running, done, failed, refused, cancelled or expired."),
    ]
    told: str
    as_of: datetime | None


class InstructionOut(Out, frozen=True, kw_only=True):
    """What regions were told to do."""

    id: Annotated[str, Meta(examples=["instruction-0mh5z1x2k3q8w7e6r5t4"])]
    kind: str
    subject: str
    limits: Annotated[dict[str, int | None], Meta(description="With cap and open. Null: no limit.")]
    origins: tuple[str, ...] = ()
    stop: bool = False
    given_by: str
    given_at: datetime
    expires_at: datetime
    cancelled_at: datetime | None
    regions: tuple[InstructedOut, ...]
