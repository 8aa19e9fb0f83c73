"""One contract for every platform: a server that is restarted is another process, one that is stopped is none."""

import configparser
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
import typer

from arable.domain.errors import BadInput, Unavailable
from arable.domain.ids import SegmentId
from arable.domain.platform import Place, Platform
from arable.drivers.platform.none import NoPlatform
from arable.drivers.platform.sim import SimPlatform
from arable.drivers.platform.subprocess import SubprocessPlatform
from arable.drivers.platform.systemd import SystemdPlatform
from arable.processes import server_commands
from arable.processes.membership import chosen
from arable.processes.server import _name
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy

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


def instances(directory: Path, set_up: int, running: set[str]) -> SystemdPlatform:
    """A `systemctl` on a machine where so many instances were set up, and these run; `log` has what it was told."""
    program, log = directory / "systemctl", directory / "log"
    program.write_text(
        f"""#!{sys.executable}
import sys
words = sys.argv[1:]
open({str(log)!r}, "a").write(" ".join(words) + "\\n")
unit = words[-1].partition("@")[2].partition(".")[0]
if words[0] == "is-active":
    sys.exit(0 if unit in {running!r} else 3)
if words[0] == "start" and int(unit[7:]) > {set_up}:
    print("Failed to load environment files: No such file or directory", file=sys.stderr)
    sys.exit(1)
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return SystemdPlatform("arable-server@%i.service", str(program))


def test_one_more_server_is_the_first_instance_that_does_not_run(tmp_path):
    instances(tmp_path, 3, {"server-1", "server-3"}).start()
    assert (tmp_path / "log").read_text().splitlines() == [
        "is-active --quiet -- arable-server@server-1.service",
        "is-active --quiet -- arable-server@server-2.service",
        "reset-failed -- arable-server@server-2.service",
        "start -- arable-server@server-2.service",
    ]


def test_where_no_further_instance_was_set_up_the_operator_is_told_what_to_do(tmp_path):
    with pytest.raises(Unavailable, match=r"Failed to load environment.*set up that instance"):
        instances(tmp_path, 1, {"server-1"}).start()
    with pytest.raises(Unavailable, match=r"no template.*systemd:arable-server@%i\.service"):
        SystemdPlatform("arable-server.service", "/nowhere").start()


def test_the_template_that_we_ship_starts_a_server_of_the_instances_name():
    """systemd itself is not here: what it would do with the unit, as far as it is documented, is done by hand."""
    path = Path(__file__).parents[2] / "examples" / "systemd" / "arable-server@.service"
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(path)
    words = unit["Service"]["ExecStart"].replace("%%", "\0").replace("%i", "server-2")
    words = words.replace("\0", "%").replace("${API}", "127.0.0.1:8480")
    words = words.replace("${GATEWAY}", "127.0.0.1:8443").replace("${SEGMENT_ADDRESS}", "m1:8443")
    _program, _server, *argv = words.split()
    app = typer.Typer()
    app.command()(server_commands.command)
    said = typer.main.get_command(app).make_context("server", argv).params
    data = Path(said["data"])
    assert (said["called"], data) == ("server-2", Path("/var/lib/arable/server-2"))
    platform = chosen(said["platform"], data, "")
    assert platform == SystemdPlatform("arable-server@%i.service")
    assert unit["Service"]["EnvironmentFile"] == "/etc/arable/%i.env"


def test_a_server_is_called_what_was_said_at_its_first_start_for_ever(tmp_path):
    assert _name(tmp_path, Entropy("x"), "server-2") == "server-2"
    assert _name(tmp_path, Entropy("y")) == "server-2"
    for wrong in ("server-3", "s2", "server-", "server-../x", "server-a\n"):
        with pytest.raises(BadInput):
            _name(tmp_path, Entropy("z"), wrong)
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    assert _name(drawn, Entropy("x")).startswith("server-")


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
