"""Talks to a guest's shell on its serial console, as an operator with `arable machine console` does."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arable.runtime.clock import RealClock
from drivers import make_drivers as make

_PATIENCE = 120.0


class Shell:
    """A shell prompt at the other end of a unix socket."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._heard = b""

    def run(self, command: str, seconds: float = _PATIENCE) -> str:
        """What the command says. Fails when the guest doesn't answer in time."""
        # The echo of what we type must not look like the answer, so the markers are put together in the guest.
        mark = make.fresh("nic")[-8:]
        self._line.sendall(f"\necho be''gin-{mark}; {command}; echo en''d-{mark}-$?\n".encode())
        answer = rf"begin-{mark}\r?\n(.*?)end-{mark}-(\d+)"
        found = self._until(answer.encode(), seconds)
        assert found.group(2) == b"0", f"{command!r} failed in the guest: {found.group(1)!r}"
        return found.group(1).decode(errors="replace").replace("\r", "")

    def last_words(self, command: str) -> None:
        """Have the guest do something that it can't tell us the end of."""
        self.run("true")  # a shell that is just starting throws away what was typed too early
        self._line.sendall(f"{command}\n".encode())

    def _until(self, pattern: bytes, seconds: float) -> "re.Match[bytes]":
        clock = RealClock()
        end = clock.monotonic() + seconds
        while True:
            found = re.search(pattern, self._heard, re.DOTALL)
            if found:
                self._heard = self._heard[found.end() :]
                return found
            left = end - clock.monotonic()
            assert left > 0, f"no {pattern!r} in {self._heard[-400:]!r}"
            self._line.settimeout(left)
            try:
                heard = self._line.recv(65536)
            except TimeoutError:
                continue
            assert heard, f"the console closed after {self._heard[-400:]!r}"
            self._heard += heard


@contextmanager
def shell(console: Path) -> Iterator[Shell]:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(console))
        yield Shell(line)


def wait_for_line(log: Path, line: str, seconds: float = 180) -> str:
    """Everything the guest said, once it has said that."""
    make.wait_until(lambda: line in _text(log), f"{line!r} on the console", seconds)
    return _text(log)


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""
