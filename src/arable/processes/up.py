"""`arable up`: a whole cloud on this machine, with one command, until Ctrl-C.

With a lab (the default) the hosts are emulated ones that run real machines; with `--lab sim` their hardware is made
up, which any machine can do. The management server, the agents and the API are those of production in both.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from subprocess import Popen

from arable.agent.config import AgentConfig, written
from arable.client.arable import Arable
from arable.domain.errors import BadInput, NotFound, Unavailable
from arable.drivers import doctor
from arable.lab import bmc, build, cache, guest_image, power, router_image, servers, setup
from arable.lab.guest_image import GuestImage
from arable.lab.plan import Kind
from arable.lab.power import Site
from arable.lab.topology import GRID, REGION_PORT, Host, Region, Server, Topology, load
from arable.processes import children, fleet, up_grid
from arable.processes.ready import OPERATOR, GridReady, Ready, credentials
from arable.runtime.ca import keep
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.wire.users import KeyIn

Say = Callable[[str], None]

EXAMPLES = Path(__file__).parents[3] / "examples"
REGION = "{region}"
"""In the URL of a database: the name of the region."""
LOOK = timedelta(milliseconds=500)
AUTHORITY, IMAGES = "authority", "images"
_KEY = "setup.key"
NO_GUEST = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to bring up."""

    data: Path
    topology: Topology
    simulated: bool = False
    api: str = "127.0.0.1:8480"
    database: str = ""


@dataclass(slots=True)
class Cloud:
    """A cloud that is up. `site` is its lab, None where hosts are simulated. `ready` is by management server."""

    wanted: Wanted
    ready: dict[str, Ready] = field(default_factory=dict)
    site: Site | None = None
    children: dict[str, "Popen[bytes]"] = field(default_factory=dict)
    grid: GridReady | None = None  # the grid manager, where the topology has one
    is_new: bool = False  # its first start

    def ended(self) -> str:
        """What of a simulated cloud ended by itself, by name; empty if nothing did."""
        return next((name for name, child in self.children.items() if not _lives(child)), "")

    @property
    def url(self) -> str:
        """Of the first region's API."""
        return self.ready[self.wanted.topology.regions[0].management[0].name].api

    @property
    def operator_file(self) -> Path:
        """Where the first operator's password is."""
        return server_data(self.wanted, self.wanted.topology.regions[0]) / OPERATOR

    def operator(self) -> Arable:
        """A client that may do everything in the first region."""
        return self.operator_of(self.wanted.topology.regions[0])

    def operator_of(self, region: Region) -> Arable:
        """The same of any region: each has operators of its own."""
        data = server_data(self.wanted, region)
        return _operator(data, self.ready[region.management[0].name].api)

    def manager(self) -> Arable:
        """A client that may do everything at the grid manager. Raises `NotFound` where there is none."""
        if self.grid is None:
            raise NotFound("there is no grid manager: the topology has no `grid`")
        return _operator(grid_data(self.wanted), self.grid.api)


def grid_data(wanted: Wanted) -> Path:
    """The data directory of the grid manager."""
    return wanted.data / GRID


def server_data(wanted: Wanted, region: Region) -> Path:
    """The data directory of a region's management server, the first if there are several."""
    return wanted.data / region.management[0].name


@contextmanager
def cloud(
    wanted: Wanted, clock: Clock, say: Say, first: Callable[[Site], None] | None = None
) -> Iterator[Cloud]:
    """The cloud is up inside the block; nothing of it runs after it. Its data stays.

    `first` is done in a lab that has its cables, before its management servers start.
    """
    _check(wanted)
    wanted.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = Cloud(wanted)
    made.is_new = not made.operator_file.exists()
    with ExitStack() as stack:
        if wanted.simulated:
            _simulated(made, clock, say, stack)
        else:
            _emulated(made, clock, say, stack, first)
        yield made


def _check(wanted: Wanted) -> None:
    """Each region has a database of its own, and several servers share one."""
    regions = wanted.topology.regions
    if wanted.database and len(regions) > 1 and REGION not in wanted.database:
        raise BadInput(
            f"{len(regions)} regions can't have the same database: put {REGION} into the URL for the region's name",
            field="database",
        )
    for region in regions:
        if region.servers > 1 and wanted.simulated:
            raise BadInput(
                f"{region.name} has {region.servers} management servers, which takes the lab's network:"
                " make its hosts simulated in the topology instead",
                field="lab",
            )
        if region.servers > 1 and not wanted.database.startswith("postgresql"):
            raise BadInput(
                f"{region.name} has {region.servers} management servers, which share a PostgreSQL: give its URL",
                field="database",
            )


