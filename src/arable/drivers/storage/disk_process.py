"""The command line of a qemu-storage-daemon that has one volume open, but for how anybody reaches it. Pure.

One process for each volume, so that trouble with one disk stays with it. Limits are kept here and not at the guest's
host: this is where the pool is, and a host that is broken can't take from others.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from arable.domain.ids import HostId, VolumeId

PROGRAM = "qemu-storage-daemon"
LIMITS, DISK, IMAGE = "limits", "disk", "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One volume, served to one host. Equal values mean an equal command line.

    With `blank_bytes` it only stands in for the volume: so large, reads as zeros, keeps nothing, and opens no file.
    """

    volume: VolumeId
    epoch: int
    holder: HostId
    path: Path
    direct: bool  # past the page cache, where the file system can
    iops: int = 0
    bytes_per_second: int = 0
    blank_bytes: int = 0
    monitor: str = ""  # the name of its socket, where it is started
    storage_zone: str = ""
    read_only: bool = False  # by the device itself, whatever its holder says


def words(serving: Serving, pidfile: Path) -> list[str]:
    """As far as the node `DISK`. Options are JSON, since QEMU's own form gives a meaning to commas, also those of a path."""
    limits = {
        "qom-type": "throttle-group",
        "id": LIMITS,
        "limits": {
            "iops-total": serving.iops,
            "bps-total": serving.bytes_per_second,
        },
    }
    throttled: dict[str, Any] = {
        "driver": "throttle",
        "node-name": DISK,
        "discard": "unmap",  # each node drops it that does not say so
        "throttle-group": LIMITS,
        "file": IMAGE,
    }
    if serving.read_only:
        throttled["read-only"] = True
    made = [PROGRAM, "--daemonize", "--pidfile", str(pidfile)]
    if serving.monitor:
        made += ["--chardev", f"socket,id=monitor,path={serving.monitor},server=on,wait=off"]
        made += ["--monitor", "chardev=monitor"]
    made += ["--object", json(limits)]
    for node in (*_nodes(serving), throttled):
        made += ["--blockdev", json(node)]
    return made


def _nodes(serving: Serving) -> list[dict[str, Any]]:
    """What is served, last one on top."""
    if serving.blank_bytes:
        blank = {"driver": "null-co", "node-name": IMAGE, "read-zeroes": True}
        return [{**blank, "size": serving.blank_bytes}]
    file = {
        "driver": "file",
        "node-name": "file",
        "filename": str(serving.path),
        "cache": {"direct": serving.direct},
        "discard": "unmap",
        "locking": "on",
    }
    image = {"driver": "qcow2", "node-name": IMAGE, "discard": "unmap", "file": "file"}
    if serving.read_only:
        return [{**file, "read-only": True}, {**image, "read-only": True}]
    return [file, image]


def holder_object(name: str, holder: HostId) -> dict[str, Any]:
    """Who is let in, as an object of QEMU's of that name."""
    return {"qom-type": "authz-simple", "id": name, "identity": f"CN={holder}"}


def json(value: Any) -> str:
    """As an option of QEMU's."""
    return msgspec.json.encode(value).decode()
