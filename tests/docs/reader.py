"""Somebody who reads a page and types what it says, in a home and a folder of their own, and looks at what comes out."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pages import ROOT, Step

WRITTEN = "http://127.0.0.1:8480"  # what pages call the API's address
_BEGIN, _END = "\x1e", "\x1f"
_ID = re.compile(r"\b([a-z]{1,15})-0[0-9a-z]{19}\b")
_WHEN = re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ")
_ANY = "…"
_PAGE_TAKES = 400.0
_UP_TAKES = 400.0


@dataclass(frozen=True)
class Reader:
    """Their home. `url` is the cloud's, once one is up; `tools` has an `arable` to type instead of the installed one."""

    home: Path
    url: str = WRITTEN
    tools: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of whoever runs the test but the tools, and what a machine needs to make a guest image once."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ARABLE_", "XDG_"))}
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        bin_ = str(Path(sys.executable).parent)
        return kept | {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": cache,
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "COLUMNS": "200",
        }

    def read(self, steps: Sequence[Step]) -> None:
        """Type all of it, in order, into one shell. Fails with the first thing that is not as the page says."""
        here = self.home / "here"
        here.mkdir(exist_ok=True)
        if not (here / "examples").exists():
            (here / "examples").symlink_to(ROOT / "examples")
        environment = self.environment | {"ARABLE_URL": self.url}
        if self.tools:
            environment["PATH"] = f"{self.tools}:{environment['PATH']}"
        said = _typed(self._script(steps), here, environment)
        for number, step in enumerate(steps):
            begun = said.split(f"{_BEGIN}{number}\n", 1)
            assert len(begun) == 2, f"line {step.line} was never reached:\n{said[-2000:]}"
            printed, ended, rest = begun[1].partition(_END)
            assert ended, f"line {step.line} failed: {step.text}\n{printed}"
            status = int(rest.partition("\n")[0])
            assert (status != 0) is step.refused, f"line {step.line}: status {status}\n{printed}"
            if step.prints is not None:
                self._compare(step, printed)

    def _script(self, steps: Sequence[Step]) -> str:
        parts = ["set -eu"]
        for number, step in enumerate(steps):
            text = step.text.replace(WRITTEN, self.url)
            parts.append(f"printf '{_BEGIN}%s\\n' {number}")
            parts.append(f"set +e\n{text}\nstatus=$?\nset -e" if step.refused else f"{text}\nstatus=0")  # fmt: skip
            parts.append(f"printf '{_END}%s\\n' $status")
        return "\n".join(parts) + "\n"

    def _compare(self, step: Step, printed: str) -> None:
        """Every line of the page was printed, and no other one unless the page says `…`. Ids and times are anybody's."""
        found = Counter(map(self._plain, printed.splitlines()))
        wanted = Counter(map(self._plain, step.prints or ()))
        rest = wanted.pop(_ANY, 0)
        assert not wanted - found, f"line {step.line} does not print {wanted - found}:\n{printed}"
        assert rest or not found - wanted, f"line {step.line} prints more: {found - wanted}"

    def _plain(self, line: str) -> str:
        line = line.replace(str(self.home), "~").replace(self.url, WRITTEN)
        line = _WHEN.sub("TIME", _ID.sub(r"\1-ID", line))
        return " ".join(line.split())

    @contextmanager
    def cloud(self, command: str) -> "Iterator[Reader]":
        """Another terminal, in which this command runs a cloud."""
        argv = [*shlex.split(command), "--api", "127.0.0.1:0"]
        errors = self.home / "up.errors"
        with errors.open("wb") as err:
            up = subprocess.Popen(
                argv,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                cwd=ROOT,
                env=self.environment,
                start_new_session=True,
            )
        try:
            yield Reader(self.home, _address(up, errors), self.tools)
        finally:
            up.send_signal(signal.SIGINT)
            up.communicate(timeout=_UP_TAKES)
        assert up.returncode in (0, 130), errors.read_text()


def _address(up: "subprocess.Popen[str]", errors: Path) -> str:
    assert up.stdout
    told = []
    for line in up.stdout:
        told.append(line)
        if found := re.search(r"API +(http://\S+)/v1", line):
            return found[1]
    raise AssertionError(f"it did not come up:\n{''.join(told)}{errors.read_text()}")


def _typed(script: str, here: Path, environment: dict[str, str]) -> str:
    """What the shell prints. Whatever it started in the background ends with it."""
    shell = subprocess.Popen(
        ["bash", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=here,
        env=environment,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate(timeout=_PAGE_TAKES)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return said
