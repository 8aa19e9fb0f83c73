"""`arable server`: its options."""

from pathlib import Path
from typing import Annotated

import typer

from arable.processes.data_option import Data
from arable.processes.foreseen import told
from arable.processes.log_option import Log, Verbose
from arable.processes.server import ServerConfig, run
from arable.runtime.log import Form, configure


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
    api_fd: Annotated[
        int | None,
        typer.Option(help="A listening socket that was handed over, instead of --api."),
    ] = None,
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
    segment_address: Annotated[
        str,
        typer.Option(
            help="HOST:PORT where other management servers reach this one's gateway."
            " Left out: where it listens."
        ),
    ] = "",
    called: Annotated[
        str,
        typer.Option(
            help="This server's own name, `server-…`, at its first start; kept in its data directory. Left out: drawn."
        ),
    ] = "",
    site: Annotated[str, typer.Option(help="Where this server stands, for operators.")] = "",
    grid_port: Annotated[
        str,
        typer.Option(
            help="HOST:PORT where other regions find this one once it is in a grid (mutual TLS)."
            " Left out: they can't ask it for images or machines."
        ),
    ] = "",
    grid_address: Annotated[
        str,
        typer.Option(
            help="HOST:PORT where other regions reach that port. Left out: where it listens."
        ),
    ] = "",
    api_address: Annotated[
        str,
        typer.Option(
            help="URL where people reach this region's API, told to other regions for `arable login --region`."
        ),
    ] = "",
    platform: Annotated[
        str,
        typer.Option(
            help="How the master has servers restarted: `none`, `systemd:UNIT` or `subprocess:DIRECTORY`."
        ),
    ] = "none",
    ping: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=60,
            help="Seconds between pings among servers; the same for all. A lease is three of them.",
        ),
    ] = 1.0,
    drain_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            max=3600,
            help="How long to say on /readyz that this server leaves, and go on meanwhile, when it is told to stop."
            " Behind a load balancer: longer than it takes to notice.",
        ),
    ] = 0.0,
    log: Log = Form.TEXT,
    verbose: Verbose = False,
) -> None:
    """Run a management server until Ctrl-C: the API, the agents' gateway, the controllers."""
    configure(log, "server", verbose=verbose)
    config = ServerConfig(
        data=data,
        database=database,
        api=api,
        gateway=gateway,
        api_fd=api_fd,
        gateway_fd=gateway_fd,
        names=tuple(name or ()),
        certificate=certificate,
        key=key,
        inbox=inbox,
        segment_address=segment_address,
        called=called,
        site=site,
        grid_port=grid_port,
        grid_address=grid_address,
        api_address=api_address,
        platform=platform,
        ping=ping,
        drain=drain_seconds,
    )
    with told():
        run(config)
