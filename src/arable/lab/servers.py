"""The management servers of a lab: ordinary processes of this machine, with one foot in the lab.

A socket belongs to the namespace it was made in, whoever uses it. So the socket on which agents find their server is
made inside the lab's management segment and handed to `arable server`, and nothing of the lab needs a cable into
the machine's own network.

Where a region has several, they have to find each other as well, and each can be cut off from all others. So each of
them lives on a device of its own, and the other way round gets a socket of the machine's own network handed: that of
its API. A PostgreSQL of this machine they reach by its socket's path. The same goes for servers that find other regions
over a WAN, and for the grid manager, which is one of the lab's servers here and has no hosts.
"""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Address

import msgspec

from arable.domain.errors import Conflict, NotFound, Unavailable
from arable.drivers.namespaces import RUN, inside
from arable.lab import living
from arable.lab.devices import environment
from arable.lab.living import Process
from arable.lab.plan import Kind
from arable.lab.power import Site
from arable.lab.record import Record, ServerRecord
from arable.lab.topology import GATEWAY_PORT, GRID, Server, Topology


def known(site: Site, name: str) -> Server:
    """The server of that name; raises `NotFound` that lists the names there are."""
    found = {server.name: server for _, server in of(site.place.read().topology)}
    if name not in found:
        raise NotFound(f"no server {name!r} in this lab; there are {', '.join(sorted(found))}")
    return found[name]


def of(topology: Topology) -> Iterator[tuple[str, Server]]:
    """All servers with the name of their region; the grid manager has none."""
    if topology.grid:
        yield "", Server(GRID, IPv4Address(topology.grid.server))
    for region in topology.regions:
        for server in region.management:
            yield region.name, server


def gateway_socket(site: Site, server: Server) -> socket.socket:
    """Listens where the region's hosts look for this management server."""

    def listen() -> socket.socket:
        return socket.create_server((str(server.address), GATEWAY_PORT), backlog=1024)

    try:
        return inside(site.place.namespace(server.name), listen)
    except OSError as error:
        told = f"nothing can listen at {server.address} in {server.name}: {error.strerror}"
        raise Unavailable(told) from error


def start(site: Site, server: Server, argv: Sequence[str]) -> Process:
    """Start the server; `argv` gets its sockets' file descriptors appended. Its own session: Ctrl-C is ours."""
    log = site.place.log(f"server-{server.name}")
    with ExitStack() as stack:
        doors, words = [], list(argv)
        if server.name != GRID:
            gateway = stack.enter_context(gateway_socket(site, server))
            doors.append(gateway.fileno())
            words += ["--gateway-fd", str(gateway.fileno())]
        if _apart(site, server):
            api = stack.enter_context(_api_socket(argv))
            doors.append(api.fileno())
            words = ["nsenter", f"--net={RUN / site.place.namespace(server.name)}", "--", *words]
            words += ["--api-fd", str(api.fileno())]
        # Not by `subprocess`, which would look after it: it outlives this call, and perhaps this process.
        pid = os.posix_spawnp(
            words[0],
            words,
            environment(site.place.id),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                # this is how they get inherited
                *((os.POSIX_SPAWN_DUP2, door, door) for door in doors),
            ],
            setsid=True,
        )
    process = living.process(pid)
    if process is None or not process.alive:
        raise Unavailable("the management server ended at once; its log says why")
    note(site, server, ServerRecord(argv=tuple(argv), process=process))
    return process


def _apart(site: Site, server: Server) -> bool:
    """Whether it lives in the lab's network, and not in this machine's."""
    return Kind.WAN in {device.kind for device in site.plan.devices.values()} or (
        site.plan.devices[server.name].kind is Kind.SERVER
    )


@contextmanager
def _api_socket(argv: Sequence[str]) -> Iterator[socket.socket]:
    where = argv[argv.index("--api") + 1]
    host, _, port = where.rpartition(":")
    try:
        listening = socket.create_server((host, int(port)), backlog=2048)
    except OSError as error:
        raise Conflict(f"can't listen at {where}: {error.strerror}") from error
    with listening:
        yield listening


def answers(site: Site, server: Server, process: Process, api: str) -> None:
    """Its API answers at that URL. Started again it does so there, whatever port it was told to choose by itself."""
    before = site.place.read().servers[server.name]
    words = list(before.argv)
    words[words.index("--api") + 1] = api.partition("://")[2]
    note(site, server, ServerRecord(argv=tuple(words), process=process))


def restart(site: Site, server: Server) -> Process:
    """Start a server that was stopped, as it was started before; one that runs is left alone."""
    before = site.place.read().servers.get(server.name)
    if before is None:
        raise Unavailable(f"the management server {server.name} was never started")
    if before.process and before.process.alive:
        return before.process
    return start(site, server, before.argv)


def stop(site: Site, server: Server, *, grace: timedelta = timedelta()) -> None:
    """The server does not run when this returns; without grace it never learns why. Noted as wanted so."""
    before = site.place.read().servers.get(server.name)
    if before and before.process:
        note(site, server, ServerRecord(argv=before.argv))
        living.end([before.process], site.clock, grace=grace)


def freeze(site: Site, name: str) -> None:
    """It stands still, with all its connections open."""
    _halt(site, name, frozen=True)


def thaw(site: Site, name: str) -> None:
    """It goes on as if nothing had been."""
    _halt(site, name, frozen=False)


def _halt(site: Site, name: str, *, frozen: bool) -> None:
    now = site.place.read().servers[name]
    if now.process is None or not now.process.alive:
        raise Conflict(f"{name} does not run; `arable lab mend server {name}` starts it")
    note(site, known(site, name), msgspec.structs.replace(now, frozen=frozen))
    now.process.signal(signal.SIGSTOP if frozen else signal.SIGCONT)


def note(site: Site, server: Server, record: ServerRecord) -> None:
    """Write it down for others."""

    def change(whole: Record, name: str) -> Record:
        return msgspec.structs.replace(whole, servers={**whole.servers, name: record})

    site.place.change(partial(change, name=server.name))
