"""`arable watchdog`: for administrators who want it as a service of its own. Agents start one where there is none."""

import os

import typer

from arable.agent.watch import FOLDER
from arable.processes.agent_commands import DEFAULT, Config


def command(config: Config = DEFAULT) -> None:
    """Stop guests whose lease is over, until SIGTERM. One for each host; a second one leaves with status 3."""
    from arable.agent.config import read
    from arable.domain.errors import CloudError
    from arable.processes.agent_leases import watchdog_command

    try:
        found = read(config)
    except CloudError as error:
        typer.echo(f"error: {error.public}", err=True)
        raise typer.Exit(1) from error
    directory = found.directory / FOLDER
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = [*watchdog_command(found.hardware_watchdog), str(directory.resolve())]
    os.execv(words[0], words)  # noqa: S606 - becomes it, and so nothing but it
