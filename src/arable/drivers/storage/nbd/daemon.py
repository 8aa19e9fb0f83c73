"""The command line of a qemu-storage-daemon that serves one volume to one host. Pure: values in, words out.

One process for each volume, so that trouble with one disk stays with it. TLS with certificates of the cloud's own
authority on both sides, and a list of one name: the host that has the lease. Every write is on the disk before it is
answered (`writethrough`): QEMU keeps a qcow2's tables in memory until a flush, and a guest that does not notice that
its disk's server was killed and replaced would never write again what was lost with them. Limits are kept here and
not at the guest's host: this is where the pool is, and a host that is broken can't take from others.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from arable.domain.ids import HostId, VolumeId
from arable.drivers.storage.protocol import export_name

PROGRAM = "qemu-storage-daemon"
_CONNECTIONS = 16  # a host's own; those that it lost, and we have not noticed yet, count too


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One volume, served. Equal values mean an equal command line.

    With `blank_bytes` it only stands in for the volume: so large, reads as zeros, keeps nothing, and opens no file.
    """

    volume: VolumeId
    epoch: int
    holder: HostId
    path: Path
    address: str
    port: int
    credentials: Path  # a directory with ca-cert.pem, server-cert.pem, server-key.pem
    direct: bool  # past the page cache, where the file system can
    iops: int = 0
    bytes_per_second: int = 0
    blank_bytes: int = 0


def command(serving: Serving, pidfile: Path) -> list[str]:
    """All of it. Options are JSON, since QEMU's own form gives a meaning to commas, also those of a path."""
    limits = {
        "qom-type": "throttle-group",
        "id": "limits",
        "limits": {
            "iops-total": serving.iops,
            "bps-total": serving.bytes_per_second,
        },
    }
    credentials = {
        "qom-type": "tls-creds-x509",
        "id": "tls",
        "endpoint": "server",
        "dir": str(serving.credentials),
        "verify-peer": True,
    }
    server = {
        "addr": {"type": "inet", "host": serving.address, "port": str(serving.port)},
        "tls-creds": "tls",
        "tls-authz": "holder",
        "max-connections": _CONNECTIONS,
    }
    words = [PROGRAM, "--daemonize", "--pidfile", str(pidfile)]
    for option, value in (
        ("--object", credentials),
        ("--object", _holder(serving.holder)),
        ("--object", limits),
        *(("--blockdev", node) for node in _nodes(serving)),
        (
            "--blockdev",
            {
                "driver": "throttle",
                "node-name": "disk",
                "throttle-group": "limits",
                "file": "image",
            },
        ),
        ("--nbd-server", server),
        ("--export", _export(serving.volume, serving.epoch)),
    ):
        words += [option, _json(value)]
    return words


def _nodes(serving: Serving) -> list[dict[str, Any]]:
    """What is served, last one on top."""
    if serving.blank_bytes:
        blank = {"driver": "null-co", "node-name": "image", "read-zeroes": True}
        return [{**blank, "size": serving.blank_bytes}]
    file = {
        "driver": "file",
        "node-name": "file",
        "filename": str(serving.path),
        "cache": {"direct": serving.direct},
        "discard": "unmap",
        "locking": "on",
    }
    return [file, {"driver": "qcow2", "node-name": "image", "file": "file"}]


def marks(volume: VolumeId, epoch: int, holder: HostId) -> tuple[bytes, bytes]:
    """Words that the command line of this serving has, and no other's."""
    return _json(_export(volume, epoch)).encode(), _json(_holder(holder)).encode()


def _export(volume: VolumeId, epoch: int) -> dict[str, Any]:
    return {
        "type": "nbd",
        "id": "export",
        "node-name": "disk",
        "name": export_name(volume, epoch),
        "writable": True,
        "writethrough": True,
    }


def _holder(holder: HostId) -> dict[str, Any]:
    return {"qom-type": "authz-simple", "id": "holder", "identity": f"CN={holder}"}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
