"""`arable agent …`: what runs on every host of a cloud."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from arable.cli.loading import spared
from arable.domain.errors import CloudError
from arable.processes.log_option import Log, Verbose
from arable.runtime.log import Form, configure
from arable.runtime.secret import Secret

DEFAULT = Path("/etc/arable/agent.yaml")

Config = Annotated[
    Path, typer.Option("--config", "-c", help="The agent's configuration.", metavar="FILE")
]

app = typer.Typer(
    help="A host's agent: join a cloud, and run.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def run(
    config: Config = DEFAULT,
    log: Log = Form.TEXT,
    verbose: Verbose = False,
) -> None:
    """Run the agent until SIGTERM or Ctrl-C. Machines keep running when it ends."""
    with spared():
        from arable.processes import agent

    configure(log, "agent", verbose=verbose)
    try:
        agent.run(config)
    except CloudError as error:
        _fail(error)


@app.command()
def join(
    config: Config = DEFAULT,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the token is. [default: standard input]", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Give this host an identity, with a one-time token from `arable host invite`.

    The token is read from a file or from standard input: arguments can be read by everybody on a machine.
    """
    with spared():
        from arable.processes import agent

    try:
        text = token_file.read_text() if token_file else _typed()
    except OSError as error:
        typer.echo(f"error: {token_file} can't be read: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    if not text.strip():
        typer.echo("error: there was no token", err=True)
        raise typer.Exit(2)
    try:
        typer.echo(agent.join(config, Secret(text.strip())))
    except CloudError as error:
        _fail(error)


@app.command("router-image")
def build_router_image(
    folder: Annotated[Path, typer.Argument(help="Where images are kept.", metavar="FOLDER")],
) -> None:
    """Build what routers run that are virtual machines (`appliances: {machines: …}`), and say where it is.

    It is made of Debian's kernel, which is fetched with apt, and of the programs and the Python of this machine. One that is
    there already is not built again; running routers keep theirs.
    """
    from arable.lab import router_image

    try:
        made = router_image.build(folder.absolute(), lambda line: typer.echo(line, err=True))
    except CloudError as error:
        _fail(error)
    typer.echo(made.folder)


def _typed() -> str:
    if sys.stdin.isatty():
        answer: str = typer.prompt("Token", hide_input=True, err=True)
        return answer
    return sys.stdin.read()


def _fail(error: CloudError) -> None:
    typer.echo(f"error: {error.public}", err=True)
    raise typer.Exit(1) from error
