"""To which server an agent goes next, and when: many of them come back at once, and none of them knows of the others.

Every pause is a throw of dice between nothing and its longest (*full jitter*), so a thousand agents that lost the same
server in the same instant arrive as a stream, and each begins at a server of its own. How long the longest is, is said
by the server while all is well (it knows how many agents there are), doubles with each attempt that fails, and is what
a server says that has no time: not before so many seconds, and spread over as many again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from arable.runtime.entropy import Entropy

FIRST_SECONDS, LONGEST_SECONDS = 2.0, 60.0
MOST_ASKED_SECONDS = 600.0  # whatever a server says
UNREACHABLE_SECONDS = (
    60.0  # for so long a server that could not be reached is not gone to again when asked
)


@dataclass(frozen=True, slots=True)
class Pauses:
    """The longest pause after a connection that was welcomed, and after many that were not."""

    first: float = FIRST_SECONDS
    longest: float = LONGEST_SECONDS


class Returning:
    """One agent's. `servers` are those of its configuration; others it learns of are a last resort."""

    def __init__(
        self, servers: Sequence[str], entropy: Entropy, pauses: Pauses | None = None
    ) -> None:
        self._servers = list(servers)
        self._chance = entropy.random
        self._pauses = pauses or Pauses()
        self._turn = self._chance.randrange(len(self._servers))
        self._since_other = 0  # attempts at the configuration's own
        self._others: list[str] = []
        self._longest = self._pauses.first
        self._asked = 0.0
        self._unreachable: dict[str, float] = {}

    def server(self) -> str:
        """Whom to try now: those of the configuration in turn; after each of them, one of the others."""
        if self._others and self._since_other >= len(self._servers):
            self._since_other = 0
            return self._chance.choice(self._others)
        self._since_other += 1
        self._turn += 1
        return self._servers[self._turn % len(self._servers)]

    def welcomed(self, others: Sequence[str] = (), spread: float = 0.0) -> None:
        """A server is glad of us, knows of these others, and says how widely to come back if it is lost."""
        self._others = [each for each in others if each not in self._servers]
        self._longest = min(max(self._pauses.first, spread), self._pauses.longest)
        self._asked = 0.0
        self._since_other = 0
        if (
            len(self._servers) > 1
        ):  # should this one die, its agents are to go to all others, not to the next in line
            self._turn += self._chance.randrange(len(self._servers) - 1)

    def asked(self, seconds: float) -> None:
        """A server has no time for us before that."""
        self._asked = min(max(seconds, self._asked), MOST_ASKED_SECONDS)

    def unwanted(self) -> None:
        """We are not who we say, or were removed: coming back soon is of no use."""
        self._longest = self._pauses.longest

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        if self._asked:
            wait, self._asked = self._asked * (1.0 + self._chance.random()), 0.0
            return wait
        wait = self._longest * self._chance.random()
        self._longest = min(self._longest * 2.0, self._pauses.longest)
        return wait

    def unreachable(self, server: str, now: float) -> None:
        """We were asked to go there and could not."""
        self._unreachable[server] = now + UNREACHABLE_SECONDS

    def reachable(self, server: str, now: float) -> bool:
        """Whether it makes sense to try to go there."""
        self._unreachable = {each: at for each, at in self._unreachable.items() if now < at}
        return server not in self._unreachable
