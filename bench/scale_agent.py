"""What a host's agent costs: a real one, on simulated drivers, with ten machines and nothing to do."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from arable.agent.config import (
    AgentConfig,
    Given,
    SimAppliancesChoice,
    SimHypervisorChoice,
    SimNetworkChoice,
    SimStorageChoice,
    written,
)
from arable.client.arable import Arable
from arable.processes import fleet
from arable.wire.hosts import JoinTokenIn
from arable.wire.machines import DeployIn
from bench import cloud
from bench.cloud import OFFERING, Served
from bench.usage import cpu_exactly, memory

MACHINES = 10


def cost(seconds: float) -> tuple[float, float]:
    """Per cent of a core, and megabytes of its own."""
    with tempfile.TemporaryDirectory(prefix="arable-bench-") as folder:
        data = Path(folder)
        with cloud.server(data / "server") as served, cloud.operator(served) as operator:
            cloud.describe(operator, data)
            home = data / "host"
            _configure(home, served, operator)
            log = (data / "agent.log").open("wb")
            argv = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", fleet.__name__]
            with log, subprocess.Popen([*argv, str(data)], stdout=log, stderr=log) as agent:
                try:
                    until(
                        lambda: any(each.state == "up" for each in operator.hosts.all()),
                        "the agent did not come up",
                    )
                    done = operator.machines.deploy(
                        DeployIn(name="m", count=MACHINES, offering=OFFERING, image="tiny")
                    )
                    operator.operations.wait(done.operation)
                    time.sleep(min(seconds / 5, 5.0))
                    began, cpu = time.monotonic(), cpu_exactly(agent.pid)
                    time.sleep(seconds)
                    share = 100 * (cpu_exactly(agent.pid) - cpu) / (time.monotonic() - began)
                    return share, memory(agent.pid).pss
                finally:
                    agent.kill()


def until(condition: Callable[[], bool], told: str, seconds: float = 60.0) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(told)
        time.sleep(0.05)


def _configure(home: Path, served: Served, operator: Arable) -> None:
    home.mkdir(mode=0o700)
    token = operator.join_tokens.create(
        JoinTokenIn(pod="pod-0", roles=("compute", "routing"))
    ).token
    (home / "token").write_text(token or "")
    config = AgentConfig(
        directory=home,
        servers=[served.ready.gateway],
        name="host",
        join_token=home / "token",
        roles=["compute", "routing"],
        hypervisor=SimHypervisorChoice(),
        network=SimNetworkChoice(),
        storage=SimStorageChoice(),
        appliances=SimAppliancesChoice(),
        inventory=Given(cpus=16, cpu_mhz=32_000, memory_mib=65_536, disk_mib=1 << 20),
    )
    (home / fleet.CONFIG).write_bytes(written(config))
