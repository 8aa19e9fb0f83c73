"""Raw iSCSI clients (qemu-io): what a host that obeys nobody can do."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from arable.domain.ids import HostId
from arable.drivers import namespaces
from arable.drivers.storage.iscsi import names
from arable.drivers.storage.protocol import ExportAt
from arable.runtime.secret import Secret
from drivers.nbd_clients import Client


@contextmanager
def client(
    at: ExportAt,
    host: HostId,
    folder: Path,
    *,
    secret: Secret | None,
    user: str | None = None,
    storage_zone: str | None = None,
    read_only: bool = False,
    netns: str | None = None,
) -> Iterator[Client]:
    """Connected as that host, or whatever was said instead. `folder` is for the secret."""
    within = at.storage_zone if storage_zone is None else storage_zone
    called = names.initiator(host, within)
    options = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": f"{at.address}:{at.port}",
        "target": at.name,
        "lun": 1,
        "initiator-name": called,
        "timeout": 10,
        "discard": "unmap",
    }
    words = ["qemu-io", "-t", "writeback", *(("-r",) if read_only else ())]
    if secret:
        file = folder / f"{host}.secret"
        file.write_text(secret.reveal())
        options |= {"user": user or called, "password-secret": "chap"}
        words += ["--object", f"secret,id=chap,file={file}"]
    words.append(f"json:{msgspec.json.encode(options).decode()}")
    process = namespaces.inside(
        netns,
        lambda: subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        ),
    )
    try:
        yield Client(process)
    finally:
        process.kill()
        process.communicate()


def may_connect(at: ExportAt, host: HostId, folder: Path, secret: Secret | None, **but) -> str:
    """Empty if one is let in to read; else why not."""
    with client(at, host, folder, secret=secret, **but) as one:
        said = one.says("read 0 512")
    return "" if "read 512/512" in said else said
