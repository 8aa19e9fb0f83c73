"""A real agent with a real channel, over simulated hardware, in the test's own process."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace

from agent import make_agent as make
from arable.agent.agent import Agent
from arable.agent.channel import Channel, Timing
from arable.domain.ids import HostId
from arable.drivers.hypervisor.protocol import Hypervisor
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy

QUICK = Timing(first_pause=0.05, longest_pause=0.3, after_a_bug=0.05)


@asynccontextmanager
async def living(
    host: HostId,
    port: int,
    tls: Callable[[], ssl.SSLContext],
    *,
    hardware: make.Rig | None = None,
    hypervisor: Hypervisor | None = None,
) -> AsyncIterator[Channel]:
    """It lives until the end of the block; the hardware and its ledger outlive it."""
    hardware = hardware or make.Rig()
    drivers = hardware.drivers
    if hypervisor is not None:
        drivers = replace(drivers, hypervisor=hypervisor)
    with ThreadPoolExecutor(1) as worker:
        agent = Agent(
            host,
            hardware.ledger,
            drivers,
            RealClock(),
            hardware.depot.fetch,
            inventory=lambda: make.INVENTORY,
        )
        channel = Channel(
            agent,
            [f"127.0.0.1:{port}"],
            tls,
            RealClock(),
            Entropy.system(),
            worker=worker,
            timing=QUICK,
        )
        task = asyncio.create_task(channel.run())
        try:
            yield channel
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
