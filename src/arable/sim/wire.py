"""The wire between a simulated host and its management server: every message is really encoded and parsed.

It keeps order, as TCP does. It may be slow, it may be cut (what was under way is lost, both ends start anew), and a
server that resends after a cut makes doubled messages by itself. Each connection has a number, by which a server that
stood still finds out that one has ended.
"""

from collections import deque
from dataclasses import dataclass, field

from arable.wire.agent import (
    Change,
    Elsewhere,
    Hello,
    Report,
    ToAgent,
    Welcome,
    encode,
    from_agent,
    from_server,
)


@dataclass(slots=True)
class Wire:
    """Two queues of frames. `cut` wires lose what is on them and take nothing."""

    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    cut: bool = False
    open: bool = False  # the agent has said hello on it
    have: int = 0  # what the server has sent of the manifest on this connection
    known: bool = False  # the server has heard the hello
    owed: bool = False  # a change, even when there is nothing new
    server: str = ""  # whose connection it is
    number: int = 0  # of the connection

    def say(self, message: Hello | Report) -> None:
        """From the agent."""
        if not self.cut:
            self.up.append(encode(message))

    def tell(self, message: Welcome | Change | Elsewhere) -> None:
        """From the server."""
        if not self.cut:
            self.down.append(encode(message))

    def heard(self) -> Hello | Report | None:
        """The next word that reached the server."""
        return from_agent(self.up.popleft()) if self.up else None

    def told(self) -> ToAgent | None:
        """The next word that reached the agent."""
        return from_server(self.down.popleft()) if self.down else None

    def drop(self) -> None:
        """The connection is gone, with all that was on it."""
        self.up.clear()
        self.down.clear()
        self.open = self.known = self.owed = False
        self.have = 0
        self.server, self.number = "", self.number + 1
