"""The management servers of a lab: ordinary processes of this machine, with one foot in the lab.

A socket belongs to the namespace it was made in, whoever uses it. So the socket on which agents find their server is
made inside the lab's management segment and handed to `arable server`, and nothing of the lab needs a cable into
the machine's own network.
"""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import msgspec

from arable.domain.errors import Unavailable
from arable.drivers.namespaces import inside
from arable.lab import living
from arable.lab.devices import environment
from arable.lab.living import Process
from arable.lab.power import Site
from arable.lab.record import Record, ServerRecord
from arable.lab.topology import GATEWAY_PORT, Region


def gateway_socket(site: Site, region: Region) -> socket.socket:
    """Listens where the region's hosts look for their management server."""

    def listen() -> socket.socket:
        return socket.create_server((region.server, GATEWAY_PORT), backlog=1024)

    try:
        return inside(site.place.namespace(region.name), listen)
    except OSError as error:
        told = f"nothing can listen at {region.server} in {region.name}: {error.strerror}"
        raise Unavailable(told) from error


def start(site: Site, region: Region, argv: Sequence[str]) -> Process:
    """Start the region's server; `argv` gets the gateway's file descriptor appended. Its own session: Ctrl-C is ours."""
    log = site.place.log(f"server-{region.name}")
    with gateway_socket(site, region) as gateway:
        door = gateway.fileno()
        words = [*argv, "--gateway-fd", str(door)]
        # Not by `subprocess`, which would look after it: it outlives this call, and perhaps this process.
        pid = os.posix_spawnp(
            words[0],
            words,
            environment(site.place.id),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, door, door),  # this is how it gets inherited
            ],
            setsid=True,
        )
    server = living.process(pid)
    if server is None or not server.alive:
        raise Unavailable("the management server ended at once; its log says why")
    note(site, region.name, ServerRecord(argv=tuple(argv), process=server))
    return server


def answers(site: Site, region: Region, process: Process, api: str) -> None:
    """Its API answers at that URL. Started again it does so there, whatever port it was told to choose by itself."""
    known = site.place.read().servers[region.name]
    words = list(known.argv)
    words[words.index("--api") + 1] = api.partition("://")[2]
    note(site, region.name, ServerRecord(argv=tuple(words), process=process))


def restart(site: Site, region: Region) -> Process:
    """Start a server that was stopped, as it was started before; one that runs is left alone."""
    known = site.place.read().servers.get(region.name)
    if known is None:
        raise Unavailable(f"no management server was ever started in {region.name}")
    if known.process and known.process.alive:
        return known.process
    return start(site, region, known.argv)


def stop(site: Site, region: Region, *, grace: timedelta = timedelta()) -> None:
    """No server runs in the region when this returns; without grace it never learns why. Noted as wanted so."""
    known = site.place.read().servers.get(region.name)
    if known and known.process:
        note(site, region.name, ServerRecord(argv=known.argv))
        living.end([known.process], site.clock, grace=grace)


def note(site: Site, region: str, server: ServerRecord) -> None:
    """Write it down for others."""

    def change(record: Record, name: str) -> Record:
        return msgspec.structs.replace(record, servers={**record.servers, name: server})

    site.place.change(partial(change, name=region))
