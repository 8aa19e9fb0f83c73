"""Management servers as systemd units, one on each machine or several from a template.

`%i` in the unit's name becomes the server's name. A server on another machine is reached by `systemctl --host`, which
goes over ssh with the keys and the configuration of the user who runs us; an address of this machine needs none.

One server more is the first instance of the template on this machine that does not run: `server-1`, `server-2` and so
on. What an instance needs (its ports, above all) is for an operator to lay down, so systemd itself refuses to start one
that was not set up (`examples/systemd/arable-server@.service`).
"""

import ipaddress
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from arable.domain.errors import BadInput, Unavailable
from arable.domain.ids import SegmentId
from arable.domain.platform import Place

_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@%-]{0,200}\.service")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
_WITHIN = 60.0
_INSTANCES = 64


@dataclass(frozen=True, slots=True)
class SystemdPlatform:
    """`systemctl` is the program to call; `unit` as the operator named it."""

    unit: str
    systemctl: str = "systemctl"
    name: str = "systemd"

    def __post_init__(self) -> None:
        if not _UNIT.fullmatch(self.unit):
            raise BadInput(f"{self.unit!r} is not the name of a service", field="platform")

    def restart(self, place: Place) -> None:
        # What clings to life after a stop that should have ended it is killed, and then started.
        self._call(place, "kill", "--signal=SIGKILL")
        self._call(place, "reset-failed")
        self._call(place, "restart")

    def start(self) -> None:
        if "%i" not in self.unit:
            raise Unavailable(
                f"another management server is needed, and {self.unit} is no template:"
                " set up one more machine, or name a template (--platform systemd:arable-server@%i.service)"
            )
        for number in range(1, _INSTANCES + 1):
            place = Place(SegmentId(f"server-{number}"))
            if self._run(place, "is-active", "--quiet").returncode:
                break
        else:
            raise Unavailable(f"{_INSTANCES} management servers run on this machine already")
        self._call(place, "reset-failed")
        try:
            self._call(place, "start")
        except Unavailable as error:
            told = f"{error.public}; set up that instance, or one more machine"
            raise Unavailable(told, detail=error.detail) from error

    def stop(self, place: Place) -> None:
        self._call(place, "stop")

    def _call(self, place: Place, *verb: str) -> None:
        done = self._run(place, *verb)
        if done.returncode and verb[0] not in ("kill", "reset-failed"):
            told = done.stderr.decode(errors="replace").strip()
            raise Unavailable(f"systemd could not {verb[0]} {place.segment}: {told[:200]}")

    def _run(self, place: Place, *verb: str) -> "subprocess.CompletedProcess[bytes]":
        argv = [self.systemctl, *_where(place.address), *verb, "--"]
        argv.append(self.unit.replace("%i", place.segment))
        try:
            return subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_WITHIN, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{self.systemctl} does not work", detail=str(error)) from error


def _where(address: str) -> Sequence[str]:
    host = address.rpartition(":")[0].strip("[]")
    try:
        local = not host or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local:
        return ()
    if not _HOST.fullmatch(host):
        raise Unavailable(f"{host!r} is not a host's name")
    return ("--host", host)
