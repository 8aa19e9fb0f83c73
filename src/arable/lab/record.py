"""What a lab consists of right now, on disk beside its data (`lab/lab.json`).

Written before anything is made, so that whatever a killed builder left can be found and removed, and read by
`arable lab …` in other terminals. The names of everything a lab makes follow from the place of its data directory.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from arable.domain.errors import NotFound
from arable.lab.living import Process
from arable.lab.topology import Topology


class DeviceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a device is: no `init` means without power. `stopped` are services that were stopped on purpose."""

    init: Process | None = None
    frozen: bool = False
    stopped: tuple[str, ...] = ()


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A management server. `argv` starts it again; without a process it was stopped on purpose."""

    argv: tuple[str, ...]
    process: Process | None = None
    frozen: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A lab. `id` begins the name of all its namespaces; `cut` are names of wires; `servers` are by name."""

    id: str
    topology: Topology
    builder: Process
    shared_mount: bool = False  # whether it was we who made /run/netns a mount
    ready: bool = False
    cut: tuple[str, ...] = ()
    devices: dict[str, DeviceRecord] = {}
    servers: dict[str, ServerRecord] = {}


class Place:
    """A lab's own directory below the data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()
        self.root = self.data / "lab"
        self.file = self.root / "lab.json"

    @property
    def id(self) -> str:
        """Short, the same for the same directory, different for others: what this lab's names begin with."""
        return "arable-" + hashlib.sha256(bytes(self.data)).hexdigest()[:8]

    def namespace(self, device: str) -> str:
        return f"{self.id}-{device}"

    def device(self, name: str) -> Path:
        """A device's directory: for a host, its disk."""
        return self.root / name

    def log(self, name: str) -> Path:
        """Where a process of this lab writes what it has to say."""
        return self.root / "logs" / f"{name}.log"

    def read(self) -> Record:
        """The lab as recorded; raises `NotFound` when there is none here."""
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=Record)
        except FileNotFoundError:
            raise NotFound(f"no lab is up at {self.data}; `arable up` makes one") from None

    def write(self, record: Record) -> None:
        """Replace the record; readers see the old or the new one, never half."""
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        fresh.chmod(0o600)
        fresh.replace(self.file)

    def change(self, how: Callable[[Record], Record]) -> Record:
        """Read, change and write as one step, whoever else does so."""
        with self.locked("record"):
            record = how(self.read())
            self.write(record)
            return record

    def forget(self) -> None:
        """There is no lab any more; logs and disks stay."""
        self.file.unlink(missing_ok=True)

    @contextmanager
    def locked(self, what: str, *, wait: bool = True) -> Iterator[None]:
        """Hold a lock of this lab; raises `BlockingIOError` when somebody has it and we don't wait."""
        fd = os.open(self.root / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(fd)


def with_device(record: Record, name: str, device: DeviceRecord) -> Record:
    """The same lab with that device so."""
    return msgspec.structs.replace(record, devices={**record.devices, name: device})
