"""The command lines of the two processes by which a volume is an iSCSI target's unit. Pure: values in, words out.

qemu-storage-daemon has the volume open, as it has for NBD, and shows what is in it as a file (FUSE); tgtd serves that
file. The file is there in a mount namespace of theirs alone, so nothing is left of it when both are gone.
"""

from pathlib import Path
from typing import Any

from arable.domain.ids import HostId, VolumeId
from arable.drivers.storage.disk_process import DISK, Serving, holder_object, json, words
from arable.drivers.storage.protocol import export_name

TARGET = "tgtd"


def command(serving: Serving, pidfile: Path, disk: Path) -> list[str]:
    """The first one's. `disk` is the (empty) file in whose place the volume is seen."""
    export = {
        "type": "fuse",
        "id": "export",
        "node-name": DISK,
        "mountpoint": str(disk),
        "writable": not serving.read_only,
        "writethrough": True,
    }
    made = words(serving, pidfile)
    made += ["--object", json(_mark(serving.volume, serving.epoch, serving.holder))]
    return [*made, "--export", json(export)]


def door(address: str, port: int, mark: Path) -> list[str]:
    """The second one's. It passes over the `mark`, by which it is found again."""
    where = f"[{address}]" if ":" in address else address
    return [TARGET, "-f", "--iscsi", f"portal={where}:{port}", str(mark)]


def marks(volume: VolumeId, epoch: int, holder: HostId) -> tuple[bytes, bytes]:
    """Words that the first one's command line of this serving has, and no other's."""
    mark = json(_mark(volume, epoch, holder)).encode()
    return mark, mark


def _mark(volume: VolumeId, epoch: int, holder: HostId) -> dict[str, Any]:
    """Nobody asks it: who is let in is what the target was told. It says what is served, and to whom."""
    return holder_object(export_name(volume, epoch), holder)
