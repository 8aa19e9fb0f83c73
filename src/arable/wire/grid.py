"""What regions and the grid manager say to each other, at the grid manager's port. Read leniently: two adjacent versions
run together. A fact of a kind that the reader does not know is passed over.
"""

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from arable.wire.common import Line, Name, Plain, Whole
from arable.wire.farm_secrets import Contents
from arable.wire.images import (
    CommandLine,
    Memory,
    PartFormatName,
    PartRoleName,
    Sha256,
    VersionNumber,
)
from arable.wire.vpns import Endpoint, PublicKey

JOIN = "/grid/v1/join"
"""The one path that needs no certificate."""
SYNC = "/grid/v1/sync"
RENEW = "/grid/v1/renew"
ELSEWHERE = "/grid/v1/pass"
"""At a region's grid port: a call that was made elsewhere."""
UPLOAD = "/grid/v1/pass-file"
"""At a region's grid port: a call that was made elsewhere and brings a file. The body: how long the `PassIn` is (four
bytes, the highest first), the `PassIn` itself, the file."""
CONSOLE = "/grid/v1/console/"
"""At a region's grid port: with the ticket behind it a websocket, the console of a machine that is visited from elsewhere."""
FOLLOW = "/grid/v1/follow"
"""At a region's grid port: a websocket. The first message is a `PassIn` that asks for a stream, the answer's first a `PassOut`:
without a body the stream follows, in pieces."""
LOAD = "/grid/v1/load"
"""At a region's grid port: how much it sends just now."""
FARMS = "/grid/v1/farms"
"""At a region's grid port: what a farm of another region is to be here, and how that stands."""
AccountPath = Annotated[str, Meta(max_length=600, pattern=r"^[a-z0-9-]+(/[a-z0-9-]+)+$(?!\n)")]
ACCOUNT = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)+")
GRID_NAME = "grid"
"""What the grid manager's certificate calls it."""


class SendingLoad(msgspec.Struct, frozen=True, kw_only=True):
    """At a region's grid port: the share of the answers that it can send at once that are on their way."""

    load: Annotated[float, Meta(ge=0, le=1)]


class GridJoinIn(msgspec.Struct, frozen=True, kw_only=True):
    """A region joins; the request is for its own key."""

    token: str
    region: str
    request: str


class GridJoinOut(msgspec.Struct, frozen=True, kw_only=True):
    """Its certificate, and the authorities of the grid (PEM all)."""

    id: str
    region: str
    certificate: str
    authorities: tuple[str, ...]


