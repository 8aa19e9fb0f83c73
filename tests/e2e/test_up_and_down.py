"""`arable up` with a machine in it: Ctrl-C leaves nothing behind, and what a killed one left, `arable lab down` removes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arable.client.arable import Arable
from arable.drivers import namespaces
from arable.lab import build, living
from arable.lab.device_init import GROUPS
from arable.lab.record import Place
from arable.runtime.clock import RealClock
from arable.wire.machines import DeployIn
from e2e.lab_cloud import free_address
from e2e.patience import until

pytestmark = pytest.mark.real

ARABLE = [sys.executable, "-m", "arable.processes.main"]
ONE_HOST = Path(__file__).parent / "one-host.yaml"
PATIENCE = 300


@contextmanager
def up(data: Path) -> Iterator["tuple[subprocess.Popen[str], Arable]"]:
    """`arable up` says that the cloud is; and an operator's client."""
    api = free_address()
    words = [*ARABLE, "up", "--data", str(data), "--lab", str(ONE_HOST), "--api", api]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("Ctrl-C"):
                    break
            assert "The cloud is up.\n" in said
            with Arable(f"http://{api}", (data / "home" / "setup.key").read_text()) as operator:
                yield process, operator
        finally:
            process.kill()
            process.wait()
            if Place(data).file.exists():
                build.down(data, RealClock())


def doors(data: Path) -> set[int]:
    """What tells the namespaces of a lab from others, also when they have no name any more."""
    return {namespaces.inode(name) for name in namespaces.names(Place(data).id)}


def left_of(data: Path, were: set[int]) -> list[str]:
    """Everything of a cloud that can be found on this machine outside of its directory."""
    lab = Place(data).id
    found = [f"namespace {name}" for name in namespaces.names(lab)]
    found += [f"process {one}" for one in (*living.marked(lab), *living.within(were))]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        pid = int(path.parent.name)
        said = command(pid)
        if pid != os.getpid() and (lab.encode() in said or bytes(data) in said):
            found.append(f"process {pid}: {said!r}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if lab in line or str(data) in line]
    found += [f"control group {path}" for path in GROUPS.glob(f"*/{lab}")]
    found += [f"link {one}" for one in links() if one in ("br-int", "up0", "mgmt0")]
    return found


def links() -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


def test_nothing_is_left_of_a_cloud_with_a_machine(tmp_path: Path) -> None:
    before = links()
    with up(tmp_path) as (process, operator):
        ask = DeployIn(name="web", image="tiny", offering="tiny")
        operator.operations.wait(operator.machines.deploy(ask).operation, seconds=PATIENCE)
        assert len(emulators(tmp_path)) == 1
        were = doors(tmp_path)
        assert len(left_of(tmp_path, were)) > 10, "the look finds what is there"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert left_of(tmp_path, were) == []
    with up(tmp_path) as (process, operator):
        (machine,) = operator.machines.all()
        until(lambda: emulators(tmp_path), "the machine runs again with its cloud")
        until(lambda: operator.machines.get(machine.id).state == "running", "its owner sees it")
        were = doors(tmp_path)
        process.kill()
        process.wait()
        assert left_of(tmp_path, were), "whoever was killed tidied nothing up"
        done = subprocess.run(
            [*ARABLE, "lab", "down", "--data", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert left_of(tmp_path, were) == []
    assert links() == before


def emulators(data: Path) -> list[int]:
    """The machines that run in that cloud; libvirt starts them without our mark."""
    return [one.pid for one in living.within(doors(data)) if b"qemu-system" in command(one.pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # ended meanwhile
        return b""
