"""One contract for every platform: a server that is restarted is another process, one that is stopped is none."""

import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arable.domain.errors import BadInput, Unavailable
from arable.domain.ids import SegmentId
from arable.domain.platform import Place, Platform
from arable.drivers.platform.none import NoPlatform
from arable.drivers.platform.sim import SimPlatform
from arable.drivers.platform.subprocess import SubprocessPlatform
from arable.drivers.platform.systemd import SystemdPlatform
from arable.processes.membership import chosen
from arable.runtime.clock import RealClock

CLOCK = RealClock()
A = Place(SegmentId("server-a"), "127.0.0.1:8443")
STRANGER = Place(SegmentId("server-x"), "127.0.0.1:8443")

# What holds a data directory as a server does; `stubborn` ignores SIGTERM, as one that hangs would.
SERVER = """
import fcntl, json, os, signal, sys
data = sys.argv[1]
lock = os.open(data + "/lock", os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
if os.path.exists(data + "/stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(data + "/server.new", "w").write(json.dumps({"pid": os.getpid()}))
os.rename(data + "/server.new", data + "/server.json")
while True:
    signal.pause()
"""


@dataclass
class Rig:
    """A platform, and what is known of the server's process on it."""

    platform: Platform
    living: list[int] = field(default_factory=list)

    def pid(self, after: int = 0) -> int:
        """Of the process that runs, once it is another one than `after`."""
        end = CLOCK.monotonic() + 60
        while CLOCK.monotonic() < end:
            found = self.now()
            if found not in (0, after):
                return found
            os.sched_yield()
        pytest.fail("no server came up")

    def now(self) -> int:
        raise NotImplementedError


class SubprocessRig(Rig):
    data: Path

    def now(self) -> int:
        assert isinstance(self.platform, SubprocessPlatform)
        return self.platform.pid(A.segment) or 0


class SimRig(Rig):
    def now(self) -> int:
        assert isinstance(self.platform, SimPlatform)
        if A in self.platform.stopped:
            return 0
        return 1 + len(self.platform.restarted)


class SystemdRig(Rig):
    """A `systemctl` that does what it is told with one process, as there is no systemd in a test."""

    state: Path

    def now(self) -> int:
        return int(self.state.read_text() or 0) if self.state.exists() else 0


@contextmanager
def subprocess_rig(directory: Path) -> Iterator[Rig]:
    data = directory / "s1"
    data.mkdir()
    (data / "name").write_text(A.segment)
    argv = [sys.executable, "-c", SERVER]
    platform = SubprocessPlatform(directory, lambda data: [*argv, str(data)])
    made = SubprocessRig(platform)
    made.data = data
    platform._start(data)
    try:
        yield made
    finally:
        for child in platform._children:
            child.kill()
            child.wait()


@contextmanager
def systemd_rig(directory: Path) -> Iterator[Rig]:
    program, state, log = directory / "systemctl", directory / "state", directory / "log"
    program.write_text(
        f"""#!{sys.executable}
import sys
words = sys.argv[1:]
open({str(log)!r}, "a").write(" ".join(words) + "\\n")
state, verb = {str(state)!r}, next(w for w in words if not w.startswith("--") and w != "elsewhere")
if words[-1] != "arable@server-a.service":
    print("Unit not found.", file=sys.stderr)
    sys.exit(5)
number = int(open(state).read())
if verb == "restart":
    open(state, "w").write(str(number + 1 if number else 9))
elif verb == "stop":
    open(state, "w").write("0")
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    state.write_text("1")
    made = SystemdRig(SystemdPlatform("arable@%i.service", str(program)))
    made.state = state
    yield made


@contextmanager
def sim_rig(_directory: Path) -> Iterator[Rig]:
    def restarts(place: Place) -> None:
        if place != A:
            raise Unavailable(f"no {place.segment}")

    yield SimRig(SimPlatform(restarts))


@pytest.fixture(params=[subprocess_rig, systemd_rig, sim_rig], ids=["subprocess", "systemd", "sim"])
def rig(request, tmp_path) -> Iterator[Rig]:
    with request.param(tmp_path) as made:
        yield made


def test_a_server_that_is_restarted_is_another_process(rig):
    before = rig.pid()
    rig.platform.restart(A)
    between = rig.pid(before)
    rig.platform.restart(A)
    assert len({before, between, rig.pid(between)}) == 3


def test_one_that_is_stopped_runs_no_more_and_may_be_stopped_again(rig):
    rig.pid()
    rig.platform.stop(A)
    assert rig.now() == 0
    rig.platform.stop(A)
    assert rig.now() == 0


def test_one_that_nobody_knows_is_refused(rig):
    rig.pid()
    with pytest.raises(Unavailable):
        rig.platform.restart(STRANGER)


def test_every_platform_has_its_name(rig):
    assert rig.platform.name in {"subprocess", "systemd", "sim"}


@pytest.mark.parametrize("how", [signal.SIGSTOP, None])
def test_a_process_that_hangs_is_killed_and_its_successor_holds_the_directory(tmp_path, how):
    with subprocess_rig(tmp_path) as made:
        (made.data / "stubborn").touch()
        made.platform.restart(A)  # from here on it is stubborn
        hung = made.pid()
        if how:
            os.kill(hung, how)
        made.platform.restart(A)
        assert json.loads((made.data / "server.json").read_text())["pid"]
        assert made.pid(hung) != hung


def test_one_more_server_has_a_directory_of_its_own(tmp_path):
    with subprocess_rig(tmp_path) as made:
        made.pid()
        made.platform.start()
        assert {each.name for each in tmp_path.iterdir()} == {"s1", "s2"}


def test_systemd_is_asked_on_the_machine_where_the_server_is(tmp_path):
    with systemd_rig(tmp_path) as made:
        made.platform.stop(Place(A.segment, "elsewhere:8443"))
        made.platform.stop(Place(A.segment, "localhost:8443"))
        assert (tmp_path / "log").read_text().splitlines() == [
            "--host elsewhere stop -- arable@server-a.service",
            "stop -- arable@server-a.service",
        ]
        with pytest.raises(Unavailable):
            made.platform.stop(Place(A.segment, "--host=x; reboot:1"))


def test_without_a_platform_the_operator_is_told_what_to_do():
    platform = NoPlatform()
    for ask in (lambda: platform.restart(A), platform.start, lambda: platform.stop(A)):
        with pytest.raises(Unavailable, match="by hand"):
            ask()


def test_a_platform_is_chosen_by_its_word(tmp_path):
    assert chosen("none", tmp_path, "").name == "none"
    assert chosen("systemd:arable.service", tmp_path, "").name == "systemd"
    made = chosen(f"subprocess:{tmp_path}", tmp_path, "postgresql://u:secret@h/d")
    assert made.name == "subprocess"
    assert "secret" not in repr(made)
    for wrong in ("", "systemd", "systemd:../x", "systemd:a b.service", "docker:x", "none:x"):
        with pytest.raises(BadInput):
            chosen(wrong, tmp_path, "")
