"""Whether a command line of `arable` would be understood, found out without running it."""

import shlex
from collections.abc import Iterator
from typing import Any

from arable.cli.app import build
from arable.processes.main import PROCESSES

_ENDS = {"|", "||", "&&", ";", "&", ">", "2>", "<", "-"}
_TOP = build(PROCESSES)


def commands(text: str) -> Iterator[list[str]]:
    """The words after each `arable` in some lines for a shell."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        starts = [at for at, word in enumerate(words) if word == "arable"]
        for at in starts:
            rest = words[at + 1 :]
            ends = [end for end, word in enumerate(rest) if word in _ENDS]
            yield rest[: ends[0]] if ends else rest


def fault(words: list[str]) -> str:
    """What is wrong with it; empty if nothing is. Capital letters stand for what a reader puts there."""
    command, said = _TOP, ["arable"]
    options = set(_options(_TOP))
    for word in words:
        if word == "--":
            break
        if word.startswith("-"):
            name = word.partition("=")[0]
            if name not in options:
                return f"`{' '.join(said)}` has no option {name}"
        elif getattr(command, "commands", None) and not word.isupper():
            if word not in command.commands:
                return f"`{' '.join(said)}` has no command {word}"
            command = command.commands[word]
            command = command.make() if hasattr(command, "make") else command
            options |= set(_options(command))
            said.append(word)
        elif getattr(command, "commands", None):
            break
    return ""


def _options(command: Any) -> Iterator[str]:
    yield from ("-h", "--help")
    for parameter in command.params:
        yield from parameter.opts
        yield from parameter.secondary_opts
