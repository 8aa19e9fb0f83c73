"""Which of a server name's addresses to go to: asked anew each time, and all of them in turn.

Operators move a cloud to another site by changing a name, so nothing that was found is kept. A name may have many
addresses: where one is dead the next is tried at once, and where one refuses us the next attempt begins with another.
Each agent begins at one of its own, so that many of them are spread.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from arable.runtime.entropy import Entropy

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolved(host: str, port: int) -> list[str]:
    """The addresses of a name, as the operating system finds them; raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Addresses:
    """Takes turns."""

    def __init__(self, entropy: Entropy, resolve: Resolve = resolved) -> None:
        self._turn = entropy.random.randrange(1 << 16)
        self._resolve = resolve

    async def of(self, server: str) -> list[tuple[str, int]]:
        """Where to go now for HOST:PORT, in this order; raises `OSError` when nobody knows that name."""
        host, _, port = server.rpartition(":")
        found = sorted(await self._resolve(host.strip("[]"), int(port)))
        self._turn += 1
        first = self._turn % len(found)
        return [(address, int(port)) for address in (*found[first:], *found[:first])]
