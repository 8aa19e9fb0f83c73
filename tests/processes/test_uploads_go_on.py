"""A real management server that is killed while a file comes, and a real command that is: what came is not sent again."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from processes.living_servers import until

MIB = 1 << 20
LENGTH = 24 * MIB
HELD = 10 * MIB  # bytes that get through before the line stands still
SLACK = 2 * MIB  # on their way, in buffers of whoever died
COMMAND = [sys.executable, "-m", "arable.processes.main"]


@dataclass
class Line:
    """The way to the server: it stands still after so many bytes to it, until it is let go or cut."""

    server: Path
    most: int | None = None
    passed: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _open: set[socket.socket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, most: int) -> None:
        with self._changed:
            self.most, self.passed = most, 0

    def await_held(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.passed >= (self.most or 0), 120)

    def let_go(self) -> None:
        with self._changed:
            self.most = None
            self._changed.notify_all()

    def cut(self) -> None:
        hang_up(*self._open)

    def close(self) -> None:
        self.let_go()
        self.cut()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                come, _ = self._door.accept()
            except OSError:
                return
            try:
                api = json.loads((self.server / "server.json").read_text())["api"]
                host, _, port = api.removeprefix("http://").rpartition(":")
                there = socket.create_connection((host, int(port)), 5)
            except (OSError, ValueError, KeyError):
                come.close()
                continue
            threading.Thread(target=self._between, args=(come, there), daemon=True).start()

    def _between(self, come: socket.socket, there: socket.socket) -> None:
        self._open |= {come, there}
        with come, there:
            back = threading.Thread(target=self._back, args=(there, come))
            back.start()
            with suppress(OSError):
                while piece := come.recv(65_536):
                    with self._changed:
                        self._changed.wait_for(lambda: self.most is None or self.passed < self.most)
                        self.passed += len(piece)
                        self._changed.notify_all()
                    there.sendall(piece)
            hang_up(come, there)
            back.join()
            self._open -= {come, there}

    @staticmethod
    def _back(there: socket.socket, come: socket.socket) -> None:
        with suppress(OSError):
            while piece := there.recv(65_536):
                come.sendall(piece)
        hang_up(come, there)


def hang_up(*ends: socket.socket) -> None:
    for each in ends:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@dataclass
class Town:
    """One server over SQLite, the way to it, and whoever is at the command line."""

    data: Path
    line: Line
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with (self.data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *COMMAND, "server", "--data", str(self.data),
                 "--api", "127.0.0.1:0", "--gateway", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until(self._ready, f"the server does not get ready: {self.data}")

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def _ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.data / "log").read_text()
        with suppress(FileNotFoundError, ValueError):
            ready = json.loads((self.data / "server.json").read_text())
            return bool(ready["pid"] == self.process.pid)
        return False

    def await_kept(self, least: int) -> None:
        """So much came that the server has it, and not the buffers on the way to it."""
        folder = self.data / "images"
        until(lambda: max((e.stat().st_size for e in folder.glob("*.partial")), default=0) >= least)

    def command(self, *words: str) -> "subprocess.Popen[str]":
        environment = os.environ | {
            "XDG_CONFIG_HOME": str(self.data / "config"),
            "ARABLE_URL": self.line.url,
        }
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *COMMAND, *words],
            env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def json(self, *words: str) -> tuple[Any, str]:
        return ended(self.command(*words, "--output", "json"))


def ended(process: "subprocess.Popen[str]") -> tuple[Any, str]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return json.loads(out or "null"), err


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Iterator[Town]:
    with _town(tmp_path_factory.mktemp("town")) as made:
        yield made


@contextmanager
def _town(data: Path) -> Iterator[Town]:
    made = Town(data, Line(data))
    try:
        made.start()
        made.command("login", "--credentials", str(data / "operator.json")).communicate(timeout=60)
        yield made
    finally:
        made.line.close()
        made.kill()


def disk(folder: Path, seed: int) -> tuple[Path, str]:
    content = hashlib.shake_256(b"%d" % seed).digest(LENGTH)
    path = folder / f"disk-{seed}.raw"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def test_a_server_is_killed_and_restarted_and_the_command_goes_on(town, tmp_path) -> None:
    path, digest = disk(tmp_path, 1)
    town.line.hold(HELD)
    command = town.command("image", "upload", "one", str(path), "--create", "--output", "json")
    town.line.await_held()
    town.await_kept(HELD - SLACK // 2)
    town.kill()
    town.line.cut()
    town.line.let_go()
    town.start()
    made, err = ended(command)
    assert (made["number"], made["digest"], made["bytes"]) == (1, digest, LENGTH)
    assert "trying again" in err
    assert town.line.passed <= LENGTH + SLACK
    assert (town.data / "images" / digest).stat().st_size == LENGTH


def test_a_command_is_killed_and_the_same_one_goes_on(town, tmp_path) -> None:
    path, digest = disk(tmp_path, 2)
    town.line.hold(HELD)
    words = ("image", "upload", "two", str(path), "--create")
    command = town.command(*words)
    town.line.await_held()
    town.await_kept(HELD - SLACK // 2)
    command.kill()
    command.communicate()
    town.line.cut()
    town.line.let_go()
    (begun,), _ = town.json("image-upload", "list", "--no-complete")
    assert begun["sha256"] == digest
    made, err = town.json(*words)
    assert (made["number"], made["digest"]) == (1, digest)
    assert f"of {LENGTH} bytes of {path} are there already" in err
    assert town.line.passed <= LENGTH + SLACK
