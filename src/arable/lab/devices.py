"""The builder's side of an emulated device: switch it on, and talk to its first process (`device_init.py`)."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arable.domain.errors import Unavailable
from arable.drivers.namespaces import RUN, inside
from arable.lab import device_init
from arable.lab.living import MARK, Process, process

PATIENCE = 60.0  # seconds; the machine below may be three times slower than usual, and busy
_SPACES = ("--net", "--mount", "--uts", "--ipc", "--pid")


@dataclass(frozen=True, slots=True)
class Service:
    """A program that runs on a device until it ends or is stopped."""

    name: str
    argv: Sequence[str]
    log: Path


def environment(lab: str, **more: str) -> dict[str, str]:
    """What a lab's programs get: where tools are, and whose they are. Nothing else of the caller's gets in."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **kept, MARK: lab, **more}


def launch(lab: str, name: str, namespace: str, disks: Mapping[Path, str], log: Path) -> Process:
    """Power on: the device's first process, ready to be asked. `disks` are bound over directories that exist."""
    binds = [f"{source}:{target}" for source, target in disks.items()]
    init = [sys.executable, "-I", "-S", device_init.__file__]
    argv = [*init, str(RUN / namespace), name, f"{lab}/{name}", *binds]
    with log.open("ab") as said:
        done = subprocess.run(
            argv,
            env=environment(lab),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            check=False,
        )
    found = process(int(done.stdout)) if done.returncode == 0 else None
    if found is None:
        raise Unavailable(f"{name} did not start; {log} says why")
    return found


def start(lab: str, namespace: str, service: Service) -> None:
    """The service runs; already running is fine."""
    _ask(
        namespace,
        do="start",
        name=service.name,
        argv=list(service.argv),
        env=environment(lab),
        log=str(service.log),
    )


def stop(namespace: str, service: str, number: int = signal.SIGKILL) -> None:
    """The service does not run any more when this returns."""
    _ask(namespace, do="stop", name=service, number=int(number))


def wait(namespace: str, service: str) -> int | None:
    """How the service ended, when it has; None if it never ran."""
    ended: int | None = _ask(namespace, do="wait", name=service)["ended"]
    return ended


def running(namespace: str) -> dict[str, int]:
    """The services that run, with the process ids they have on the device."""
    return dict(_ask(namespace, do="status")["running"])


def ended(namespace: str) -> dict[str, int]:
    """The services that have ended, with their exit codes (a signal's number is negative)."""
    return dict(_ask(namespace, do="status")["ended"])


def watch(namespace: str) -> socket.socket:
    """A socket that becomes readable when a service ends (`device_init.Device.do_watch`), or the power goes."""
    return inside(namespace, lambda: _question(do="watch"))


def command(init: Process, argv: Sequence[str]) -> list[str]:
    """The argument list that runs a program on the device, seen as a process of the device."""
    return ["nsenter", "--target", str(init.pid), *_SPACES, "--", *argv]


def run(lab: str, init: Process, argv: Sequence[str], *, text: str = "") -> str:
    """What the program says when run on the device; raises `Unavailable` with its complaint when it fails."""
    try:
        done = subprocess.run(
            command(init, argv),
            env=environment(lab),
            input=text,
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{error.filename} is not installed here") from error
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip()
        raise Unavailable(f"{argv[0]} failed: {told}", detail=" ".join(argv))
    return done.stdout


def _ask(namespace: str, **question: Any) -> dict[str, Any]:
    def go() -> dict[str, Any]:
        with _question(**question) as line:
            try:
                told = line.recv(device_init.PACKET)
            except TimeoutError:
                raise Unavailable(f"{namespace} does not answer") from None
        answer: dict[str, Any] = json.loads(told) if told else {"error": "the power went"}
        if "error" in answer:
            raise Unavailable(f"{namespace}: {answer['error']}")
        return answer

    return inside(namespace, go)


def _question(**question: Any) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.settimeout(PATIENCE)
    try:
        line.connect(device_init.SOCKET)
        line.send(json.dumps(question).encode())
    except OSError as error:
        line.close()
        raise Unavailable(f"the device is off: {error.strerror}") from error
    return line
