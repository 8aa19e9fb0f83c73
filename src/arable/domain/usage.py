"""What an account uses, as intervals: each second of each thing once."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from arable.domain.ids import AccountId


class UsageKind(StrEnum):
    """What is counted."""

    RUNNING = "running"  # a machine, from when it was seen running until it was seen off
    MACHINE = "machine"  # a machine that is there, whether it runs or not
    VOLUME = "volume"
    ADDRESS = "address"  # a public one
    NETWORK = "network"


ROOT = "root"
"""In the place of a volume's offering: a machine's root disk, which is made by the machine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """Something that an account had, from `since` until `until`; none: it has it still.

    Names are those that things had when it began. `mib` is of memory, or of a volume.
    """

    number: int
    account: AccountId
    kind: UsageKind
    thing: str
    name: str
    offering: str
    farm: str
    farm_name: str
    tier: str
    tier_name: str
    cpus: int
    mib: int
    since: datetime
    until: datetime | None


class Used(NamedTuple):
    """So long, in microseconds, all of an account's things of a sort were there together."""

    kind: UsageKind
    offering: str
    farm: str
    farm_name: str
    mib: int
    micros: int
