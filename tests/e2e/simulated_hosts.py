"""A cloud whose hosts are simulated in this very process, so that a test can look at what they really have.

`arable up --lab sim` keeps the agents in a process of their own; here they are taken out of it and run on a thread,
with the same configuration, identity and ledger, over hardware that the test holds. The server is a child like there.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from arable.agent.config import AgentConfig
from arable.client.arable import Arable
from arable.drivers.network.protocol import PortKind
from arable.drivers.simhost import SimHost
from arable.processes import agent, children, fleet, up
from arable.processes.together import Together
from arable.processes.up import Cloud, Wanted
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy

_CLOCK = RealClock()


@dataclass
class SimulatedCloud:
    """It is up. `hardware` is by host name."""

    made: Cloud
    operator: Arable
    hardware: dict[str, SimHost]
    stack: ExitStack
    killed: int = 0
    _argv: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.made.url

    def kill_server(self) -> None:
        """Between two instructions."""
        server = self.made.children[_SERVER]
        self._argv = self._argv or _again(server.pid, self.made)
        server.kill()
        server.wait()
        self.killed += 1

    def start_server(self) -> None:
        """Where it was, with the data it had."""
        data = up.server_data(self.made.wanted, self.made.wanted.topology.regions[0])
        log = data / "server.log"
        server = self.stack.enter_context(children.child(self._argv, log))
        self.made.children[_SERVER] = server
        children.await_ready(data, server.pid, lambda: server.poll() is None, log, _CLOCK)

    def guests(self) -> Counter[str]:
        """What runs, wherever."""
        return Counter(
            str(m) for host in self.hardware.values() for m, one in host.guests.items() if one.runs
        )

    def starts(self) -> Counter[str]:
        """How often each guest was started in all."""
        return Counter(
            {
                str(machine): one.starts
                for host in self.hardware.values()
                for machine, one in host.guests.items()
            }
        )

    def taps(self) -> Counter[tuple[str, int]]:
        """Guests' ports with their VLANs."""
        return Counter(
            (str(nic), port.vlan)
            for host in self.hardware.values()
            for nic, port in host.ports.items()
            if port.kind is PortKind.TAP
        )

    def volumes(self) -> Counter[str]:
        return Counter(
            str(volume)
            for host in self.hardware.values()
            for pool in host.pools.values()
            for volume in pool.volumes
        )

    def mishaps(self) -> list[str]:
        """What must never be done to a host."""
        return [told for host in self.hardware.values() for told in host.mishaps]


_SERVER = "the management server of home"
_AGENTS = "the agents of home"


@contextmanager
def simulated_cloud(
    data: Path, topology: Path, patch: pytest.MonkeyPatch
) -> Iterator[SimulatedCloud]:
    """A cloud of simulated hosts as `arable up` makes it, with its agents in here."""
    hardware: dict[str, SimHost] = {}
    build = agent.simulated

    def kept(config: AgentConfig, clock: Clock) -> SimHost:
        return hardware.setdefault(config.name, build(config, clock))

    patch.setattr(agent, "simulated", kept)
    wanted = Wanted(data=data, topology=up.topology_of(topology), simulated=True, api="127.0.0.1:0")
    with ExitStack() as stack:
        made = stack.enter_context(up.cloud(wanted, _CLOCK, lambda _line: None))
        fleet_of_up = made.children[_AGENTS]
        fleet_of_up.terminate()
        fleet_of_up.wait()
        operator = stack.enter_context(made.operator())
        configs = fleet.hosts(up.server_data(wanted, wanted.topology.regions[0]) / "hosts")
        stack.enter_context(_agents(configs))
        yield SimulatedCloud(made, operator, hardware, stack)


@contextmanager
def _agents(configs: list[AgentConfig]) -> Iterator[None]:
    """They work on a thread until the end of the block."""
    loop = asyncio.new_event_loop()
    together = Together()
    works = [partial(agent.work, config, _CLOCK, Entropy.system(), together) for config in configs]

    async def live() -> None:
        await asyncio.gather(*(work() for work in works))

    task = loop.create_task(live())

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_until_complete(asyncio.wait([task]))

    thread = threading.Thread(target=run, name="agents")
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(60)
        assert task.cancelled(), task


def _again(pid: int, made: Cloud) -> list[str]:
    """The command that started the server, but with the ports that it chose: there it is looked for."""
    ready = made.ready["home"]
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    words[words.index("--api") + 1] = ready.api.removeprefix("http://")
    words[words.index("--gateway") + 1] = ready.gateway
    return words
