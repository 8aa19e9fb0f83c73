"""A customer's terminal: a machine's serial console through the API, with a shell at its other end.

Everything that a test does inside a guest goes the way `arable machine console` goes: ticket, websocket, management
server, agent, QEMU. No other way leads into a guest that has no open port.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from arable.client.arable import Arable
from arable.client.errors import Refused
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from e2e.patience import until

_PATIENCE = 120.0


class Terminal:
    """A shell prompt. One command at a time."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._heard = b""

    def run(self, command: str, *, seconds: float = _PATIENCE, fails: bool = False) -> str:
        """What the command says. It must succeed, or, with `fails`, fail."""
        ended, said = self.outcome(command, seconds=seconds)
        assert (ended != 0) == fails, f"{command!r} ended with {ended}: {said!r}"
        return said

    def is_there(self) -> bool:
        """Whether somebody reads what we type: a shell that is just starting throws it away."""
        try:
            return self.outcome("true", seconds=5)[0] == 0
        except AssertionError:
            return False

    def outcome(self, command: str, *, seconds: float = _PATIENCE) -> tuple[int, str]:
        """How the command ends, and what it says."""
        # The echo of what we type must not look like the answer, so the markers are put together in the guest.
        mark = Entropy.system().secret(6)
        words = f"\necho be''gin-{mark}; ( {command} ) 2>&1; echo en''d-{mark}-$?\n"
        self._line.send(words.encode())
        found = self._until(rf"begin-{mark}\r?\n(.*?)end-{mark}-(\d+)".encode(), seconds)
        said = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", found.group(1)).replace(b"\r", b"")
        return int(found.group(2)), said.decode(errors="replace")

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
            try:
                heard = self._line.recv(timeout=left)
            except TimeoutError:
                continue
            self._heard += heard.encode() if isinstance(heard, str) else heard


@contextmanager
def terminal(customer: Arable, url: str, machine: str) -> Iterator[Terminal]:
    """A shell in the machine, as soon as there is one."""
    line, held = until(lambda: _attached(customer, url, machine), f"the console of {machine}")
    with held:
        at = Terminal(line)
        until(at.is_there, f"the shell of {machine}")
        yield at


def _attached(
    customer: Arable, url: str, machine: str
) -> tuple[ClientConnection, ExitStack] | None:
    """A connection on which the guest says something, and what closes it."""
    try:
        ticket = customer.machines.console(machine).ticket
    except Refused:
        return None
    assert ticket, "a fresh ticket is told"
    place = f"{url.replace('http', 'ws', 1)}/v1/console/{ticket}"
    with ExitStack() as stack:
        way = connect(place, proxy=None, compression=None, max_queue=None)
        line = stack.enter_context(way)
        try:
            line.send(b"\n")
            line.recv(timeout=30)
        except (ConnectionClosed, TimeoutError):
            return None
        return line, stack.pop_all()
