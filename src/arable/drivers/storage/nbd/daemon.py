"""The command line of a qemu-storage-daemon that serves one volume to one host over NBD. Pure: values in, words out.

TLS with certificates of the cloud's own authority on both sides, and a list of one name: the host that has the lease.
Every write is on the disk before it is answered (`writethrough`): QEMU keeps a qcow2's tables in memory until a flush,
and a guest that does not notice that its disk's server was killed and replaced would never write again what was lost
with them.
"""

from pathlib import Path
from typing import Any

from arable.domain.ids import HostId, VolumeId
from arable.drivers.storage.disk_process import DISK, Serving, holder_object, json, words
from arable.drivers.storage.protocol import export_name

_CONNECTIONS = 16  # a host's own; those that it lost, and we have not noticed yet, count too


def command(serving: Serving, pidfile: Path, listener: int, credentials: Path) -> list[str]:
    """All of it. `listener` is a socket that listens, which it inherits.

    `credentials` is a directory with ca-cert.pem, server-cert.pem and server-key.pem.
    """
    tls = {
        "qom-type": "tls-creds-x509",
        "id": "tls",
        "endpoint": "server",
        "dir": str(credentials),
        "verify-peer": True,
    }
    server = {
        "addr": {"type": "fd", "str": str(listener)},
        "tls-creds": "tls",
        "tls-authz": "holder",
        "max-connections": _CONNECTIONS,
    }
    made = words(serving, pidfile)
    for option, value in (
        ("--object", tls),
        ("--object", holder_object("holder", serving.holder)),
        ("--nbd-server", server),
        ("--export", _export(serving.volume, serving.epoch, writable=not serving.read_only)),
    ):
        made += [option, json(value)]
    return made


def marks(
    volume: VolumeId, epoch: int, holder: HostId, *, read_only: bool = False
) -> tuple[bytes, bytes]:
    """Words that the command line of this serving has, and no other's."""
    return json(_export(volume, epoch, writable=not read_only)).encode(), json(
        holder_object("holder", holder)
    ).encode()


def _export(volume: VolumeId, epoch: int, *, writable: bool) -> dict[str, Any]:
    return {
        "type": "nbd",
        "id": "export",
        "node-name": DISK,
        "name": export_name(volume, epoch),
        "writable": writable,
        "writethrough": True,
    }
