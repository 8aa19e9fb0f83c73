"""The one program: every process can be started from it, and what can't be started is said in a line."""

import json
import subprocess
import sys

import pytest

from arable.cli.app import build
from arable.processes.main import PROCESSES

ARABLE = [sys.executable, "-m", "arable.processes.main"]


def arable(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ARABLE, *words], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def every() -> list[str]:
    found = []
    for late in PROCESSES:
        made = late.make()
        found += [f"{late.name} {name}" for name in getattr(made, "commands", {})] or [late.name]
    return found


@pytest.mark.parametrize("words", every())
def test_a_process_says_how_it_is_started(words: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        build(PROCESSES)(args=[*words.split(), "--help"], prog_name="arable")
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Usage: arable {words}")
    assert lines[2].strip()


def test_all_processes_are_there() -> None:
    names = {late.name for late in PROCESSES}
    assert names >= {"up", "server", "agent", "lab", "doctor", "version"}
    both = {"grid"}  # the process stands beside what one asks of it
    assert names & {late.name for late in build().commands.values()} == both


def test_the_version_is_told_in_two_ways() -> None:
    version = arable("--version").stdout.split()[1]
    assert arable("version").stdout.split()[:2] == ["arable", version]


def test_the_doctor_speaks_json(tmp_path) -> None:
    done = arable("doctor", "--data", str(tmp_path), "--output", "json")
    told = json.loads(done.stdout)
    assert done.returncode == (0 if told["real"] else 1)
    assert {"root", "KVM"} <= {finding["name"] for finding in told["findings"]}
    assert told["real"] == all(finding["health"] != "missing" for finding in told["findings"])


def test_an_agent_without_configuration_or_token_says_so(tmp_path) -> None:
    done = arable("agent", "run", "--config", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    done = arable("agent", "join", "--config", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stderr) == (2, "error: there was no token\n")
