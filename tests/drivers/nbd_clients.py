"""Certificates for disks, and raw NBD clients (qemu-io): what a host that obeys nobody can do."""

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from arable.domain.ids import HostId
from arable.drivers import namespaces
from arable.drivers.storage.nbd.credentials import keep
from arable.drivers.storage.protocol import ExportAt
from arable.runtime import ca
from arable.runtime.ca import Authority, IdentityKind
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy

PATIENCE = 60.0
_PROMPT = "qemu-io> "


def authority(folder: Path) -> Authority:
    return Authority.open(folder / "authority", RealClock(), Entropy.system())


def credentials(folder: Path, of: Authority, host: str, *, kind=IdentityKind.DISKS) -> Path:
    """A directory of certificates as QEMU wants them."""
    request = ca.new_request(host)
    signed = of.sign(request.request, host, kind, 24)
    name = Entropy.system().letters(8)
    return keep(folder / f"{host}-{kind}", request.key, signed, of.pem, name)


class Client:
    """One connection, kept open for as long as the server lets it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._prompted = False

    def says(self, command: str) -> str:
        """What becomes of a command of qemu-io; all that it said if it was not even let in."""
        assert self._process.stdin
        told = self._heard()
        if not told.endswith(_PROMPT):
            return told
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        self._prompted = False
        told = self._heard()
        return told.removesuffix(_PROMPT).strip()

    def _heard(self) -> str:
        """What it says until it wants to be told something, or has ended."""
        assert self._process.stdout
        if self._prompted:
            return _PROMPT
        heard = b""
        while not heard.endswith(_PROMPT.encode()):
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            assert ready, f"no answer: {heard!r}"
            part = os.read(self._process.stdout.fileno(), 65536)
            if not part:
                return heard.decode(errors="replace")
            heard += part
        self._prompted = True
        return heard.decode(errors="replace")

    def writes(self, at: int, pattern: int, length: int = 4096) -> bool:
        """Whether the server says that it has these bytes."""
        return f"wrote {length}/{length}" in self.says(f"write -P {pattern} {at} {length}")

    def reads(self, at: int, pattern: int, length: int = 4096) -> bool:
        """Whether the bytes are these."""
        said = self.says(f"read -P {pattern} {at} {length}")
        return f"read {length}/{length}" in said and "failed" not in said


@contextmanager
def client(
    at: ExportAt,
    credentials: Path | None,
    storage: HostId,
    *,
    read_only: bool = False,
    netns: str | None = None,
) -> Iterator[Client]:
    """Connected, or `AssertionError` with what was said."""
    options = {
        "driver": "nbd",
        "server": {"type": "inet", "host": at.address, "port": str(at.port)},
        "export": at.name,
        "discard": "unmap",
    }
    words = ["qemu-io", "-t", "writeback", *(("-r",) if read_only else ())]
    if credentials:
        options |= {"tls-creds": "tls", "tls-hostname": storage}
        found = {"qom-type": "tls-creds-x509", "id": "tls", "endpoint": "client"}
        words += ["--object", _json({**found, "dir": str(credentials)})]
    words.append(f"json:{_json(options)}")
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


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def may_connect(at: ExportAt, credentials: Path, storage: HostId, **but) -> str:
    """Empty if one is let in to read; else why not."""
    with client(at, credentials, storage, **but) as one:
        said = one.says("read 0 512")
    return "" if "read 512/512" in said else said
