"""`arable up`: a whole cloud on this machine, with one command, until Ctrl-C.

With a lab (the default) the hosts are emulated ones that run real machines; with `--lab sim` their hardware is made
up, which any machine can do. The management server, the agents and the API are those of production in both.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from subprocess import Popen

from arable.agent.config import (
    AgentConfig,
    SimAppliancesChoice,
    SimHypervisorChoice,
    SimNetworkChoice,
    SimStorageChoice,
    written,
)
from arable.client.arable import Arable
from arable.domain.errors import BadInput, Unavailable
from arable.drivers import doctor
from arable.lab import bmc, build, cache, guest_image, power, servers, setup
from arable.lab.guest_image import GuestImage
from arable.lab.plan import Kind
from arable.lab.power import Site
from arable.lab.topology import Host, Region, Topology, load
from arable.processes import children, fleet
from arable.processes.server import OPERATOR, Ready, credentials
from arable.runtime.ca import keep
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.wire.users import KeyIn

Say = Callable[[str], None]

EXAMPLES = Path(__file__).parents[3] / "examples"
LOOK = timedelta(milliseconds=500)
_KEY = "setup.key"


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
    """A cloud that is up. `site` is its lab, None where hosts are simulated."""

    wanted: Wanted
    ready: dict[str, Ready] = field(default_factory=dict)
    site: Site | None = None
    children: dict[str, "Popen[bytes]"] = field(default_factory=dict)
    is_new: bool = False  # its first start

    def ended(self) -> str:
        """What of a simulated cloud ended by itself, by name; empty if nothing did."""
        return next((name for name, child in self.children.items() if not _lives(child)), "")

    @property
    def url(self) -> str:
        """Of the first region's API."""
        return self.ready[self.wanted.topology.regions[0].name].api

    @property
    def operator_file(self) -> Path:
        """Where the first operator's password is."""
        return server_data(self.wanted, self.wanted.topology.regions[0]) / OPERATOR

    def operator(self) -> Arable:
        """A client that may do everything in the first region."""
        return _operator(self.wanted, self.wanted.topology.regions[0], self.url)


def server_data(wanted: Wanted, region: Region) -> Path:
    """The data directory of a region's management server."""
    return wanted.data / region.name


@contextmanager
def cloud(wanted: Wanted, clock: Clock, say: Say) -> Iterator[Cloud]:
    """The cloud is up inside the block; nothing of it runs after it. Its data stays."""
    wanted.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = Cloud(wanted)
    made.is_new = not made.operator_file.exists()
    with ExitStack() as stack:
        if wanted.simulated:
            _simulated(made, clock, say, stack)
        else:
            _emulated(made, clock, say, stack)
        yield made


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


def _emulated(made: Cloud, clock: Clock, say: Say, stack: ExitStack) -> None:
    wanted = made.wanted
    guest = guest_image.build(cache.folder("guest"), say)
    regions = wanted.topology.regions
    for region in regions:
        server_data(wanted, region).mkdir(parents=True, exist_ok=True, mode=0o700)

    def prepare(site: Site) -> None:
        for at, region in enumerate(regions):
            made.ready[region.name] = _serve(site, wanted, region, first=at == 0)
            with _operator(wanted, region, made.ready[region.name].api) as operator:
                describe(operator, region, guest)
                setup.invite(operator, site, region)

    say("building the lab, and the cloud's management server meanwhile")
    site = stack.enter_context(build.lab(wanted.topology, wanted.data, clock, [prepare]))
    made.site = site
    for host in site.plan.of(Kind.HOST):
        power.start_agent(site, host.name)
    for region in regions:
        names = {host.name for zone in region.zones for _pod, host in zone.hosts()}
        with _operator(wanted, region, made.ready[region.name].api) as operator:
            setup.await_hosts(
                operator,
                names,
                clock,
                told=lambda host: say(
                    f"{host.name} is up: {host.cpus} CPUs, {host.memory_mib.total} MiB"
                ),
            )
            if region.bmc:
                bmcs, password = bmc.start(site, Entropy.system())
                setup.wire_power(operator, region, bmcs, password)


def _serve(site: Site, wanted: Wanted, region: Region, *, first: bool) -> Ready:
    data = server_data(wanted, region)
    argv = [*_server(wanted, region), "--api", wanted.api if first else "127.0.0.1:0"]
    process = servers.start(site, region, argv)
    log = site.place.log(f"server-{region.name}")
    ready = children.await_ready(data, process.pid, lambda: process.alive, log, site.clock)
    servers.answers(site, region, process, ready.api)
    return ready


def _server(wanted: Wanted, region: Region) -> list[str]:
    argv = [sys.executable, "-m", "arable.processes.main", "server"]
    argv += ["--data", str(server_data(wanted, region))]
    argv += ["--inbox", str(wanted.data / "inbox")]
    return [*argv, "--database", wanted.database] if wanted.database else argv


def describe(operator: Arable, region: Region, guest: GuestImage) -> None:
    """The operator's first day: what there is, what is offered, what can be started."""
    setup.describe(operator, region)
    setup.offer(operator)
    setup.publish(operator, guest)


def _operator(wanted: Wanted, region: Region, url: str) -> Arable:
    """By a key of our own: the operator may change the password, and should."""
    data = server_data(wanted, region)
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
    for at, region in enumerate(wanted.topology.regions):
        data = server_data(wanted, region)
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = data / "server.log"
        api = wanted.api if at == 0 else "127.0.0.1:0"
        argv = [*_server(wanted, region), "--api", api, "--gateway", "127.0.0.1:0"]
        server = stack.enter_context(children.child(argv, log))
        made.children[f"the management server of {region.name}"] = server
        ready = children.await_ready(data, server.pid, partial(_lives, server), log, clock)
        made.ready[region.name] = ready
        with _operator(wanted, region, ready.api) as operator:
            describe(operator, region, _no_guest(data))
            hosts = _invite(operator, ready, data / "hosts", region, clock)
            agents = [sys.executable, "-m", fleet.__name__, str(data / "hosts")]
            child = stack.enter_context(children.child(agents, data / "agents.log"))
            made.children[f"the agents of {region.name}"] = child
            setup.await_hosts(operator, hosts, clock, told=lambda host: say(f"{host.name} is up"))


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
    return AgentConfig(
        directory=home,
        servers=[ready.gateway],
        name=host.name,
        join_token=home / setup.INVITATION,
        roles=list(host.roles),
        tags=list(host.tags),
        hypervisor=SimHypervisorChoice(),
        network=SimNetworkChoice(),
        storage=SimStorageChoice(),
        appliances=SimAppliancesChoice(),
        inventory=setup.inventory(host),
    )


def _no_guest(data: Path) -> GuestImage:
    """An image for machines that nobody starts for real."""
    kernel, initrd = data / "kernel", data / "initrd"
    kernel.write_bytes(b"\x7fELF of a simulated machine")
    initrd.write_bytes(b"070701 of a simulated machine")
    return GuestImage("simulated", kernel, initrd)
