"""A farm: the customer's private data centre. Every machine and network is in exactly one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from arable.domain.ids import AccountId, FarmId, OperationId, StorageZoneId, ZoneId

DEFAULT = "default"
"""The name of the farm and of the network that an account gets in a zone on first use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Farm:
    """A farm of an account in a zone. `storage_zone` is one that it was made with; without, it has one of its own."""

    id: FarmId
    account: AccountId
    zone: ZoneId
    name: str
    storage_zone: StorageZoneId | None = None
    generation: int = 1
    created_at: datetime

    @property
    def reaches(self) -> StorageZoneId:
        """The storage zone whose volumes its machines reach, and no others."""
        return self.storage_zone or StorageZoneId(self.id)


class FarmState(StrEnum):
    """Of a farm that is laid out by a document."""

    READY = "ready"
    LEAVING = "leaving"  # all that it made is let go, and then itself


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmDocument:
    """What a farm is laid out by. Those that were made on first use, and those filled by hand, have none.

    `spec` is the document as it was asked for. `operation` is the change that is under way, done when all tiers are as
    they should be; `told` is what keeps the farm waiting. `password` is a hash, which machines of elements are given;
    empty: none.
    """

    farm: FarmId
    spec: Mapping[str, Any]
    state: FarmState = FarmState.READY
    operation: OperationId | None = None
    attention: bool = False
    told: str = ""
    password: str = field(default="", repr=False)
    generation: int = 1
    changed_at: datetime

    def changed(self, at: datetime, **but: Any) -> "FarmDocument":
        """The same with other columns, one generation later."""
        return replace(self, generation=self.generation + 1, changed_at=at, **but)


class PartKind(StrEnum):
    """What a farm makes for itself, besides elements."""

    NETWORK = "network"
    PASSAGE = "passage"  # a rule between two networks
    ADDRESS = "address"
    BALANCER = "balancer"
    FIREWALL = "firewall"
    FORWARD = "forward"
    VOLUME = "volume"
    KEY = "key"
    VPN = "vpn"  # to a network of the same farm in another region


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A thing that a farm has made, and alone may change. `name` is unique among its kind in the farm."""

    farm: FarmId
    kind: PartKind
    name: str
    id: str
