"""What went wrong, told to a person: what, which field, what to do, and the request's id for a question to the operator.

Status 2 for what was typed wrongly, 1 for what was asked rightly and could not be done, 130 after Ctrl-C.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import typer

from arable.cli.nouns import BY_FIELD
from arable.wire.operations import FailureOut
from arable.wire.regions import IN_NO_GRID


class Misused(Exception):
    """What was typed can't be meant. Nothing was asked of the server, or nothing that changes anything."""

    def __init__(self, what: str, *, field: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what, self.field, self.todo = what, field, todo


class Failed(Exception):
    """What was asked can't be done, for a reason that we found ourselves."""

    def __init__(self, what: str, *, todo: str = "") -> None:
        super().__init__(what)
        self.what, self.todo = what, todo


class Interrupted(Exception):
    """Ctrl-C while something goes on without us."""


def harmless(text: object) -> str:
    """Text from elsewhere without what a terminal would obey."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )


def say(text: str) -> None:
    """Beside the answer: on standard error, so that the answer can be piped."""
    print(harmless(text), file=sys.stderr, flush=True)


@contextmanager
def told() -> Iterator[None]:
    """Errors are said, and become the exit status."""
    from arable.client import errors

    try:
        yield
    except Misused as error:
        say(f"error: {error.field}: {error.what}" if error.field else f"error: {error.what}")
        _advise(error.todo)
        raise typer.Exit(2) from error
    except Failed as error:
        say(f"error: {error.what}")
        _advise(error.todo)
        raise typer.Exit(1) from error
    except errors.Refused as error:
        _refused(error)
        raise typer.Exit(1) from error
    except errors.OperationFailed as error:
        operation = error.operation
        say(f"error: {operation.kind} failed: {error}")
        if operation.error is not None:
            _causes(operation.error, "  ")
            _facts(operation.error.why)
        say(f"  operation: {operation.id}")
        raise typer.Exit(1) from error
    except errors.StillRunning as error:
        say(f"error: {error}")
        _advise(f"it goes on; `arable operation wait {error.operation.id}` waits on")
        raise typer.Exit(1) from error
    except errors.Unreachable as error:
        say(f"error: {error}")
        _advise("check --url and the profile; what was asked may or may not have been done: look")
        raise typer.Exit(1) from error
    except errors.CallError as error:
        say(f"error: {error}")
        raise typer.Exit(1) from error
    except (Interrupted, KeyboardInterrupt) as error:
        say(str(error) or "interrupted")
        raise typer.Exit(130) from error


def _refused(error: Any) -> None:
    problem = error.problem
    say(f"error: {problem.detail or problem.title}")
    for field, reason in error.fields.items():
        say(f"  field: {field}" if reason == problem.detail else f"  {field}: {reason}")
    _facts(problem.why)
    _advise(_todo(error))
    if error.request:
        say(f"  request: {error.request}")


def _todo(error: Any) -> str:
    if IN_NO_GRID in (error.problem.detail or ""):
        return (
            "have its operator join it to a grid: `arable grid token` at the grid manager, then `arable region join` here"
            ' (docs/regions.md, "Join, leave, be removed"); or leave out the region'
        )
    return _TODO.get(type(error).__name__, "").replace("NOUN", _noun(error.fields))


def _noun(fields: Mapping[str, str]) -> str:
    """What is listed to find what was not there: the field says it, where it is one that names something."""
    (field, *_more) = fields or ("",)
    return BY_FIELD.get(field.rpartition(".")[2], "NOUN")


_TODO = {
    "Unauthenticated": "sign in with `arable login`, or set ARABLE_TOKEN",
    "Forbidden": "`arable whoami` says what you may; an administrator can give you another role",
    "NotFound": "see what there is with `arable NOUN list`",
    "LimitExceeded": "`arable limit show` says what is used; an operator can raise it",
    "Stale": "somebody changed it meanwhile; look at it and try again",
    "TooOften": "try again in a while",
    "Unavailable": "try again in a while",
    "NoRoom": "try a smaller offering or another zone, or ask the operator for more room",
}


def _advise(todo: str) -> None:
    if todo:
        say(f"  what to do: {todo}")


def _causes(failure: FailureOut, indent: str) -> None:
    alike = Counter(msgspec.json.encode(cause) for cause in failure.causes)
    for cause in failure.causes:
        times = alike.pop(msgspec.json.encode(cause), 0)
        if times:
            again = f" ({times} times)" if times > 1 else ""
            say(f"{indent}because: {cause.detail or cause.title}{again}")
            _causes(cause, indent + "  ")


def _facts(why: Any, indent: str = "  ") -> None:
    """Facts as lines: which rule refused how many hosts, what the limit is."""
    if isinstance(why, dict):
        for name, fact in why.items():
            if isinstance(fact, dict | list) and fact:
                say(f"{indent}{name}:")
                _facts(fact, indent + "  ")
            else:
                say(f"{indent}{name}: {fact}")
    elif isinstance(why, list):
        for fact in why:
            _facts(fact, indent) if isinstance(fact, dict | list) else say(f"{indent}{fact}")
    elif why is not None:
        say(f"{indent}{why}")
