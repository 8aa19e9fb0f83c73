"""Passwords come in by a prompt or by standard input, and leave no trace in what is printed for debugging.

Never by an argument: everybody on a machine can read the arguments of everybody's programs.
"""

import sys
from typing import Any

import msgspec
import typer

from arable.cli.faults import Misused

_HIDDEN = {
    "password",
    "old",
    "new",
    "token",
    "secret",
    "ticket",
    "passwords",
    "user_data",
    "private_key",
    "preshared_key",
    "configuration",
    "contents",
}


def asked(prompt: str, *, stdin: bool, confirm: bool = False) -> str:
    """A password, from the first line of standard input or from a prompt."""
    if stdin:
        line = sys.stdin.readline()
        if not line.rstrip("\r\n"):
            raise Misused("there was no password on standard input", field="--password-stdin")
        return line.rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Misused(
            "a password is needed, and there is no terminal to ask for it",
            todo="give it on standard input, with --password-stdin",
        )
    answer: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


def hidden(body: bytes) -> str:
    """A body as text, what is secret in it left out; what is not JSON is not shown at all."""
    try:
        return msgspec.json.encode(_hidden(msgspec.json.decode(body))).decode()
    except msgspec.DecodeError:
        return f"({len(body)} bytes)"


def _hidden(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: "(hidden)" if name in _HIDDEN and each not in (None, "", True, False) else _hidden(each)
                for name, each in value.items()
            }  # fmt: skip
        case list():
            return [_hidden(each) for each in value]
        case _:
            return value
