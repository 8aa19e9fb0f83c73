"""Asks this host's peers whether they are there, each every few seconds, and notes who answers (`witness.py`).

A peer whose machine says that nothing listens there is there as well: its kernel spoke, so what runs on it probably
runs, and only its agent is missing. No answer, and an answer by somebody else, are none.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress

from arable.agent.peer_port import ANSWER, QUESTION
from arable.agent.witness import EVERY_SECONDS, Witness
from arable.domain.manifest import PeerWish
from arable.runtime.entropy import Entropy

log = logging.getLogger(__name__)

WITHIN_SECONDS = 2.0
_AGAIN = 0.25
"""Of the usual time between questions, after one that was not answered."""


class PeerCalls:
    """Run it in a task. `context` gives this host's identity as it is now."""

    def __init__(
        self,
        witness: Witness,
        context: Callable[[], ssl.SSLContext],
        entropy: Entropy,
        every: float = EVERY_SECONDS,
        within: float = WITHIN_SECONDS,
    ) -> None:
        self._witness = witness
        self._context = context
        self._chance = entropy.random
        self._every = every
        self._within = within
        self._calling: dict[PeerWish, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._follow()
                await asyncio.sleep(self._every)
        finally:
            for task in self._calling.values():
                task.cancel()
            await asyncio.gather(*self._calling.values(), return_exceptions=True)

    def _follow(self) -> None:
        """A task for each that is to be asked."""
        wanted = set(self._witness.peers())
        for peer in self._calling.keys() - wanted:
            self._calling.pop(peer).cancel()
        for peer in wanted - self._calling.keys():
            self._calling[peer] = asyncio.create_task(self._call(peer))

    async def _call(self, peer: PeerWish) -> None:
        line = _Line(peer, self._context)
        try:
            while True:
                pause = self._every * self._chance.uniform(0.8, 1.2)
                if await line.ask(self._within):
                    self._witness.reached(peer.host)
                else:
                    self._witness.failed(peer.host)
                    pause *= _AGAIN
                await asyncio.sleep(pause)
        finally:
            line.close()


class _Line:
    """To one peer, kept open."""

    def __init__(self, peer: PeerWish, context: Callable[[], ssl.SSLContext]) -> None:
        self._peer = peer
        self._context = context
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, within: float) -> bool:
        """Whether it is there. A line that was kept open may have ended with a process that was replaced: try anew."""
        try:
            async with asyncio.timeout(within):
                return (self._open is not None and await self._once()) or await self._once()
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("%s at %s: %s", self._peer.host, self._peer.address, error)
            self.close()
            return False

    async def _once(self) -> bool:
        try:
            reader, writer = self._open or await self._call()
            writer.write(QUESTION)
            await writer.drain()
            if await reader.read(1) == ANSWER:
                return True
        except ConnectionRefusedError:
            raise
        except OSError as error:
            log.debug("%s at %s: %s", self._peer.host, self._peer.address, error)
        self.close()
        return False

    async def _call(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._peer.address.rpartition(":")
        # It is a host by its id, whatever its address is.
        self._open = await asyncio.open_connection(
            host.strip("[]"), int(port), ssl=self._context(), server_hostname=self._peer.host
        )
        return self._open

    def close(self) -> None:
        if self._open:
            with suppress(OSError, RuntimeError):
                self._open[1].close()
        self._open = None
