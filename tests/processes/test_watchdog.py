"""The watchdog kills what is over its time and nothing else, alone, whatever happens to others."""

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from arable.agent.deadlines import Deadline, DeadlineFiles
from arable.agent.watch import Watch
from arable.domain.ids import MachineId
from arable.processes import watchdog
from arable.processes.agent_leases import watchdog_command
from arable.runtime.boottime import KernelBootTime
from drivers import make_drivers as make
from drivers.emulated_hosts import is_alive

NOW = KernelBootTime().now
WAITS = "import signal; signal.pause()"


AGENT = """
import json, pathlib, signal, sys
from arable.agent.watch import Watch
from arable.runtime.boottime import KernelBootTime
home, command = json.loads(sys.argv[1])
Watch(pathlib.Path(home), command, KernelBootTime()).ensure()
signal.pause()
"""


class Yard:
    """A directory of deadlines, and processes that look like guests."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.deadlines = DeadlineFiles(folder / "deadlines")

    def guest(
        self, machine: str, epoch: int = 1, program: str = "/usr/bin/qemu-system-x86_64"
    ) -> "subprocess.Popen[bytes]":
        words = [f"guest={machine},debug-threads=on", f'{{"export":"volume-{machine}.e{epoch}"}}']
        return self.process([program, "-c", WAITS, *words], executable=sys.executable)

    def process(self, words: list[str], **but) -> "subprocess.Popen[bytes]":
        made = subprocess.Popen(words, stdin=subprocess.DEVNULL, **but)
        self.stack.callback(made.wait)
        self.stack.callback(made.kill)
        return made

    def may_run(self, machine: str, seconds: float, epoch: int = 1) -> None:
        marks = (f"guest={machine}", f"volume-{machine}.e{epoch}")
        self.deadlines.set(
            Deadline(machine=MachineId(machine), epoch=epoch, at=NOW() + seconds, marks=marks)
        )

    def watchdog(self) -> "subprocess.Popen[bytes]":
        made = self.process([*watchdog_command(), str(self.folder)], stderr=subprocess.DEVNULL)
        make.wait_until(self.beats, "a heartbeat", 30)
        return made

    def beats(self) -> bool:
        beat = self.folder / "watchdog.beat"
        return beat.exists() and beat.stat().st_size > 0


@pytest.fixture
def yard(tmp_path) -> Iterator[Yard]:
    with ExitStack() as stack:
        yield Yard(tmp_path, stack)


def fresh() -> str:
    return make.fresh("machine")


def gone(process: "subprocess.Popen[bytes]", seconds: float = 30.0) -> bool:
    try:
        return process.wait(seconds) == -signal.SIGKILL
    except subprocess.TimeoutExpired:
        return False


def test_it_needs_nothing_of_ours_and_little_else() -> None:
    tree = ast.parse(Path(watchdog.__file__).read_text())
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert names <= {"ctypes", "fcntl", "json", "os", "select", "signal", "sys", "time"}


def test_a_guest_is_killed_when_its_time_is_over_and_not_before(yard) -> None:
    machine = fresh()
    guest = yard.guest(machine)
    yard.may_run(machine, 3.0)
    began = NOW()
    yard.watchdog()
    assert gone(guest)
    assert 2.9 <= NOW() - began < 10


def test_a_guest_whose_deadline_moves_on_runs_on(yard) -> None:
    machine, other = fresh(), fresh()
    guest, doomed = yard.guest(machine), yard.guest(other)
    yard.may_run(machine, 1.5)
    yard.watchdog()
    yard.may_run(machine, 60)
    yard.may_run(other, 2.5)
    assert gone(doomed)
    assert is_alive(guest.pid)


def test_nobody_else_is_killed(yard) -> None:
    machine, other = fresh(), fresh()
    bystanders = [
        yard.guest(machine, 2),  # the next epoch, on what may be another host
        yard.guest(other),
        yard.guest(f"{machine}0"),
        yard.guest(machine, 11),
        yard.guest(machine, program="less"),  # somebody reads a log
    ]
    doomed = yard.guest(machine)
    yard.may_run(machine, 0.0)
    yard.watchdog()
    assert gone(doomed)
    assert all(is_alive(one.pid) for one in bystanders)


def test_a_frozen_guest_is_killed_too(yard) -> None:
    machine = fresh()
    guest = yard.guest(machine)
    guest.send_signal(signal.SIGSTOP)
    yard.may_run(machine, 0.0)
    yard.watchdog()
    assert gone(guest)


def test_a_guest_that_starts_after_its_time_is_killed_as_soon_as_it_is_seen(yard) -> None:
    machine = fresh()
    yard.may_run(machine, 0.0)
    yard.watchdog()
    for _ in range(3):
        assert gone(yard.guest(machine))


def test_what_was_read_counts_on_when_a_file_is_damaged(yard) -> None:
    machine = fresh()
    guest = yard.guest(machine)
    yard.may_run(machine, 3.0)
    yard.watchdog()
    path = yard.folder / "deadlines" / f"{machine}.e1"
    before = (yard.folder / "watchdog.beat").read_bytes()
    make.wait_until(lambda: (yard.folder / "watchdog.beat").read_bytes() != before, "a look", 20)
    path.write_text("{")
    assert gone(guest)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"marks":[],"deadline":0}', '{"marks":[""],"deadline":0}', "\0"]
)
def test_nonsense_kills_nobody(yard, text) -> None:
    machine, other = fresh(), fresh()
    guest, doomed = yard.guest(machine), yard.guest(other)
    (yard.folder / "deadlines" / f"{machine}.e1").write_text(text)
    yard.may_run(other, 1.0)
    yard.watchdog()
    assert gone(doomed)
    assert is_alive(guest.pid)


def test_there_is_one_for_each_directory_and_it_leaves_when_told(yard) -> None:
    first = yard.watchdog()
    second = yard.process([*watchdog_command(), str(yard.folder)], stderr=subprocess.DEVNULL)
    assert second.wait(30) == 3
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0


def test_a_machines_own_watchdog_is_petted_and_let_go(yard, tmp_path) -> None:
    device = tmp_path / "device"
    device.touch()
    one = yard.process([*watchdog_command(device), str(yard.folder)], stderr=subprocess.DEVNULL)
    make.wait_until(lambda: device.stat().st_size > 3, "to be petted", 30)
    one.send_signal(signal.SIGTERM)
    assert one.wait(30) == 0
    assert device.read_bytes().endswith(b"\0V")


def test_a_machine_without_time_for_others_has_time_for_it(yard) -> None:
    machine = fresh()
    guest = yard.guest(machine)
    yard.may_run(machine, 4.0)
    yard.watchdog()
    hungry = [yard.process([sys.executable, "-c", "while True: pass"]) for _ in range(24)]
    began = NOW()
    assert gone(guest)
    assert NOW() - began < 8
    for one in hungry:
        one.kill()


def watching(yard: Yard) -> Watch:
    made = Watch(yard.folder, watchdog_command(), KernelBootTime())
    yard.stack.callback(lambda: end(yard.folder))
    return made


def end(folder: Path) -> None:
    pid = int((folder / "watchdog.beat").read_bytes().split()[0])
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def alive_after(watch: Watch, seconds: float = 40) -> None:
    def alive() -> bool:
        watch.ensure()
        return watch.alive()

    make.wait_until(alive, "a watchdog", seconds)


def pid(yard: Yard) -> int:
    return int((yard.folder / "watchdog.beat").read_bytes().split()[0])


def test_an_agent_starts_one_and_takes_one_that_is_there(yard) -> None:
    watch = watching(yard)
    assert not watch.alive()
    alive_after(watch)
    first = pid(yard)
    again = Watch(yard.folder, watchdog_command(), KernelBootTime())
    assert again.alive()
    again.ensure()
    assert pid(yard) == first


def test_one_that_was_killed_is_replaced(yard) -> None:
    watch = watching(yard)
    alive_after(watch)
    first = pid(yard)
    os.kill(first, signal.SIGKILL)
    make.wait_until(lambda: not watch.alive(), "that it is missed", 20)
    alive_after(watch)
    assert pid(yard) != first


def test_one_that_stands_still_is_missed_and_replaced(yard) -> None:
    watch = watching(yard)
    alive_after(watch)
    first = pid(yard)
    os.kill(first, signal.SIGSTOP)
    make.wait_until(lambda: not watch.alive(), "that it is missed", 20)
    alive_after(watch)
    assert pid(yard) != first
    assert not is_alive(first)


def test_it_goes_on_when_whoever_started_it_is_killed(yard) -> None:
    machine = fresh()
    guest = yard.guest(machine)
    words = json.dumps([str(yard.folder), watchdog_command()])
    agent = yard.process(
        [
            sys.executable,
            "-c",
            AGENT,
            words,
        ]
    )
    make.wait_until(yard.beats, "a heartbeat", 60)
    yard.stack.callback(lambda: end(yard.folder))
    agent.kill()
    agent.wait()
    yard.may_run(machine, 1.0)
    assert gone(guest)
