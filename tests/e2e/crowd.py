"""A crowd outside the cloud that asks for a page all the time and keeps what became of each request.

Half of it opens a connection for each request, the other half keeps one for as long as the server does: a server that
says that it closes has said so, one that closes without a word fails the request that was on its way.
"""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from arable.drivers import namespaces
from arable.runtime.clock import RealClock
from e2e.patience import until

_PATIENCE = 20.0  # seconds for an answer: guests are emulated
_PAUSE = timedelta(
    milliseconds=50
)  # between an asker's requests: the guests shall answer, and boot


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    kept: bool  # on a connection that others were answered on, or will be
    who: str = ""  # the first line of the page
    failure: str = ""


@dataclass
class Crowd:
    """It asks, as long as it is there."""

    netns: str
    address: str
    port: int
    answers: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def failures(self) -> list[Answer]:
        return [one for one in self.answers if one.failure]

    def hears(self, *names: str) -> None:
        """Return when all of them answer both kinds of askers from now on."""
        wanted, begun = {(name, kept) for name in names for kept in (True, False)}, len(self.answers)  # fmt: skip

        def heard() -> bool:
            return wanted <= {(one.who, one.kept) for one in self.answers[begun:]}

        until(heard, f"{', '.join(names)} answer")

    def since(self, mark: int) -> set[str]:
        """Who answered those requests."""
        return {one.who for one in self.answers[mark:]}

    def ask(self, *, kept: bool) -> None:
        clock = RealClock()
        talk = None
        while not self._over.is_set():
            try:
                talk = talk or self._connected()
                talk.request("GET", "/", headers={} if kept else {"Connection": "close"})
                said = talk.getresponse()
                text = said.read().decode()
                bad = f"{said.status} {text}" if said.status != 200 or not text else ""
                self.answers.append(Answer(kept, text.partition("\n")[0], bad))
                over = not kept or said.will_close
            except (OSError, http.client.HTTPException) as error:
                self.answers.append(Answer(kept, failure=repr(error)))
                over = True
            if over and talk:
                talk.close()
                talk = None
            clock.wait(_PAUSE)
        if talk:
            talk.close()

    def _connected(self) -> http.client.HTTPConnection:
        def act() -> socket.socket:
            return socket.create_connection((self.address, self.port), timeout=_PATIENCE)

        talk = http.client.HTTPConnection(self.address, self.port)
        talk.sock = namespaces.inside(self.netns, act)
        return talk


@contextmanager
def crowd(netns: str, address: str, port: int) -> Iterator[Crowd]:
    """Two askers, until the end."""
    made = Crowd(netns, address, port)
    askers = [
        threading.Thread(target=made.ask, kwargs={"kept": kept}, daemon=True)
        for kept in (True, False)
    ]
    for each in askers:
        each.start()
    try:
        yield made
    finally:
        made._over.set()
        for each in askers:
            each.join(_PATIENCE * 2)
