"""What the agent must still know after its host lost power: the last manifest, and small facts about guests.

Written before anything is done about a manifest, and read once, at start. That makes the host stable without a
control plane: an agent that starts and reaches no server goes on with what it last knew.

A file that is not whole (a disk that lied, a hand that edited) is refused loudly and counts as none. An agent
without a manifest touches nothing: machines keep running until a server says anew what should.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from arable.agent.kept_file import KeptFile
from arable.domain.ids import MachineId, NicId, VolumeId
from arable.domain.manifest import GuestWish, HostManifest

log = logging.getLogger(__name__)

Turn = tuple[int, int]
"""Generation and boots of a wish: what a guest was started for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """What can't be seen by looking at the guest."""

    ran: Turn | None = None  # it was seen running for this wish
    halted: Turn | None = (
        None  # it shut itself down after that, and stays off until the wish changes
    )
    asked: bool = False  # we asked it to shut down since it was started
    tries: int = 0  # failed attempts and crashes in a row
    volumes: tuple[VolumeId, ...] = ()  # what its running self holds, whatever is wished by now
    nics: tuple[NicId, ...] = ()
    left: tuple[NicId, ...] = ()  # what it has let go of, and whose ports are not unplugged yet


NO_FACTS = GuestFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """All that a ledger holds. `kept` guests were wished for by an earlier database (`wishes.py`)."""

    manifest: HostManifest
    facts: Mapping[MachineId, GuestFacts] = field(default_factory=dict)
    kept: Mapping[MachineId, GuestWish] = field(default_factory=dict)


class Ledger(Protocol):
    """Durable when `save` returns."""

    def load(self) -> Held | None:
        """What was saved last; None when that is nothing, or can't be trusted."""

    def save(self, held: Held) -> None:
        """Replace what is held; raises `OSError`, and then the earlier one still stands."""


class MemoryLedger:
    """For simulated hosts: lives as long as the hardware object it is kept with."""

    def __init__(self) -> None:
        self.held: Held | None = None
        self.saves = 0

    def load(self) -> Held | None:
        return self.held

    def save(self, held: Held) -> None:
        self.held = held
        self.saves += 1


class FileLedger:
    """One file, replaced as a whole, on a full disk too. Its first line is the SHA-256 of the rest, blanks at its end included."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = KeptFile(path)

    def load(self) -> Held | None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        digest, _, body = content.partition(b"\n")
        if digest != _digest(body):
            log.error("ledger %s is damaged: nothing is done until a server answers", self._path)
            return None
        try:
            return _decoder.decode(body)
        except msgspec.DecodeError:
            log.exception("ledger %s is of another kind: not used", self._path)
            return None

    def save(self, held: Held) -> None:
        body = _encoder.encode(held)
        head = len(_digest(body) + b"\n")
        size = self._file.size(head + len(body))
        body = body.ljust(size - head)
        self._file.write(_digest(body) + b"\n" + body, size)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Held)


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
