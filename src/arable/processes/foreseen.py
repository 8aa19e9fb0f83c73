"""How a command ends that went wrong in a way we know: one line, and status 1."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from arable.client.errors import CallError
from arable.domain.errors import CloudError


@contextmanager
def told() -> Iterator[None]:
    """What we foresaw is said in one line, with status 1."""
    try:
        yield
    except CloudError as error:
        typer.echo(f"error: {error.public}", err=True)
        raise typer.Exit(1) from error
    except CallError as error:
        typer.echo(f"error: the cloud said: {error}", err=True)
        raise typer.Exit(1) from error
    except PermissionError as error:
        typer.echo("error: the lab belongs to root", err=True)
        raise typer.Exit(1) from error
