"""A cloud is backed up, goes on, loses its server and comes back elsewhere from the backup: its machines don't notice."""

import subprocess
import sys
from pathlib import Path

import pytest

from arable.domain.ids import MachineId
from arable.processes import children, up
from arable.runtime.clock import RealClock
from arable.wire.machines import DeployIn
from e2e.patience import settled
from e2e.simulated_hosts import _SERVER, SimulatedCloud, simulated_cloud

HERE = Path(__file__).parent
ARABLE = [sys.executable, "-m", "arable.processes.main"]


def arable(*words: str) -> str:
    done = subprocess.run([*ARABLE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def deploy(cloud: SimulatedCloud, name: str, count: int) -> set[str]:
    ask = DeployIn(name=name, count=count, offering="tiny", image="tiny", zone="zone1")
    asked = cloud.operator.machines.deploy(ask)
    cloud.operator.operations.wait(asked.operation, seconds=120)
    return {m.id for m in cloud.operator.machines.all() if m.name.startswith(name)}


def start_elsewhere(cloud: SimulatedCloud, data: Path) -> None:
    """Another server, at the addresses that agents and callers know, over another directory."""
    argv = list(cloud._argv)
    argv[argv.index("--data") + 1] = str(data)
    log = data / "server.log"
    server = cloud.stack.enter_context(children.child(argv, log))
    cloud.made.children[_SERVER] = server
    children.await_ready(data, server.pid, lambda: server.poll() is None, log, RealClock())


def test_machines_run_through_a_restore_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topology = HERE / "two-pods.yaml"
    with simulated_cloud(tmp_path / "cloud", topology, monkeypatch) as cloud:
        home = up.server_data(cloud.made.wanted, cloud.made.wanted.topology.regions[0])
        known = deploy(cloud, "known", 4)
        file, there = tmp_path / "cloud.backup", tmp_path / "elsewhere"
        assert "4 machines" in arable("backup", str(file), "--data", str(home), "--images")
        strangers = deploy(cloud, "later", 2)
        stopped = min(known)
        asked = cloud.operator.machines.stop(stopped)
        cloud.operator.operations.wait(asked.id, seconds=120)
        running = (known | strangers) - {stopped}
        settled(lambda: set(cloud.guests()), running)
        starts = {m: n for m, n in cloud.starts().items() if m in running}

        cloud.kill_server()
        said = arable("restore", str(file), "--data", str(there))
        assert f"arable server --data {there}" in said
        assert "copy" not in said, "the image files came along"
        start_elsewhere(cloud, there)

        def stands() -> dict[str, str]:
            return {m.id: m.state for m in cloud.operator.machines.all()}

        wanted = {m: "stopped" if m == stopped else "running" for m in known}
        settled(stands, wanted)

        def told() -> set[str]:
            every = [e.text for e in cloud.operator.events.all() if e.kind == "host.stranger"]
            return {m for m in strangers if any(m in text for text in every)}

        settled(told, strangers)
        new = deploy(cloud, "new", 1)
        settled(lambda: set(cloud.guests()), running | new)
        assert {m: cloud.starts()[m] for m in running} == starts, "nothing was started again"
        assert cloud.mishaps() == []
        assert MachineId(stopped) not in cloud.guests()
        cloud.operator.operations.wait(cloud.operator.machines.start(stopped).id, seconds=120)
        settled(lambda: set(cloud.guests()), running | new | {stopped})
