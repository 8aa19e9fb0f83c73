"""What `arable agent` puts together so that the hosts of a pod look after each other: a port, calls, and what is told."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address

from arable.agent import disk_identity
from arable.agent.carry_line import lent, point
from arable.agent.carrying import Lending
from arable.agent.config import AgentConfig, Leased
from arable.agent.join import Identity
from arable.agent.peer_calls import PeerCalls
from arable.agent.peer_port import PeerPort, own_address
from arable.agent.replicating import Marking
from arable.agent.witness import Witness
from arable.domain.manifest import Inventory
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_ADDRESS_SECONDS = 60  # looks between looks at the own address


@dataclass(slots=True)
class Peering:
    """One host's part in it. `address` is where it answers; empty: nowhere (yet)."""

    config: AgentConfig
    witness: Witness
    address: str = ""
    lending: Lending | None = None  # what other hosts may read here
    marking: Marking | None = None  # of what they may keep replicas

    @classmethod
    def of(cls, config: AgentConfig, clock: Clock) -> "Peering":
        """Of a host with that configuration."""
        shared = config.storage if isinstance(config.storage, Leased) else None
        return cls(config, Witness(clock, shared.lease_seconds if shared else 0.0))

    @property
    def wanted(self) -> bool:
        """Not where the management servers are on this machine: then so are the other hosts, and all is simulated."""
        return self.config.peer_port is not None and not all(map(_here, self.config.servers))

    def told(self, inventory: Callable[[], Inventory]) -> Callable[[], Inventory]:
        """The inventory, with the address at which others may ask."""
        return lambda: replace(inventory(), peer_address=self.address)

    async def run(
        self, identity: Callable[[], Identity], entropy: Entropy, nudge: Callable[[], None]
    ) -> None:
        """Answer, ask, and have it told when something changes, until cancelled."""
        calls = PeerCalls(self.witness, lambda: identity().context(), entropy)
        async with asyncio.TaskGroup() as group:
            group.create_task(calls.run())
            group.create_task(self._tell(nudge))
            group.create_task(self._answer(identity))

    async def _tell(self, nudge: Callable[[], None]) -> None:
        told = self.witness.view()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = self.witness.view()
            if now != told:
                told = now
                nudge()

    async def _answer(self, identity: Callable[[], Identity]) -> None:
        """As soon as there is a certificate to show and an address to show it at; a change of either is followed."""
        port: PeerPort | None = None
        shown, at = "", ""
        try:
            while True:
                newest = disk_identity.held(self.config.directory)
                address = await asyncio.to_thread(own_address, self.config.servers)
                if port and address and address != at:
                    await port.close()
                    port, self.address = None, ""
                if newest and address and port is None:
                    port = await self._opened(identity().authority, address)
                    at = address
                elif port and newest != shown:
                    port.certified_anew()
                shown = newest
                self.address = port.address if port else ""
                await asyncio.sleep(_ADDRESS_SECONDS if port else _LOOK_SECONDS)
        finally:
            if port:
                await port.close()

    async def _opened(self, authority: str, address: str) -> PeerPort | None:
        """None while that can't be: another process may be at the port still."""
        assert self.config.peer_port is not None, "asked before"
        credentials = disk_identity.directory(self.config.directory)
        if self.lending and self.marking:
            port = PeerPort(
                authority,
                credentials,
                partial(lent, self.lending),
                self.lending.speed,
                partial(point, self.marking),
                self.marking.speed,
            )
        else:
            port = PeerPort(authority, credentials)
        try:
            await port.open(address, self.config.peer_port)
        except OSError as error:
            log.warning("other hosts can't ask at %s:%d: %s", address, self.config.peer_port, error)
            await port.close()
            return None
        log.info("other hosts may ask at %s", port.address)
        return port


def _here(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
