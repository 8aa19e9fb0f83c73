"""A blueprint: what the elements of a tier are made of. A version never changes."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from arable.domain import template
from arable.domain.balancer import Check, Traffic
from arable.domain.errors import BadInput
from arable.domain.ids import AccountId, BlueprintId, DiskOfferingId, ImageId, OfferingId
from arable.domain.inside import Right
from arable.domain.seed import check_size
from arable.domain.volume import MOST_OF_A_MACHINE


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPart:
    """A disk of each element, besides the one that it boots from. `mib` None: as its offering says."""

    name: str
    offering: DiskOfferingId
    mib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPart:
    """What an element answers at."""

    port: int
    traffic: Traffic = Traffic.TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeps:
    """What stays with an element when it gets another machine; its name always does."""

    address: bool = False
    volumes: bool = False  # all its disks but the one that it boots from


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How elements are made anew: so many more than wished, so many fewer, and what is waited for in between.

    New ones have to serve for `bake_seconds`, and may answer with so many more errors in a hundred than old ones. When
    more of them fail than `failures`, all go back. With a `canary`, a number of elements or a share ("10%"), so many are made
    first, and serve for `canary_seconds` before any other is.
    """

    surge: int = 1
    unavailable: int = 0
    bake_seconds: int = 30
    errors_percent: int = 1
    failures: int = 0
    canary: str = ""  # empty: none
    canary_seconds: int = 300

    def canaries(self, count: int) -> int:
        """How many of so many elements are the canary; of a share at least one."""
        if self.canary.endswith("%"):
            return min(-(-count * int(self.canary[:-1]) // 100), count)
        return min(int(self.canary or 0), count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a version says. Without a number of seconds the cloud's settings hold.

    `check` is how is seen that an element is well, at the first of its ports; without ports it is well while it runs.
    """

    image: ImageId
    offering: OfferingId
    user_data: str = ""  # with words (domain/template.py)
    disks: tuple[DiskPart, ...] = ()
    reads: tuple[str, ...] = ()  # names of volumes of the farm's account that are shared read-only
    ports: tuple[PortPart, ...] = ()
    check: Check = field(default_factory=Check)
    keeps: Keeps = Keeps()
    update: Update = Update()
    control: tuple[Right, ...] = ()  # what programs in its elements may ask for
    ready_seconds: int | None = None  # from when a machine was accepted until it serves
    drain_seconds: int | None = None  # that sessions of one that leaves are waited for


def checked(body: Body) -> Body:
    """`body` if it makes sense; raises `BadInput` naming the field otherwise."""
    check_size(body.user_data)
    template.words(body.user_data)
    _once([disk.name for disk in body.disks], "disks", "name")
    _once(list(body.reads), "reads", "name")
    if body.reads and len(body.disks) + len(body.reads) >= MOST_OF_A_MACHINE:
        told = f"with the one that it boots from an element has {MOST_OF_A_MACHINE} disks at most"
        raise BadInput(told, field="reads")
    _once([str(each.port) for each in body.ports], "ports", "port")
    if body.check.lowest_status > body.check.highest_status:
        raise BadInput("is above the highest", field="check.lowest_status")
    if body.keeps.volumes and not body.disks:
        raise BadInput("there are no disks that could be kept", field="keeps.volumes")
    if body.update.surge + body.update.unavailable == 0:
        raise BadInput("with neither more nor fewer elements none can be replaced", field="update")
    if body.keeps.volumes and body.update.surge:
        raise BadInput(
            "an element more would have no volumes: where they are kept, say surge 0, unavailable 1",
            field="update.surge",
        )
    return body


def _once(said: list[str], field: str, what: str) -> None:
    for at, each in enumerate(said):
        if each in said[:at]:
            raise BadInput(f"{each} is there already", field=f"{field}.{at}.{what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """As it is kept."""

    id: BlueprintId
    account: AccountId
    name: str
    public: bool = False
    newest: int = 0  # the highest version number that was ever given: none is given twice
    home: str = ""  # the region with whose farms it came; empty: it was made here
    home_id: str = ""  # what it is called there
    generation: int = 1
    created_at: datetime

    def changed(self, **but: Any) -> "Blueprint":
        """The same blueprint with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, **but)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintVersion:
    """Immutable."""

    blueprint: BlueprintId
    number: int
    body: Body
    origin: str = ""  # of one that came with a farm: the digest of what it is in that one's home
    created_at: datetime
