"""Until when each guest with a lease may run: a small file for each, written by the agent and read by the watchdog.

The watchdog (`processes/watchdog.py`) must work without us and without anything of ours, so the file is plain JSON
that only it and this module know. It is replaced whole, and not synchronised: after a power cut nothing runs. A full disk does
not hinder that (`kept_file.py`), or the watchdog would stop guests that have their disks elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from arable.agent.kept_file import KeptFile
from arable.domain.ids import MachineId

FOLDER = "deadlines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """One guest of one epoch. `at` is in seconds since the machine's start, already with all margins.

    `marks` are parts of its hypervisor's command line that no other process has together, on this host or another.
    """

    machine: MachineId
    epoch: int
    at: float
    marks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unlike that of any other guest and epoch."""
        return f"{self.machine}.e{self.epoch}"


class Deadlines(Protocol):
    """Where they are written."""

    def set(self, deadline: Deadline) -> None:
        """From now on this one counts."""

    def drop(self, name: str) -> None:
        """There is no such guest any more."""

    def all(self) -> Mapping[str, MachineId]:
        """Names of those that were set, also by an earlier agent, and whose they are."""


class DeadlineFiles:
    """`Deadlines` in a directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = directory

    def set(self, deadline: Deadline) -> None:
        text = json.dumps(
            {"machine": deadline.machine, "deadline": deadline.at, "marks": deadline.marks}
        )
        self._file(deadline.name).write(text.encode())

    def drop(self, name: str) -> None:
        self._file(name).remove()

    def all(self) -> Mapping[str, MachineId]:
        names = (path.name for path in self._folder.iterdir() if not path.name.startswith("."))
        return {name: MachineId(name.partition(".")[0]) for name in names}

    def _file(self, name: str) -> KeptFile:
        return KeptFile(self._folder / name, durable=False)


class DeadlineMemory:
    """`Deadlines` of a simulated host; they outlive its agent."""

    def __init__(self) -> None:
        self.held: dict[str, Deadline] = {}

    def set(self, deadline: Deadline) -> None:
        self.held[deadline.name] = deadline

    def drop(self, name: str) -> None:
        self.held.pop(name, None)

    def all(self) -> Mapping[str, MachineId]:
        return {name: deadline.machine for name, deadline in self.held.items()}
