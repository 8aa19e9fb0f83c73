"""Questions to the machine we run on, as a value that a test can answer instead.

`Ask` is what `doctor.py` needs: run a short command, find a program, read a file. Nothing that is asked changes the
machine: what must be tried out is tried in namespaces that end with the command.
"""

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from arable.domain.errors import CloudError
from arable.drivers.storage.jail import Bounds, Jail
from arable.runtime.clock import RealClock

_PATIENCE = 30  # seconds; each command ends at once where it works at all
_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # not on the path of whoever is not root


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said (both ways), and whether it went well. A command that is not there did not."""

    ok: bool
    text: str = ""

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0].strip()


@dataclass(frozen=True, slots=True)
class Space:
    """A file system, in bytes, and whether it can hold files without a name (`O_TMPFILE`)."""

    total: int
    free: int
    nameless_files: bool


class Ask(Protocol):
    """Everything one may ask."""

    def run(self, *command: str, stdin: str = "") -> Answer:
        """Run a command to its end."""

    def finds(self, program: str) -> bool:
        """Whether a program is on the path."""

    def imports(self, module: str) -> bool:
        """Whether a Python module is installed."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file; `*` stands for anything."""

    def read(self, path: str) -> str:
        """The text of a file; empty when there is none."""

    def is_root(self) -> bool:
        """Whether we run as root."""

    def kvm(self, cache: Path) -> Answer:
        """Whether a guest makes progress under KVM, tried once and kept in `cache`."""

    def jail(self) -> Answer:
        """Whether a program runs in the jail for image tools."""

    def cores(self) -> int:
        """Processors that we may use."""

    def space(self, folder: Path) -> Space:
        """The file system on which `folder` is or would be."""


class ThisMachine:
    """`Ask`, answered truly."""

    def run(self, *command: str, stdin: str = "") -> Answer:
        path = _path()
        try:
            done = subprocess.run(
                command,
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
                env={**os.environ, "LC_ALL": "C.UTF-8", "PATH": path},
            )
        except subprocess.TimeoutExpired:
            return Answer(False, f"{command[0]} did not end within {_PATIENCE} s")
        except OSError as error:
            return Answer(False, f"{command[0]}: {error.strerror}")
        return Answer(done.returncode == 0, done.stdout.strip())

    def finds(self, program: str) -> bool:
        return shutil.which(program, path=_path()) is not None

    def imports(self, module: str) -> bool:
        return importlib.util.find_spec(module) is not None

    def exists(self, path: str) -> bool:
        return any(Path("/").glob(path.lstrip("/")))

    def read(self, path: str) -> str:
        try:
            return Path(path).read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def kvm(self, cache: Path) -> Answer:
        from arable.drivers.hypervisor import probe

        try:
            found = probe.usable_kvm(cache)
        except OSError as error:
            return Answer(False, f"KVM could not be tried: {error.strerror}")
        return Answer(found.usable, found.told)

    def jail(self) -> Answer:
        try:
            done = Jail(RealClock(), Bounds(seconds=_PATIENCE)).run("true", [])
        except CloudError as error:
            return Answer(False, error.detail or error.public)
        return Answer(done.ok, done.told)

    def cores(self) -> int:
        return len(os.sched_getaffinity(0))

    def space(self, folder: Path) -> Space:
        while not folder.is_dir():
            folder = folder.parent
        disk = os.statvfs(folder)
        try:
            os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
            nameless = True
        except OSError:
            nameless = False
        return Space(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize, nameless)


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM}"
