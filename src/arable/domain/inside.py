"""What programs inside a farm may ask of the cloud: by the metadata service of their network, as their own element.

Deny by default. A blueprint names rights, and elements that are made of it have those and no others; what may be asked is
the short list here. Who asks is known by the network and the address from which they do, as with all that the metadata
service tells; a token is needed besides, so that a program that is talked into fetching an address for somebody else
gives nothing away.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from arable.domain.access import Permission
from arable.domain.ids import NetworkId


class Right(StrEnum):
    """What a blueprint may let its elements do."""

    READ = "read"  # their own element, tier, farm, and what the tier bears
    SCALE = "scale"  # have more or fewer elements in their own tier, within its bounds
    GROW = "grow"  # make their own further disks larger, within the account's limits


ALL = tuple(Right)

_NEEDED = {
    Right.READ: Permission.FARM_CONTROL,
    Right.SCALE: Permission.FARM_SCALE,
    Right.GROW: Permission.FARM_GROW,
}


def permissions(rights: Collection[Right]) -> frozenset[Permission]:
    """What these rights come to."""
    return frozenset(_NEEDED[right] for right in rights)


PREFIX = "/arable"
"""Before paths at the metadata service; the rest is the path of the call."""
TOKEN, SELF, TIER, DISK = "/v1/token", "/v1/self", "/v1/self/tier", "/v1/self/disk"
CALLS = frozenset({("POST", TOKEN), ("GET", SELF), ("POST", TIER), ("POST", DISK)})
"""All that is ever handed on."""

MOST_BODY = 4096
MOST_TOKEN = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestAsk:
    """A machine's call, as its network's router heard it. `path` is one of `CALLS`, `token` may be empty."""

    network: NetworkId
    asker: str  # the address from which it came
    method: str
    path: str
    token: str = field(default="", repr=False)
    body: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestAnswer:
    """What is said to it. `after`: it may ask again in so many seconds."""

    status: int
    body: str = field(default="", repr=False)
    after: int = 0
