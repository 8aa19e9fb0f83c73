"""Waiting for operations: a bar where somebody watches, a line for each step where a program does."""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from arable.cli.faults import Failed, Interrupted, harmless, say

if TYPE_CHECKING:
    from arable.cli.speaking import Cli
    from arable.wire.operations import OperationOut

TRIES, PAUSE = 60, 1.0  # seconds, while no server answers


def until_done(cli: "Cli", ids: Iterable[str], what: str = "") -> "list[OperationOut]":
    """Wait for all of them, one after the other: what the others do meanwhile is done when their turn comes.

    All are waited for even if one fails; then the first failure is raised.
    """
    from arable.client.errors import OperationFailed

    done: list[OperationOut] = []
    failure: OperationFailed | None = None
    for id_ in ids:
        try:
            done.append(_one(cli, id_, what))
        except OperationFailed as error:
            if failure is not None:
                say(f"error: {failure.operation.kind} failed: {failure}")
            failure = error
    if failure is not None:
        raise failure
    return done


def _one(cli: "Cli", id_: str, what: str) -> "OperationOut":
    """One of them. A server that is away for a while, to be restarted perhaps, is waited for too."""
    from arable.client.errors import Unavailable, Unreachable

    away = 0
    try:
        with _shown(what) as progress:

            def seen(now: "OperationOut") -> None:
                nonlocal away
                away = 0
                progress(now)

            while True:
                try:
                    return cli.cloud.operations.wait(id_, seconds=cli.timeout, progress=seen)
                except (Unreachable, Unavailable) as error:
                    away += 1
                    if away > TRIES:
                        raise Failed(str(error), todo=f"it may go on without us; `arable operation wait {id_}` waits on") from error  # fmt: skip
                    if away == 1:
                        say(f"{error}; trying again")
                    threading.Event().wait(PAUSE)
    except KeyboardInterrupt:
        raise Interrupted(
            f"it goes on without you; `arable operation wait {id_}` waits on"
        ) from None


@contextmanager
def _shown(what: str) -> Iterator[Any]:
    if sys.stderr.isatty():
        with _bar(what) as bar:
            yield bar
    else:
        yield Lines(what)


class Lines:
    """A line for each step, for logs and pipes."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen = 0
        self._counted = (-1, -1)

    def __call__(self, now: "OperationOut") -> None:
        """Say what is new."""
        name = self._what or now.kind
        for step in now.steps[self._seen :]:
            say(f"{name}: {step.text}")
        self._seen = max(self._seen, len(now.steps))
        counted = (now.total - now.pending, now.total)
        if counted != self._counted or now.state != "running":
            say(f"{name}: {now.state}, {counted[0]} of {counted[1]}")
        self._counted = counted


@contextmanager
def _bar(what: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.fields[what]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task("", total=None, what=escape(what), step="")

        def show(now: "OperationOut") -> None:
            step = now.steps[-1].text if now.steps else ""
            progress.update(
                task,
                total=max(now.total, 1),
                completed=now.total - now.pending if now.state != "done" else max(now.total, 1),
                what=escape(harmless(what or now.kind)),
                step=escape(harmless(step)),
            )

        yield show
