"""People outside who call a page of the lab all the time, as often a second as they are told to.

For the demonstration and benchmarks: what became of each call is kept, so that one that failed can't hide in a mean.
Each call is a connection of its own, made in the namespace that the visitors are in.
"""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Full, Queue

from arable.drivers.namespaces import inside
from arable.runtime.clock import Clock

PATIENCE = 20.0
"""Seconds for an answer: guests may be emulated."""


@dataclass(frozen=True, slots=True)
class Called:
    """What became of a call that ended `at` (of the clock that counts up). `who` is the first line of the page."""

    at: float
    seconds: float
    who: str = ""
    failure: str = ""


@dataclass
class Visitors:
    """They call for as long as they are there. `rate` may be set at any time."""

    netns: str
    address: str
    port: int
    path: str
    clock: Clock
    rate: float = 1.0
    calls: list[Called] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _turns: "Queue[bool]" = field(default_factory=lambda: Queue(maxsize=1))

    def failures(self) -> list[Called]:
        """Calls without a good answer."""
        return [each for each in self.calls if each.failure]

    def since(self, at: float) -> list[Called]:
        """Those that ended then or later."""
        calls = self.calls
        first = len(calls)
        while first and calls[first - 1].at >= at:
            first -= 1
        return calls[first:]

    def visit(self) -> None:
        """One of them: calls when it is somebody's turn, until there are no more turns."""
        while self._turns.get():
            began = self.clock.monotonic()
            who, failure = self._call()
            now = self.clock.monotonic()
            self.calls.append(Called(now, now - began, who, failure))

    def let_in(self) -> None:
        """One turn after the other, evenly, as `rate` says at the moment."""
        while not self._over.wait(1 / self.rate):
            self.give_turn()

    def give_turn(self) -> None:
        """To whoever is free. Where all wait for answers nothing is made up for later: that would be a crowd at the door."""
        with suppress(Full):
            self._turns.put_nowait(True)

    def leave(self, among: int) -> None:
        """Nobody calls any more; calls that are under way come to their ends."""
        self._over.set()
        for _ in range(among):
            self._turns.put(False)

    def _call(self) -> tuple[str, str]:
        """Who answered, or what went wrong."""

        def connected() -> socket.socket:
            return socket.create_connection((self.address, self.port), timeout=PATIENCE)

        talk = http.client.HTTPConnection(self.address, self.port)
        try:
            talk.sock = inside(self.netns, connected)
            talk.request("GET", self.path, headers={"Connection": "close"})
            said = talk.getresponse()
            text = said.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return "", repr(error)
        finally:
            talk.close()
        return text.partition("\n")[0], "" if said.status == 200 and text else f"{said.status}"


@contextmanager
def visitors(
    netns: str, at: tuple[str, int], path: str, rate: float, clock: Clock, count: int = 24
) -> Iterator[Visitors]:
    """So many of them at an address and port, who together call `rate` times a second."""
    made = Visitors(netns, *at, path, clock, rate)
    threads = [threading.Thread(target=made.visit, daemon=True) for _ in range(count)]
    door = threading.Thread(target=made.let_in, daemon=True)
    for each in (*threads, door):
        each.start()
    try:
        yield made
    finally:
        made.leave(count)
        for each in (*threads, door):
            each.join(PATIENCE * 2)
