"""`arable`: the one program. What talks to a cloud is in `cli`; what runs one is put beside it here.

Nothing is imported before it is used: a server's libraries take a second that `arable machine list` does not have.
"""

from typing import Any

import typer

from arable.cli import app
from arable.cli.app import RUN, function, group, late

_HERE = "arable.processes"


def _grid() -> Any:
    """`arable grid`: what one asks of it, and the process."""
    from arable.processes.grid_commands import group as made

    return made()


PROCESSES = (
    late("up", "Bring up a whole cloud on this machine.", RUN, function(f"{_HERE}.up_commands:command")),
    late("server", "Run a management server.", RUN, function(f"{_HERE}.server_commands:command")),
    late("backup", "Write a cloud's store and authority into one file.", RUN, function(f"{_HERE}.backup_commands:save")),
    late("restore", "Put a backup where no cloud is.", RUN, function(f"{_HERE}.backup_commands:load")),
    late("failover", "Make the second site the first one.", RUN, function(f"{_HERE}.failover_command:command")),
    late("doctor", "Say what this machine can and can't do.", RUN, function(f"{_HERE}.doctor_command:command")),
    late("grid", "The grid: all regions in one place; run its manager.", RUN, _grid),
    late("agent", "A host's agent: join a cloud, and run.", RUN, group(f"{_HERE}.agent_commands:app")),
    late("watchdog", "Stop guests whose lease is over; agents start it by themselves.", RUN, function(f"{_HERE}.watchdog_command:command")),
    late("lab", "The emulated data centre: look at it, break it, mend it.", RUN, group(f"{_HERE}.lab_commands:app")),
    late("version", "Print the version.", RUN, function(f"{_HERE}.main:version")),
)  # fmt: skip


def version() -> None:
    """Print the version of Arable, and of the Python that runs it."""
    import platform
    from importlib import metadata

    typer.echo(f"arable {metadata.version('arable')} (Python {platform.python_version()})")


def main() -> None:
    """The entry point."""
    app.build(PROCESSES)(prog_name="arable")


if __name__ == "__main__":
    main()
