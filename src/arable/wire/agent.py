"""What agents and management servers say to each other, over one websocket per host (JSON text frames).

The agent connects to `/agent/v1/channel` with its certificate and says `Hello`. The server answers `Welcome` and
a `Change`; from then on it sends a `Change` whenever the host's manifest grew a generation, and the agent sends
`Report`s. A change is a difference from the generation that the agent said it holds, or a whole manifest
(`base` is None): always the newest truth, never a command, so any of them may be lost with the connection.
Item bodies are kept as raw JSON, so the server passes on what the store holds without parsing it.

Beside the channel, same port, same certificates:
`POST /agent/v1/join` (no certificate, or none any more: one-time token), `POST /agent/v1/renew`,
`GET /agent/v1/images/{sha256}` (ranges allowed), websocket `/agent/v1/console/{ticket}` (binary frames, opened when
`OpenConsole` asks for it), `POST /agent/v1/inside`: what a machine asked at its network's metadata service
(`domain/inside.py`: `GuestAsk`, answered by a `GuestAnswer`).
"""

from dataclasses import replace
from typing import Annotated, Any

import msgspec

from arable.domain.carry import CarryWish
from arable.domain.errors import BadInput
from arable.domain.manifest import (
    ApplianceWish,
    ExportWish,
    GuestWish,
    HostManifest,
    HostReport,
    Inventory,
    ItemKind,
    LeaseWish,
    PeerWish,
    ScrapWish,
)
from arable.domain.replica import ReplicaWish
from arable.domain.snapshot import SnapshotWish
from arable.domain.tunnel import TunnelWish
from arable.wire.images import Sha256

VERSION = 1


class Hello(msgspec.Struct, tag="hello", frozen=True, kw_only=True):
    """The agent's first word. `have` is the generation of the manifest in its ledger, 0 for none.

    `incarnation` names the database that this manifest is from; empty: none, or from before databases had names.
    """

    version: int = VERSION
    host: str
    have: int = 0
    incarnation: str = ""
    moves: bool = False  # whether it understands `Elsewhere`; agents of the version before don't
    inventory: Inventory


class Report(msgspec.Struct, tag="report", frozen=True, kw_only=True):
    """What the host runs; the first one on a channel is full."""

    report: HostReport


class Welcome(msgspec.Struct, tag="welcome", frozen=True, kw_only=True):
    """The server's first word: how often to send a report with statistics even when nothing changed, and how long to keep
    images that nothing uses.

    `others` are gateways of this cloud (HOST:PORT) besides this one, to be tried when those that the agent was told of
    by its configuration don't answer. Agents that lose this server come back spread over `spread_seconds`.
    """

    version: int = VERSION
    server: str
    report_seconds: int = 10
    image_cache_seconds: int = 604_800
    others: tuple[str, ...] = ()
    spread_seconds: float = 2.0


class Elsewhere(msgspec.Struct, tag="elsewhere", frozen=True, kw_only=True):
    """Go to one of these gateways (HOST:PORT) instead, if it takes you in; without any: come back in `seconds`.

    Who `leaves` will not keep this channel: whoever can reach none of them goes where their configuration says.
    """

    servers: tuple[str, ...] = ()
    seconds: float = 0.0
    leaves: bool = False


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One wish of a manifest; without a body it is no longer wished for."""

    kind: ItemKind
    id: str
    body: msgspec.Raw | None = None


class Change(msgspec.Struct, tag="change", frozen=True, kw_only=True):
    """From manifest generation `base` (None: from nothing) to `generation`, both of the database `incarnation`.

    Of another database than the one held, only a whole manifest counts (docs/decisions/0005).
    """

    base: int | None
    generation: int
    incarnation: str = ""
    items: list[Item]


class OpenConsole(msgspec.Struct, tag="console", frozen=True, kw_only=True):
    """Somebody wants this machine's serial console: open `/agent/v1/console/{ticket}` and join them."""

    ticket: str
    machine: str


ToServer = Hello | Report
ToAgent = Welcome | Change | OpenConsole | Elsewhere


