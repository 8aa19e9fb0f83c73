"""Waiting with progress, in a whole cloud on simulated hosts: brought up, used and taken down by its command line."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ARABLE = [sys.executable, "-m", "arable.processes.main"]
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "first-machine.yaml"
PATIENCE = 180.0


@dataclass
class Program:
    """The program in processes of its own, for one home."""

    environment: dict[str, str]

    def run(
        self, *words: str, stdin: str = "", status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*ARABLE, *words], input=stdin, capture_output=True, text=True,
            env=self.environment, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{words}: {done}"
        return done

    def json(self, *words: str):
        return json.loads(self.run(*words, "-o", "json").stdout)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Iterator[Program]:
    directory = tmp_path_factory.mktemp("whole")
    environment = {**os.environ, "HOME": str(directory)}
    for name in list(environment):
        if name.startswith(("ARABLE_", "XDG_")):
            del environment[name]
    up = subprocess.Popen(
        [*ARABLE, "up", "--lab", "sim", "--api", "127.0.0.1:0", "--data", str(directory / "data")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip
    said: list[str] = []
    came_up = threading.Event()

    def listen() -> None:
        for line in up.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                came_up.set()
        came_up.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        assert came_up.wait(PATIENCE), said
        assert up.poll() is None, said
        (url,) = {word.removesuffix("/v1,") for line in said for word in line.split() if word.endswith("/v1,")}  # fmt: skip
        (file,) = (word for line in said for word in line.split() if word.endswith("operator.json"))
        operator = Program(environment)
        operator.run("login", "--url", url, "--credentials", file)
        operator.run(
            "account", "create", "acme", "--user-name", "acme", "--password-stdin",
            stdin="a long password\n",
        )  # fmt: skip
        customer = Program({**environment, "ARABLE_PROFILE": "acme"})
        customer.run("login", "acme", "--url", url, "--password-stdin", stdin="a long password\n")
        yield customer
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(PATIENCE)
        finally:
            up.kill()
            listener.join(10)
            up.stdout.close()


DEPLOY = ("--image", "tiny", "--offering", "tiny")


def test_the_example_runs_and_says_where_it_can_be_reached(whole: Program) -> None:
    done = whole.run("apply", "-f", str(EXAMPLE))
    assert "machine.deploy: done, 1 of 1" in done.stderr
    assert "running" in done.stdout
    (address,) = [row["address"] for row in whole.json("address", "list") if not row["source_nat"]]
    assert f"public address: {address}" in done.stderr
    assert f"{address}:80 -> web:80" in done.stdout
    before = whole.json("machine", "list")
    assert {row["did"] for row in whole.json("apply", "-f", str(EXAMPLE))} == {"unchanged"}
    assert whole.json("machine", "list") == before


def test_the_life_of_a_machine_in_commands(whole: Program) -> None:
    done = whole.run("machine", "deploy", "life", *DEPLOY)
    assert "machine deploy: done, 1 of 1" in done.stderr
    assert done.stdout.splitlines()[1].split()[2] == "running"
    assert "running" in whole.run("machine", "explain", "life").stdout
    whole.run("machine", "reboot", "life")
    whole.run("machine", "stop", "life")
    assert whole.json("machine", "show", "life")["state"] == "stopped"
    whole.run("machine", "resize", "life", "--offering", "small")
    whole.run("machine", "start", "life")
    whole.run("machine", "destroy", "life", "--force")
    assert "no machine called" in whole.run("machine", "stop", "life", status=1).stderr
    whole.run("machine", "recover", "life")
    assert whole.json("machine", "show", "life")["memory_mib"] == 256
    whole.run("machine", "destroy", "life", "--force", "--expunge")


def test_what_fails_says_why_and_ends_with_status_1(whole: Program) -> None:
    done = whole.run("machine", "deploy", "odd", *DEPLOY, "--tag", "nowhere", status=1)
    assert "no host can take this" in done.stderr
    assert "lack a tag" in done.stderr
    operation = next(word for word in done.stderr.split() if word.startswith("operation-"))
    assert "no host can take this" in whole.run("operation", "wait", operation, status=1).stderr
    assert whole.json("operation", "show", operation)["state"] == "failed"


def test_waiting_can_be_left_to_later(whole: Program) -> None:
    told = whole.json("machine", "deploy", "later", *DEPLOY, "--count", "3", "--no-wait")
    assert len(told["machines"]) == 3
    done = whole.run("operation", "wait", told["operation"], "-o", "json")
    assert json.loads(done.stdout)["state"] == "done"
    assert "3 of 3" in done.stderr


def test_events_are_followed(whole: Program) -> None:
    whole.run("network", "create", "seen", "--cidr", "10.99.0.0/24")
    done = whole.run("event", "follow", "--after", "0", "--kind", "network", "--limit", "2", "-o", "json")  # fmt: skip
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert len(kinds) == 2
    assert all(kind.startswith("network.") for kind in kinds)


def test_names_are_completed_by_the_shell(whole: Program) -> None:
    whole.run("network", "create", "completed", "--cidr", "10.98.0.0/24")
    words = {"_ARABLE_COMPLETE": "complete_bash", "COMP_WORDS": "arable network show comp", "COMP_CWORD": "3"}  # fmt: skip
    shell = Program({**whole.environment, **words})
    done = subprocess.run(
        [Path(sys.executable).with_name("arable")],
        capture_output=True, text=True, env=shell.environment, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["completed"]


def test_who_watches_at_a_terminal_sees_a_bar(whole: Program) -> None:
    keyboard, screen = pty.openpty()
    try:
        process = subprocess.Popen(
            [*ARABLE, "machine", "deploy", "watched", *DEPLOY],
            stdin=screen, stdout=subprocess.DEVNULL, stderr=screen, env={**whole.environment, "TERM": "xterm"},
        )  # fmt: skip
        seen, end = b"", time.monotonic() + PATIENCE  # noqa: TID251 - a real terminal
        while process.poll() is None or select.select([keyboard], [], [], 0.2)[0]:
            assert time.monotonic() < end, seen  # noqa: TID251
            if select.select([keyboard], [], [], 0.2)[0]:
                seen += os.read(keyboard, 4096)
        assert process.returncode == 0, seen
    finally:
        os.close(keyboard)
        os.close(screen)
    assert "━".encode() in seen
    assert b"1/1" in seen
    assert seen.endswith(b"\x1b[?25h") or b"\x1b[?25h" in seen, "the cursor is back"
