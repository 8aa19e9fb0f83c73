"""A BMC that others wrote: the emulator of `sushy-tools`, a process of its own, over HTTPS and with a password."""

import hashlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from arable.runtime.ca import Authority, IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy

CLOCK = RealClock()
USER, PASSWORD = "operator", "a-secret-of-the-bmc"


@dataclass(frozen=True)
class Emulator:
    """Where it is, and whom to believe."""

    url: str
    authority: str
    fingerprint: str

    def system(self, name: str) -> str:
        return f"{self.url}/redfish/v1/Systems/{name}"


@contextmanager
def emulator(directory: Path, systems: list[tuple[str, str]]) -> Iterator[Emulator]:
    """With systems of these ids and power states ("On", "Off"), until the end of the block."""
    authority = Authority.open(directory / "authority", CLOCK, Entropy("bmc"))
    made = new_request("bmc")
    signed = authority.sign(made.request, "bmc", IdentityKind.SERVER, 24, ["127.0.0.1"])
    (directory / "cert.pem").write_text(signed)
    (directory / "key.pem").write_text(made.key.reveal())
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (directory / "users").write_text(f"{USER}:{hashed}\n")
    known = [{"uuid": id_, "name": id_, "power_state": power, "external_notifier": False, "nics": []}
             for id_, power in systems]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "state").mkdir()
    config = {
        "SUSHY_EMULATOR_FAKE_DRIVER": True,
        "SUSHY_EMULATOR_FAKE_SYSTEMS": known,
        "SUSHY_EMULATOR_AUTH_FILE": str(directory / "users"),
        "SUSHY_EMULATOR_STATE_DIR": str(directory / "state"),
        "SUSHY_EMULATOR_LISTEN_IP": "127.0.0.1",
        "SUSHY_EMULATOR_LISTEN_PORT": port,
        "SUSHY_EMULATOR_SSL_CERT": str(directory / "cert.pem"),
        "SUSHY_EMULATOR_SSL_KEY": str(directory / "key.pem"),
    }
    (directory / "config.py").write_text("".join(f"{k} = {v!r}\n" for k, v in config.items()))
    log = (directory / "log").open("wb")
    argv = [sys.executable, "-c", "from sushy_tools.emulator.main import main; main()", "--fake",
            "--config", str(directory / "config.py")]  # fmt: skip
    process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        _wait(process, port, directory / "log")
        der = ssl.PEM_cert_to_DER_cert(signed)
        yield Emulator(f"https://127.0.0.1:{port}", authority.pem, hashlib.sha256(der).hexdigest())
    finally:
        process.kill()
        process.wait()
        log.close()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = CLOCK.monotonic() + 60
    while CLOCK.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            os.sched_yield()
        else:
            return
    raise AssertionError(f"no emulator came up: {log.read_text()}")
