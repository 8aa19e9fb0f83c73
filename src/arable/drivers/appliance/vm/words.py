"""What a router's machine and its host say to each other on a virtio-serial line: JSON, a line each.

The kernel keeps what was half said when one end went away, so each begins with an empty line, and whoever hears a line
that is no sentence passes it over. Nothing is lost by that: orders are repeated, and news are told again and again.
"""

import msgspec

from arable.domain.balancer import BalancerSeen
from arable.domain.inside import GuestAnswer, GuestAsk
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.vpn import VpnSeen

CHANNEL = "org.arable.appliance.0"
MOST_LINE = 16 << 20
"""Bytes of a sentence; a network of four thousand machines with their seeds has fewer."""


class Order(msgspec.Struct, frozen=True, tag="order"):
    """Be this router. `number` comes back with the news that it is done, or why it can't be."""

    number: int
    wish: ApplianceWish
    leases: tuple[LeaseWish, ...]


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """To a machine's call that was handed on under this number."""

    number: int
    answer: GuestAnswer


class News(msgspec.Struct, frozen=True, tag="news"):
    """How the router does. `done` is the order that was carried out last, well or (`failed`) not; 0: none."""

    seen: ApplianceSeen | None = None
    balancers: tuple[BalancerSeen, ...] = ()
    vpns: tuple[VpnSeen, ...] = ()
    done: int = 0
    failed: str = ""
    detail: str = ""


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A machine asks the cloud."""

    number: int
    ask: GuestAsk


ToMachine = Order | Answer
ToHost = News | Ask

_to_machine: msgspec.json.Decoder[ToMachine] = msgspec.json.Decoder(ToMachine)
_to_host: msgspec.json.Decoder[ToHost] = msgspec.json.Decoder(ToHost)
_encode = msgspec.json.Encoder().encode


def said(sentence: ToMachine | ToHost) -> bytes:
    """As it goes over the line."""
    return _encode(sentence) + b"\n"


def heard_by_machine(line: bytes) -> ToMachine | None:
    """The host's sentence; None for what is none."""
    try:
        return _to_machine.decode(line) if line.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def heard_by_host(line: bytes) -> ToHost | None:
    """The machine's sentence; None for what is none. It may have been taken over, so it is believed in nothing but form."""
    try:
        return _to_host.decode(line) if line.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
