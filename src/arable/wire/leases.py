"""What compute and storage hosts say to each other about leases: one question, one answer, each a line of JSON.

The compute host connects to the storage host's lease service with its host certificate (mutual TLS) and may ask as
often as it likes on one connection. Who it is stands in its certificate and nowhere in the question. A question holds
either renewals alone, which are answered at once, or also what takes time. No management server has a part in it.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from arable.domain.errors import BadInput

VERSION = 1
LONGEST = 256 * 1024
"""Bytes of a line, either way."""
MOST = 1000
"""Asks in a question."""

Machine = Annotated[str, Meta(max_length=48, pattern=r"^machine-[0-9a-z]{1,32}$(?!\n)")]
Epoch = Annotated[int, Meta(ge=1, le=2**53 - 1)]


class Verb(StrEnum):
    """What is asked of a lease."""

    ACQUIRE = "acquire"  # have it, and have the disks served
    RENEW = "renew"  # keep it
    RELEASE = "release"  # the guest is off
    HAND_OVER = "hand-over"  # hand it over to the heir: the guest stands still here, and its memory is there
    KEEP = "keep"  # never hand it over to that heir: the guest goes on here


class Ask(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """About one machine's lease. `to` is the heir's epoch, for `HAND_OVER` and `KEEP`; or the attempt by which its disks go
    to another storage host.
    """

    verb: Verb
    machine: Machine
    epoch: Epoch
    to: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a host has to ask just now."""

    asks: Annotated[list[Ask], Meta(min_length=1, max_length=MOST)]
    version: int = VERSION


class Verdict(StrEnum):
    """How it stands after an ask."""

    HELD = "held"  # the asker's for `seconds` from when it asked
    FREE = "free"  # let go
    COMING = "coming"  # its holder may hand it over to the asker; the disks are there, with nothing in them yet
    WAIT = "wait"  # not yet: ask again, in `seconds` at the latest
    LOST = "lost"  # that epoch is over, for good: the guest must not run
    REFUSED = "refused"  # the asker was never given it; perhaps it will be
    AWAY = "away"  # by that attempt its disks went to another storage host, whose word counts


class Disk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a disk is served: an NBD server that shows a certificate for disks of the storage host.

    With a `secret`, never to be logged, it is an iSCSI target that lets in this `initiator` by it. With a `pool` nothing is
    served: it is the file of that name in the directory of that pool, which the asker has mounted.
    """

    volume: str
    address: str
    port: int
    name: str
    initiator: str = ""
    secret: str = ""
    pool: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to an ask. `passed`: it was handed over to the asker, by a host whose guest stood still."""

    machine: str
    epoch: int
    verdict: Verdict
    seconds: float = 0.0
    passed: bool = False
    disks: list[Disk] = []
    told: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One `Said` for each ask, in their order. `refused` says why there is none at all."""

    said: list[Said]
    version: int = VERSION
    refused: str = ""


_question = msgspec.json.Decoder(Question)
_answer = msgspec.json.Decoder(Answer)
_encoder = msgspec.json.Encoder()


def line(message: Question | Answer) -> bytes:
    """As it is sent."""
    return _encoder.encode(message) + b"\n"


def question(sent: bytes) -> Question:
    """Parse what a compute host sent; raises `BadInput`."""
    try:
        return _question.decode(sent)
    except msgspec.DecodeError as error:
        raise BadInput(f"not a question about leases: {error}") from error


def answer(sent: bytes) -> Answer:
    """Parse what a storage host sent; raises `BadInput`."""
    try:
        return _answer.decode(sent)
    except msgspec.DecodeError as error:
        raise BadInput(f"not an answer about leases: {error}") from error
