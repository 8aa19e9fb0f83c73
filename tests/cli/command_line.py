"""The command line as a person or a script has it: run in this process, against the API that a test serves."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arable.cli.app import build
from serving import PASSWORD, Served


class Terminalless(io.TextIOWrapper):
    """Standard input or output that is a pipe."""

    def __init__(self, text: str = "") -> None:
        super().__init__(io.BytesIO(text.encode()), encoding="utf-8", write_through=True)

    def told(self) -> str:
        return self.buffer.getvalue().decode()


@dataclass
class Ran:
    """What came of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Arable:
    """`arable` for one user, whose home is a directory of the test."""

    home: Path
    environment: dict[str, str]

    def __call__(self, *words: str, stdin: str = "", status: int | None = 0) -> Ran:
        """Run it; any other end than `status` fails the test, None is any."""
        with self._world(stdin) as (out, err):
            try:
                build()(args=list(words), prog_name="arable")
                ended = 0
            except SystemExit as left:
                ended = left.code if isinstance(left.code, int) else 1
        ran = Ran(ended, out.told(), err.told())
        assert status is None or ran.status == status, f"{words}: {ran}"
        return ran

    def json(self, *words: str, **more: Any) -> Any:
        return self(*words, "--output", "json", **more).json

    @contextlib.contextmanager
    def _world(self, stdin: str) -> Iterator[tuple[Terminalless, Terminalless]]:
        out, err = Terminalless(), Terminalless()
        patch = pytest.MonkeyPatch()
        for name in list(os.environ):
            if name.startswith(("ARABLE_", "XDG_")):
                patch.delenv(name)
        patch.setenv("HOME", str(self.home))
        for name, value in self.environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", Terminalless(stdin))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            yield out, err
        finally:
            patch.undo()


def as_user(served: Served, home: Path, token: str) -> Arable:
    return Arable(home, {"ARABLE_URL": served.url, "ARABLE_TOKEN": token})


def signed_out(served: Served, home: Path) -> Arable:
    return Arable(home, {"ARABLE_URL": served.url})


__all__ = ["PASSWORD", "Arable", "Ran", "as_user", "signed_out"]
