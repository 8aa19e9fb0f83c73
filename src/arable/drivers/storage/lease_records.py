"""Where leases' records are kept: a file for each machine, or the memory of a simulated host."""

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from arable.domain import ids
from arable.domain.errors import BadInput
from arable.domain.ids import MachineId
from arable.drivers.faults import Faults
from arable.drivers.storage.durable import write_whole
from arable.drivers.storage.leases import UNKNOWN, Record

log = logging.getLogger(__name__)

_decoder = msgspec.json.Decoder(Record)


class FileRecords:
    """`Records` in a directory of their own, written whole and synchronised before anything is done by them."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "machines"
        self._staging = directory / "staging"
        for folder in (self._folder, self._staging):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self) -> Mapping[MachineId, Record]:
        for left in self._staging.iterdir():
            left.unlink()
        found = {}
        for path in sorted(self._folder.iterdir()):
            try:
                machine = MachineId(ids.check("machine", path.name))
            except BadInput:
                log.warning("%s is no lease", path)
                continue
            found[machine] = _read(path, machine)
        return found

    def save(self, record: Record) -> None:
        write_whole(self._folder / record.machine, msgspec.json.encode(record), self._staging)


def _read(path: Path, machine: MachineId) -> Record:
    try:
        record = _decoder.decode(path.read_bytes())
        if record.machine == machine:
            return record
    except msgspec.DecodeError as error:
        log.error("%s is damaged, so its machine gets no lease: %s", path, error)  # noqa: TRY400
    return Record(machine=machine, epoch=UNKNOWN)


class MemoryRecords:
    """`Records` that outlive the agent of a simulated host, and may fail before or after they are written."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._held: dict[MachineId, Record] = {}
        self.faults = faults or Faults()

    def load(self) -> Mapping[MachineId, Record]:
        return dict(self._held)

    def save(self, record: Record) -> None:
        with self.faults.around(f"save {record.machine} {record.held}"):
            self._held[record.machine] = record