def topology_of(path: Path | None) -> Topology:
    """What to build: the given file, or the data centre that comes with Arable."""
    path = path or EXAMPLES / "lab.yaml"
    if not path.exists():
        raise BadInput(f"there is no topology at {path}; name one with --lab FILE", field="lab")
    return load(path)


def check_machine(data: Path) -> None:
    """Raises `Unavailable` where this machine can't run a lab, with what to do about it."""
    findings = doctor.examine(data)
    if doctor.can_be_real(findings):
        return
    raise Unavailable(
        "this machine can't run an emulated data centre; `arable doctor` says why and what would help."
        " `arable up --lab sim` gives the same cloud on simulated hosts"
    )


# --- emulated hosts, real machines -------------------------------------------------------------------------------


def _emulated(
    made: Cloud,
    clock: Clock,
    say: Say,
    stack: ExitStack,
    before: Callable[[Site], None] | None,
) -> None:
    wanted = made.wanted
    regions = wanted.topology.regions
    for region in regions:
        for server in region.management:
            (wanted.data / server.name).mkdir(parents=True, exist_ok=True, mode=0o700)
    guest, routers = _guest(wanted, say), _routers(wanted, say)

    def prepare(site: Site) -> None:
        if before:
            before(site)
        if wanted.topology.grid:
            made.grid = up_grid.emulated(site, grid_data(wanted))
        for at, region in enumerate(regions):
            first, *others = region.management
            made.ready[first.name] = _serve(site, wanted, region, first, chief=at == 0)
            with made.operator_of(region) as operator:
                describe(operator, region, guest)
                if guest.key != NO_GUEST:  # they are of no use where no guest runs
                    setup.teach(operator)
                setup.invite(operator, site, region, routers)
            for server in others:
                _share(wanted, region, server)
                made.ready[server.name] = _serve(site, wanted, region, server, chief=False)

    say("building the lab, and the cloud's management server meanwhile")
    site = stack.enter_context(build.lab(wanted.topology, wanted.data, clock, [prepare]))
    made.site = site
    for host in site.plan.of(Kind.HOST):
        power.start_agent(site, host.name)
    switched = bmc.start(site, Entropy.system()) if any(r.bmc for r in regions) else None
    for region in regions:
        names = {host.name for zone in region.zones for _pod, host in zone.hosts()}
        with made.operator_of(region) as operator:
            setup.await_hosts(
                operator,
                names,
                clock,
                told=lambda host: say(
                    f"{host.name} is up: {host.cpus} CPUs, {host.memory_mib.total} MiB"
                ),
            )
            if region.bmc and switched:
                setup.wire_power(operator, region, *switched)
    _join(made)


def _join(made: Cloud) -> None:
    """All regions are in the grid, if there is one."""
    if made.grid is None:
        return
    with made.manager() as manager:
        for region in made.wanted.topology.regions:
            with made.operator_of(region) as operator:
                up_grid.join(manager, made.grid, region, operator)


def _guest(wanted: Wanted, say: Say) -> GuestImage:
    """What machines start from; nothing that could start where no host is real."""
    if all(host.simulated for _zone, _pod, host in wanted.topology.hosts()):
        return _no_guest(wanted.data)
    return guest_image.build(cache.folder("guest"), say)


def _routers(wanted: Wanted, say: Say) -> Path | None:
    """What routers start from that are virtual machines; nothing where there will be none."""
    hosts = wanted.topology.hosts()
    if not any(zone.routers == "vm" and not host.simulated for zone, _pod, host in hosts):
        return None
    return router_image.build(cache.folder("guest"), say).folder


def _serve(site: Site, wanted: Wanted, region: Region, server: Server, *, chief: bool) -> Ready:
    """`chief`: its API is where it was asked for; others' are anywhere."""
    data = wanted.data / server.name
    argv = [*_server(wanted, region, data), "--api", wanted.api if chief else "127.0.0.1:0"]
    if wanted.topology.grid:
        argv += ["--grid-port", f"{server.address}:{REGION_PORT}"]
    process = servers.start(site, server, argv)
    log = site.place.log(f"server-{server.name}")
    ready = children.await_ready(data, process.pid, lambda: process.alive, log, site.clock)
    servers.answers(site, server, process, ready.api)
    return ready


