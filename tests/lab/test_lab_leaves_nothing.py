"""A lab goes without a trace: after its end, after a failure half-way, and after its builder was killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from arable.domain.errors import Conflict, NotFound, Unavailable
from arable.drivers import namespaces
from arable.lab import build, living, topology
from arable.lab.record import Place
from arable.runtime.clock import RealClock

pytestmark = pytest.mark.real

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = EXAMPLES / "lab-small.yaml"
CLOCK = RealClock()
BUILDER = """
import signal, sys
from pathlib import Path
from arable.lab import build, topology
from arable.runtime.clock import RealClock
with build.lab(topology.load(Path(sys.argv[1])), Path(sys.argv[2]), RealClock()):
    print("up", flush=True)
    signal.pause()
"""


def traces(data: Path) -> list[str]:
    """Everything of a lab that can be found on this machine outside of its directory."""
    lab = Place(data).id
    found = [f"namespace {name}" for name in namespaces.names(lab)]
    found += [f"process {one}" for one in living.marked(lab)]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if lab.encode() in path.read_bytes():
                found.append(f"process of {path}")
        except OSError:
            continue
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if lab in line]
    found += [
        f"link {link.name}" for link in Path("/sys/class/net").iterdir() if link.name in LINKS
    ]
    return found


LINKS = {
    "up0",
    "mgmt0",
    "br-int",
    "br-pod",
    "br-zone",
    "server",
    "public",
    "a1",
    "a2",
    "ovs-netdev",
}


@contextmanager
def builder(data: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that builds a lab and stays."""
    argv = [sys.executable, "-c", BUILDER, str(SMALL), str(data)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if Place(data).file.exists():
                build.down(data, CLOCK)


def test_a_lab_that_ends_leaves_nothing(tmp_path: Path) -> None:
    with build.lab(topology.load(SMALL), tmp_path, CLOCK) as site:
        assert len(namespaces.names(site.place.id)) == 6
        assert len(traces(tmp_path)) > 12
    assert traces(tmp_path) == []
    with pytest.raises(NotFound):
        build.open_site(tmp_path, CLOCK)


def test_a_lab_whose_use_fails_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        build.lab(topology.load(SMALL), tmp_path, CLOCK),
    ):
        raise ZeroDivisionError
    assert traces(tmp_path) == []


def test_a_lab_that_can_not_be_built_completely_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tmp_path / "some-tools"
    some.mkdir()
    (some / "nsenter").symlink_to("/usr/bin/nsenter")
    monkeypatch.setenv("PATH", str(some))
    with (
        pytest.raises(Unavailable, match="not installed"),
        build.lab(topology.load(SMALL), tmp_path / "data", CLOCK),
    ):
        raise AssertionError("it came up without a switch")
    assert traces(tmp_path / "data") == []


@pytest.mark.parametrize("stage", ["when it is up", "half-way"])
def test_down_removes_what_a_killed_builder_left(tmp_path: Path, stage: str) -> None:
    with builder(tmp_path) as process:
        if stage == "half-way":
            wait_for_devices(tmp_path)
        else:
            assert process.stdout
            assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait()
        assert traces(tmp_path)
        build.down(tmp_path, CLOCK)
        assert traces(tmp_path) == []


def wait_for_devices(data: Path) -> None:
    """Until some have started and surely not all are ready."""
    end = CLOCK.monotonic() + 60
    while not list(living.marked(Place(data).id)):
        assert CLOCK.monotonic() < end
        CLOCK.wait(timedelta(milliseconds=1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_down_from_outside_ends_the_builder_and_its_lab(tmp_path: Path, number: int) -> None:
    with builder(tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        build.down(tmp_path, CLOCK)
        assert process.wait(30) != 0
        assert traces(tmp_path) == []


def test_the_next_lab_begins_by_removing_what_is_left_of_the_last(tmp_path: Path) -> None:
    with builder(tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait()
    old = set(living.marked(Place(tmp_path).id))
    with build.lab(topology.load(SMALL), tmp_path, CLOCK) as site:
        assert not [one for one in old if one.alive]
        assert site.init("a1")
    assert traces(tmp_path) == []


def test_one_directory_has_one_lab_at_a_time(tmp_path: Path) -> None:
    with build.lab(topology.load(SMALL), tmp_path, CLOCK) as site:
        with (
            pytest.raises(Conflict, match="already up"),
            build.lab(topology.load(SMALL), tmp_path, CLOCK),
        ):
            raise AssertionError("two labs at one place")
        assert site.init("a1")
    assert traces(tmp_path) == []


def test_two_labs_live_side_by_side(tmp_path: Path) -> None:
    with build.lab(topology.load(SMALL), tmp_path / "one", CLOCK) as one:
        with build.lab(topology.load(SMALL), tmp_path / "two", CLOCK) as two:
            assert one.place.id != two.place.id
        assert traces(tmp_path / "two") == []
        assert one.init("a1")


def test_a_directory_that_hosts_could_not_see_is_refused() -> None:
    with (
        pytest.raises(Conflict, match="/run"),
        build.lab(topology.load(SMALL), Path("/run/arable-nowhere"), CLOCK),
    ):
        raise AssertionError("a lab in /run")
