"""`arable grid`: the grid manager as a process, beside what one asks of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from arable.cli.app import SETTINGS, noun_group
from arable.cli.loading import spared
from arable.cli.nouns import NOUNS
from arable.processes.data_option import default_data
from arable.processes.foreseen import told
from arable.processes.log_option import Log, Verbose
from arable.runtime.log import Form, configure


def _default_data() -> Path:
    """Beside a cloud of this machine: the grid manager is another thing with another store."""
    return default_data() / "grid"


def up(
    data: Annotated[
        Path,
        typer.Option(
            envvar="ARABLE_GRID_DATA",
            default_factory=_default_data,
            show_default="~/.local/share/arable/grid",
            help="The grid manager's data directory.",
        ),
    ],
    database: Annotated[
        str,
        typer.Option(
            envvar="ARABLE_GRID_DATABASE",
            help="URL of a PostgreSQL of its own. Left out: SQLite in the data directory."
            " A URL with a password belongs into the environment.",
        ),
    ] = "",
    listen: Annotated[
        str, typer.Option(help="HOST:PORT where regions find the grid manager (mutual TLS).")
    ] = "127.0.0.1:8444",
    api: Annotated[
        str, typer.Option(help="HOST:PORT of its operators' API; port 0 takes any that is free.")
    ] = "127.0.0.1:8481",
    api_fd: Annotated[
        int | None,
        typer.Option(help="A listening socket that was handed over, instead of --api."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS of the API: the certificate chain, PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="TLS of the API: the private key, PEM.")] = None,
    log: Log = Form.TEXT,
    verbose: Verbose = False,
) -> None:
    """Run the grid manager until Ctrl-C: regions tell it what they have, and hear what others have."""
    with spared():
        from arable.processes.grid import GridConfig, run

    configure(log, "grid", verbose=verbose)
    config = GridConfig(
        data=data,
        database=database,
        listen=listen,
        api=api,
        api_fd=api_fd,
        certificate=certificate,
        key=key,
    )
    with told():
        run(config)


def group() -> Any:
    """`arable grid`, with its verbs."""
    from typer.main import get_command

    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command("up", context_settings=SETTINGS)(up)
    made = noun_group(NOUNS["grid"])
    command = get_command(app)
    command.name = "up"
    made.commands["up"] = command
    return made