def _share(wanted: Wanted, region: Region, server: Server) -> None:
    """All of a region's servers speak for the same authority, whose key is copied once, and have the same images."""
    images = wanted.data / server.name / IMAGES
    if not images.exists():
        images.symlink_to(server_data(wanted, region) / IMAGES)
    own = wanted.data / server.name / AUTHORITY
    if not own.exists():
        fresh = own.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(server_data(wanted, region) / AUTHORITY, fresh)
        fresh.rename(own)


def _server(wanted: Wanted, region: Region, data: Path) -> list[str]:
    argv = [sys.executable, "-m", "arable.processes.main", "server"]
    argv += ["--data", str(data), "--inbox", str(wanted.data / "inbox")]
    database = wanted.database.replace(REGION, region.name)
    return [*argv, "--database", database] if database else argv


def describe(operator: Arable, region: Region, guest: GuestImage) -> None:
    """The operator's first day: what there is, what is offered, what can be started."""
    setup.describe(operator, region)
    setup.offer(operator)
    setup.publish(operator, guest)


def _operator(data: Path, url: str) -> Arable:
    """By a key of our own: the operator may change the password, and should."""
    path = data / _KEY
    if path.exists():
        return Arable(url, path.read_text())
    first = credentials(data)
    with Arable(url) as client:
        client.sign_in(first.name, first.password)
        secret = client.keys.create(KeyIn(name="arable up", expires_in_days=3650)).secret
    assert secret, "a fresh key is told"
    keep(path, secret, Entropy.system())
    return Arable(url, secret)


# --- simulated hosts ---------------------------------------------------------------------------------------------


def _simulated(made: Cloud, clock: Clock, say: Say, stack: ExitStack) -> None:
    wanted = made.wanted
    say("the hosts of this cloud are simulated: machines are not real, everything else is")
    if wanted.topology.grid:
        made.grid, manager = up_grid.simulated(grid_data(wanted), clock, stack)
        made.children["the grid manager"] = manager
    for at, region in enumerate(wanted.topology.regions):
        data = server_data(wanted, region)
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = data / "server.log"
        api = wanted.api if at == 0 else "127.0.0.1:0"
        argv = [*_server(wanted, region, data), "--api", api, "--gateway", "127.0.0.1:0"]
        argv += ["--grid-port", "127.0.0.1:0"]
        server = stack.enter_context(children.child(argv, log))
        made.children[f"the management server of {region.name}"] = server
        ready = children.await_ready(data, server.pid, partial(_lives, server), log, clock)
        made.ready[region.name] = ready
        with _operator(data, ready.api) as operator:
            describe(operator, region, _no_guest(data))
            hosts = _invite(operator, ready, data / "hosts", region, clock)
            agents = [sys.executable, "-m", fleet.__name__, str(data / "hosts")]
            child = stack.enter_context(children.child(agents, data / "agents.log"))
            made.children[f"the agents of {region.name}"] = child
            setup.await_hosts(operator, hosts, clock, told=lambda host: say(f"{host.name} is up"))
    _join(made)


def _lives(process: "Popen[bytes]") -> bool:
    return process.poll() is None


def _invite(
    operator: Arable, ready: Ready, directory: Path, region: Region, clock: Clock
) -> set[str]:
    names = set()
    for zone in region.zones:
        for pod, host in zone.hosts():
            home = directory / f"{zone.name}-{host.name}"
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            setup.admit(operator, pod, host, home, clock)
            config = written(_config(ready, home, host)).decode()
            keep(home / fleet.CONFIG, config, Entropy.system())
            names.add(host.name)
    return names


def _config(ready: Ready, home: Path, host: Host) -> AgentConfig:
    real = AgentConfig(
        directory=home,
        servers=[ready.gateway],
        name=host.name,
        join_token=home / setup.INVITATION,
        roles=list(host.roles),
        tags=list(host.tags),
        inventory=setup.inventory(host),
    )
    return setup.simulated(real)


def _no_guest(data: Path) -> GuestImage:
    """An image for machines that nobody starts for real."""
    kernel, initrd = data / "kernel", data / "initrd"
    kernel.write_bytes(b"\x7fELF of a simulated machine")
    initrd.write_bytes(b"070701 of a simulated machine")
    return GuestImage(NO_GUEST, kernel, initrd)