class GridRenewIn(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh key's request."""

    request: str


class FactDoc(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact. `region` is said where it is not the sender's own; without a body it is the case no more."""

    kind: str
    key: str
    version: int
    body: Any = None
    audience: str = ""
    region: str = ""


class AmountBody(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind of capacity."""

    installed: Whole
    total: Whole
    reserved: Whole
    idle: int


class AddressesBody(msgspec.Struct, frozen=True, kw_only=True):
    """Public ones."""

    total: Whole
    free: Whole


class ZoneBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a fact about a zone says."""

    name: Name
    enabled: bool
    hosts: Whole
    hosts_up: Whole
    machines: Whole
    used_millicpus: Whole
    addresses: AddressesBody
    cpu_mhz: AmountBody
    memory_mib: AmountBody
    disk_mib: AmountBody


class AlertBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a fact about an open alert says."""

    kind: Line
    severity: Line
    name: Line
    text: Annotated[Plain, Meta(max_length=4096)]
    since: datetime


class PartBody(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an image version."""

    role: PartRoleName
    sha256: Sha256
    bytes: Whole
    format: PartFormatName
    virtual_bytes: Whole = 0


class ImageBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a fact about an image version says. `account` is its path."""

    account: AccountPath
    image: Name
    number: VersionNumber
    digest: Sha256
    parts: Annotated[tuple[PartBody, ...], Meta(max_length=3)]
    public: bool
    command_line: CommandLine
    minimum_memory_mib: Memory
    created_at: datetime


class RegionBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a region's fact about itself says."""

    software: Line
    servers: Whole
    api: Annotated[Plain, Meta(max_length=255)] = ""


class AccountBody(msgspec.Struct, frozen=True, kw_only=True):
    """An account that may be asked for from elsewhere: nothing but that."""


class KeyBody(msgspec.Struct, frozen=True, kw_only=True):
    """A public key (Ed25519), base64."""

    public: Annotated[str, Meta(min_length=44, max_length=44, pattern=r"^[A-Za-z0-9+/]{43}=$")]


class RevokedBody(msgspec.Struct, frozen=True, kw_only=True):
    """Until when what was signed does not count."""

    before: datetime


class PolicyBody(msgspec.Struct, frozen=True, kw_only=True):
    """In which regions an image should be. `account` is its path."""

    account: AccountPath
    image: Name
    public: bool
    at: Annotated[tuple[Name, ...], Meta(max_length=1000)]
    labels: Annotated[tuple[Name, ...], Meta(max_length=100)]
    versions: Annotated[int, Meta(ge=1, le=100)]
    upto: Whole


class BillBody(msgspec.Struct, frozen=True, kw_only=True):
    """What an account's use of a month comes to, in millionths of the currency. Without an account: all of the region's."""

    account: Annotated[str, Meta(max_length=600, pattern=r"^([a-z0-9-]+(/[a-z0-9-]+)+)?$(?!\n)")]
    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$(?!\n)")]
    currency: Annotated[str, Meta(pattern=r"^([A-Z]{3})?$(?!\n)")]
    micros: Annotated[int, Meta(ge=0, lt=1 << 62)]
    as_of: datetime


Sums = Annotated[
    dict[Annotated[str, Meta(max_length=63)], Annotated[int, Meta(ge=-1, lt=1 << 62)]],
    Meta(max_length=64),
]
"""By resource; -1: no limit."""


class HeldBody(msgspec.Struct, frozen=True, kw_only=True):
    """What an account holds in a region, and may hold there."""

    enabled: bool
    used: Sums
    limits: Sums


class InstructionBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a region is told to do; the signature is the grid authority's (base64)."""

    id: Annotated[str, Meta(max_length=48)]
    region: Name
    number: Whole
    kind: Annotated[str, Meta(max_length=32)]
    subject: Annotated[Plain, Meta(max_length=700)]
    limits: Sums
    origins: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    stops: bool = False
    given_by: Line
    given_at: datetime
    expires_at: datetime
    signature: Annotated[str, Meta(max_length=255)]


class InstructedBody(msgspec.Struct, frozen=True, kw_only=True):
    """How far a region is with it."""

    state: Annotated[str, Meta(max_length=32)]
    told: Annotated[Plain, Meta(max_length=1024)]
    at: datetime


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """What happened there, for operators."""

    at: datetime
    kind: Line
    subject: Line
    text: Annotated[Plain, Meta(max_length=4096)]


class LimitBody(msgspec.Struct, frozen=True, kw_only=True):
    """What an account may hold in all regions together, of what is limited."""

    limits: Sums


BODIES: dict[str, type[msgspec.Struct]] = {
    "region": RegionBody,
    "zone": ZoneBody,
    "alert": AlertBody,
    "image": ImageBody,
    "account": AccountBody,
    "policy": PolicyBody,
    "key": KeyBody,
    "revoked": RevokedBody,
    "bill": BillBody,
    "held": HeldBody,
    "event": EventBody,
    "limit": LimitBody,
    "instruction": InstructionBody,
    "instructed": InstructedBody,
}
"""By kind. The grid manager takes nothing else, so that what one region says can't trouble another."""


class MemberDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A region, as the grid manager sees it."""

    id: str
    name: str
    url: str
    software: str
    state: str
    epoch: int
    heard_at: datetime | None
    created_at: datetime
    labels: tuple[str, ...] = ()


class EvictDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of an image version that a region would let go. The same `id` is the same question.

    `keys`: what others' copies are called, as far as it knows.
    """

    id: str
    key: str
    digest: str
    keys: tuple[str, ...] = ()


class GrantDoc(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `told`: why it must be kept; empty: it may go."""

    id: str
    told: str = ""


class RefusedDoc(msgspec.Struct, frozen=True):
    """A fact that could not be read, and what is wrong with it. The others were."""

    kind: str
    key: str
    version: int
    told: str


class ShareDoc(msgspec.Struct, frozen=True, kw_only=True):
    """Of an account's limits over all regions: what a region has under that serial of its own, or was granted to it.

    `need` and `spare` are said by the region; `short` by the grid manager: not all that is needed was there.
    """

    account: AccountPath
    serial: Whole
    amounts: Sums
    need: Sums = {}
    spare: Sums = {}
    short: bool = False


class SyncIn(msgspec.Struct, frozen=True, kw_only=True):
    """What is new at a region, and up to where it knows what is new elsewhere.

    `snapshot`: the facts are all that is the case there, as of that version. The cursor is one of the grid manager's
    store of the name `incarnation`; of another one it means nothing.
    """

    url: str = ""
    software: str = ""
    facts: tuple[FactDoc, ...] = ()
    snapshot: int | None = None
    incarnation: str = ""
    cursor: int = 0
    evict: tuple[EvictDoc, ...] = ()
    over: tuple[str, ...] = ()  # ids of what was asked for before: it is gone, or stays
    shares: tuple[ShareDoc, ...] = ()


class SyncOut(msgspec.Struct, frozen=True, kw_only=True):
    """`seen`: the newest version of the region's own facts that is known; `had`: before this message. `full`: these
    facts are all there are.
    """

    incarnation: str
    had: int = 0
    seen: int
    cursor: int
    at: datetime
    members: tuple[MemberDoc, ...]
    facts: tuple[FactDoc, ...] = ()
    full: bool = False
    more: bool = False
    grants: tuple[GrantDoc, ...] = ()
    over: tuple[str, ...] = ()  # that is understood
    shares: tuple[ShareDoc, ...] = ()
    short: tuple[
        str, ...
    ] = ()  # accounts of which somewhere something is lacking: give back what is spare
    refused: tuple[RefusedDoc, ...] = ()


class PassIn(msgspec.Struct, frozen=True, kw_only=True):
    """A call of somebody who was let in by another region, which vouches for it by its certificate.

    `account` is the path that means the same everywhere; `permissions` are those of the credential that was shown there.
    """

    account: str
    user: str
    permissions: tuple[str, ...]
    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class PassOut(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class FarmTextIn(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a secret of a farm's part. It is in this call alone: in no document, fact or log."""

    name: Name
    text: Contents

    def __repr__(self) -> str:
        return f"FarmTextIn(name={self.name!r}, text=...)"


class FarmPartIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a farm of the region that asks is to be here, as of a version. The same may be said any number of times.

    `spec`: a `FarmPartSpec`; without one, and not `gone`, nothing is asked for but how it stands. `texts` are those of its
    secrets that there are by now.
    """

    account: AccountPath
    farm: Annotated[Plain, Meta(max_length=48)]  # its id there
    name: Name
    version: Whole
    spec: Any = None
    gone: bool = False
    texts: Annotated[tuple[FarmTextIn, ...], Meta(max_length=50)] = ()


class FarmPartsIn(msgspec.Struct, frozen=True, kw_only=True):
    """Several of them; each is done or refused by itself."""

    parts: Annotated[tuple[FarmPartIn, ...], Meta(max_length=100)]


class FarmPartTierOut(msgspec.Struct, frozen=True, kw_only=True):
    """A tier of it."""

    name: Name
    count: Whole = 0
    serving: Whole = 0
    told: Annotated[Plain, Meta(max_length=4096)] = ""


class FarmPartLinkOut(msgspec.Struct, frozen=True, kw_only=True):
    """An end of a link here: what the other one has to know of it. `name` is as `LinkIn.name`.

    `next_key` is what it is about to have; `known` the one of the other end's that it was told of, and goes by.
    """

    name: Annotated[Plain, Meta(max_length=200)]
    key: PublicKey
    next_key: PublicKey | None = None
    known: PublicKey | None = None
    endpoint: Endpoint
    up: bool = False


class FarmPartOut(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands. `version` is what is known here, which may be later than what was said."""

    farm: str
    version: int
    state: Line  # PartState
    told: Annotated[Plain, Meta(max_length=4096)] = ""
    here: Line = ""  # what it is called here, by id
    tiers: tuple[FarmPartTierOut, ...] = ()
    links: tuple[FarmPartLinkOut, ...] = ()


class FarmPartsOut(msgspec.Struct, frozen=True, kw_only=True):
    """In the order in which they were asked for."""

    parts: tuple[FarmPartOut, ...]
