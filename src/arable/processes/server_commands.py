"""`arable server`: its options."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from arable.processes.data_option import Data
from arable.processes.foreseen import told
from arable.processes.server import ServerConfig, run

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"


def command(
    data: Data,
    database: Annotated[
        str,
        typer.Option(
            envvar="ARABLE_DATABASE",
            help="URL of a PostgreSQL shared by all servers. Left out: SQLite in the data directory."
            " A URL with a password belongs into the environment.",
        ),
    ] = "",
    api: Annotated[
        str, typer.Option(help="HOST:PORT of the API; port 0 takes any that is free.")
    ] = "127.0.0.1:8480",
    gateway: Annotated[
        str, typer.Option(help="HOST:PORT where agents find their server (mutual TLS).")
    ] = "127.0.0.1:8443",
    gateway_fd: Annotated[
        int | None,
        typer.Option(help="A listening socket that was handed over, instead of --gateway."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="A name or address by which agents reach the gateway; may be said again."
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS of the API: the certificate chain, PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="TLS of the API: the private key, PEM.")] = None,
    inbox: Annotated[
        Path | None, typer.Option(help="Directory where operators lay image files.")
    ] = None,
) -> None:
    """Run a management server until Ctrl-C: the API, the agents' gateway, the controllers."""
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    config = ServerConfig(
        data=data,
        database=database,
        api=api,
        gateway=gateway,
        gateway_fd=gateway_fd,
        names=tuple(name or ()),
        certificate=certificate,
        key=key,
        inbox=inbox,
    )
    with told():
        run(config)