class JoinIn(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A new host asks for its certificate. `request` is a PEM certificate signing request for a fresh key.

    `host` is said by one that has joined before, whose certificate is over: it wants to be that one again and no other.
    """

    token: str
    name: str
    request: str
    inventory: Inventory
    host: str = ""


class JoinOut(msgspec.Struct, frozen=True, kw_only=True):
    """The host's identity: its id is the certificate's common name. `authority` is the CA's PEM."""

    host: str
    certificate: str
    authority: str
    pool: str = ""  # the host's local storage pool


class RenewIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host asks for a fresh certificate before the old one ends; with `disks`, for that of its disks' connections."""

    request: str
    disks: bool = False


class BringQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a host says of the bytes that it brings for an image; they must turn out so."""

    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=1)]


_BODIES: dict[ItemKind, Any] = {
    ItemKind.GUEST: msgspec.json.Decoder(GuestWish),
    ItemKind.APPLIANCE: msgspec.json.Decoder(ApplianceWish),
    ItemKind.LEASE: msgspec.json.Decoder(LeaseWish),
    ItemKind.SCRAP: msgspec.json.Decoder(ScrapWish),
    ItemKind.SNAPSHOT: msgspec.json.Decoder(SnapshotWish),
    ItemKind.CARRY: msgspec.json.Decoder(CarryWish),
    ItemKind.REPLICA: msgspec.json.Decoder(ReplicaWish),
    ItemKind.EXPORT: msgspec.json.Decoder(ExportWish),
    ItemKind.PEER: msgspec.json.Decoder(PeerWish),
    ItemKind.TUNNEL: msgspec.json.Decoder(TunnelWish),
}
_FIELDS = {
    ItemKind.GUEST: "guests",
    ItemKind.APPLIANCE: "appliances",
    ItemKind.LEASE: "leases",
    ItemKind.SCRAP: "scraps",
    ItemKind.SNAPSHOT: "snapshots",
    ItemKind.CARRY: "carries",
    ItemKind.REPLICA: "replicas",
    ItemKind.EXPORT: "exports",
    ItemKind.PEER: "peers",
    ItemKind.TUNNEL: "tunnels",
}

_encoder = msgspec.json.Encoder()
_to_server: msgspec.json.Decoder[Hello | Report] = msgspec.json.Decoder(ToServer)


class _Item(msgspec.Struct, frozen=True):
    """`Item` as it is parsed: raw JSON can't be optional there, so an absent body is null for a moment."""

    kind: ItemKind
    id: str
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Change(msgspec.Struct, tag="change", frozen=True):
    base: int | None
    generation: int
    items: list[_Item]
    incarnation: str = ""


_to_agent: msgspec.json.Decoder[Welcome | _Change | OpenConsole | Elsewhere] = msgspec.json.Decoder(
    Welcome | _Change | OpenConsole | Elsewhere
)


def encode(message: ToServer | ToAgent) -> bytes:
    """One frame."""
    return _encoder.encode(message)


def from_agent(frame: bytes | str) -> Hello | Report:
    """Parse what an agent said; raises `BadInput`."""
    try:
        return _to_server.decode(frame)
    except msgspec.DecodeError as error:
        raise BadInput(f"not a message of an agent: {error}") from error


def from_server(frame: bytes | str) -> ToAgent:
    """Parse what a server said; raises `BadInput`."""
    try:
        message = _to_agent.decode(frame)
    except msgspec.DecodeError as error:
        raise BadInput(f"not a message of a server: {error}") from error
    if not isinstance(message, _Change):
        return message
    items = [
        Item(kind=item.kind, id=item.id, body=None if bytes(item.body) == b"null" else item.body)
        for item in message.items
    ]
    return Change(
        base=message.base,
        generation=message.generation,
        incarnation=message.incarnation,
        items=items,
    )


def apply(held: HostManifest, change: Change) -> HostManifest:
    """The manifest after `change`; raises `BadInput` when it does not start from what is held.

    `held` is untouched. An agent that gets such a refusal says `Hello` anew with `have=0`.
    """
    if change.base is None:
        held = HostManifest(held.host)
    elif change.base != held.generation:
        raise BadInput(f"change from generation {change.base}, but {held.generation} is held")
    kept: dict[str, Any] = {name: dict(getattr(held, name)) for name in _FIELDS.values()}
    for item in change.items:
        wishes = kept[_FIELDS[item.kind]]
        if item.body is None:
            wishes.pop(item.id, None)
        else:
            try:
                wishes[item.id] = _BODIES[item.kind].decode(item.body)
            except msgspec.DecodeError as error:
                raise BadInput(f"{item.kind} {item.id}: {error}") from error
    return replace(
        held,
        generation=change.generation,
        incarnation=change.incarnation or held.incarnation,
        **kept,
    )
