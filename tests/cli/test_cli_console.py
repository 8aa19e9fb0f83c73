"""`arable machine console` as a person has it, at a real terminal, and as a script has it, with pipes.

The API, its websocket and the meeting of both sides are the real ones; the host's side is a machine that shouts back.
"""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from arable.api import console
from arable.domain.manifest import Inventory
from arable.runtime.ca import new_request
from arable.services import agents
from arable.store import schema
from arable.wire.agent import JoinIn
from arable.wire.hosts import JoinTokenIn
from arable.wire.machines import DeployIn
from serving import Served, serving
from shouting import Shouting

PATIENCE = 30.0
INVENTORY = Inventory(cpus=8, cpu_mhz=16_000, memory_mib=32_768, disk_mib=100_000)


@pytest.fixture
def machine() -> Shouting:
    return Shouting()


@pytest.fixture
def cloud(sqlite, tmp_path, machine) -> Iterator[Served]:
    """The API with its websocket, and a machine `web` that is on a host."""
    from cli.conftest import furnish

    with serving(sqlite, tmp_path, routes=machine.routes, ws=console.ConsoleWebSocket) as made:
        furnish(made)
        made.operator.machines.deploy(DeployIn(name="web", image="tiny", offering="tiny"))
        invited = made.operator.join_tokens.create(JoinTokenIn(pod="pod-a"))
        request = new_request("host").request
        joining = JoinIn(token=invited.token, name="h1", request=request, inventory=INVENTORY)
        with sqlite.write() as tx:
            host = agents.join(tx, made.around, joining).host
            tx.execute(update(schema.machine).values(host=host))
        yield made


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "arable.processes.main", "machine", "console", "web", *more]


def environment(cloud: Served, home: Path) -> dict[str, str]:
    token = cloud.token(cloud.operator)
    return {**os.environ, "HOME": str(home), "ARABLE_URL": cloud.url, "ARABLE_TOKEN": token}


class Seat:
    """Somebody at a terminal, in front of a running command."""

    def __init__(self, cloud: Served, home: Path) -> None:
        self.keyboard, self.screen = pty.openpty()
        self.before = termios.tcgetattr(self.screen)
        self.seen = b""
        self.process = subprocess.Popen(
            command(),
            stdin=self.screen,
            stdout=self.screen,
            stderr=self.screen,
            env=environment(cloud, home),
            start_new_session=True,
        )

    def types(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def sees(self, text: bytes) -> None:
        self._until(lambda: text in self.seen, f"{text!r}")

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.screen)[3] & (
            termios.ICANON | termios.ISIG | termios.ECHO
        )

    def leaves(self) -> int:
        self._until(lambda: self.process.poll() is not None, "the end")
        return self.process.returncode

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE  # noqa: TID251 - a real terminal
        while not condition():
            assert time.monotonic() < end, f"no {what} in {self.seen!r}"  # noqa: TID251
            ready, _, _ = select.select([self.keyboard], [], [], 0.05)
            if ready:
                self.seen += os.read(self.keyboard, 4096)


@contextmanager
def seated(cloud: Served, home: Path) -> Iterator[Seat]:
    seat = Seat(cloud, home)
    try:
        yield seat
    finally:
        seat.process.kill()
        seat.process.wait(PATIENCE)
        os.close(seat.keyboard)
        os.close(seat.screen)


def test_keys_reach_the_machine_raw_and_the_escape_key_leaves(cloud, machine, tmp_path) -> None:
    with seated(cloud, tmp_path) as seat:
        seat.sees(b"booted\r\n")
        assert seat.is_raw()
        seat.types(b"ls\r")
        seat.sees(b"LS\r")
        seat.types(b"\x03\x04\x1a")
        seat.sees(b"\x03\x04\x1a")
        assert seat.process.poll() is None, "Ctrl-C is the machine's"
        seat.types(b"last\x1dnever")
        assert seat.leaves() == 0
        seat._until(lambda: b"left web" in seat.seen, "goodbye")
        assert termios.tcgetattr(seat.screen) == seat.before
    assert machine.heard == b"ls\r\x03\x04\x1alast"


def test_the_terminal_is_put_back_when_the_machine_ends(cloud, tmp_path) -> None:
    with seated(cloud, tmp_path) as seat:
        seat.sees(b"booted")
        seat.types(b"bye\r")
        assert seat.leaves() == 0
        assert termios.tcgetattr(seat.screen) == seat.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_put_back_when_the_command_is_told_to_leave(
    cloud, tmp_path, number
) -> None:
    with seated(cloud, tmp_path) as seat:
        seat.sees(b"booted")
        assert seat.is_raw()
        seat.process.send_signal(number)
        seat.leaves()
        assert termios.tcgetattr(seat.screen) == seat.before


def test_a_pipe_is_sent_to_its_end_and_the_answer_printed(cloud, machine, tmp_path) -> None:
    text = b"line of a script \x1d\n" * 10_000
    done = subprocess.run(
        command("--linger", "3"),
        input=text,
        capture_output=True,
        env=environment(cloud, tmp_path),
        timeout=2 * PATIENCE,
        check=True,
    )
    assert machine.heard == text, "also what leaves a terminal"
    assert done.stdout == b"booted\r\n" + text.upper()


def test_a_machine_without_a_host_has_no_console(cloud, sqlite, tmp_path) -> None:
    with sqlite.write() as tx:
        tx.execute(update(schema.machine).values(host=None))
    done = subprocess.run(
        command(),
        input=b"",
        capture_output=True,
        env=environment(cloud, tmp_path),
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert b"it has no console; start it first" in done.stderr
