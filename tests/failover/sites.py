"""Management servers as processes, as an operator starts them, and agents on simulated hosts that look for them."""

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from arable.agent.config import (
    AgentConfig,
    Given,
    SimAppliancesChoice,
    SimHypervisorChoice,
    SimNetworkChoice,
    SimStorageChoice,
    written,
)
from arable.client.arable import Arable
from arable.client.patience import Patience
from arable.lab import setup
from arable.lab.guest_image import GuestImage
from arable.processes import fleet
from arable.processes.log_option import LOG
from arable.processes.ready import credentials
from arable.runtime.ca import Authority, IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.log import Form
from arable.wire.accounts import LimitsChange
from arable.wire.hosts import JoinTokenIn
from arable.wire.pods import PodIn
from arable.wire.public_ranges import PublicRangeIn
from arable.wire.users import KeyIn
from arable.wire.zones import VlanRange, ZoneIn
from e2e.patience import until

ARABLE = [sys.executable, "-m", "arable.processes.main"]
LEAVES_WITHIN = 60


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as free:
        return int(free.getsockname()[1])


@dataclass
class ManagementServer:
    """One, which may be started and stopped again and again. Its ports stay the same."""

    data: Path
    database: str
    address: str = "127.0.0.1"
    options: Sequence[str] = ()
    tls: bool = False
    api_port: int = 0
    gateway_port: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.api_port = self.api_port or free_port(self.address)
        self.gateway_port = self.gateway_port or free_port(self.address)
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        self._http = httpx.Client(verify=blind, trust_env=False, timeout=10)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}:{self.api_port}"

    @property
    def log(self) -> str:
        return self.data.with_suffix(".log").read_text()

    def start(self) -> None:
        argv = [*ARABLE, "server", "--data", str(self.data)]
        argv += ["--api", f"{self.address}:{self.api_port}"]
        argv += ["--gateway", f"{self.address}:{self.gateway_port}", *self.options]
        environment = os.environ | {"ARABLE_DATABASE": self.database}
        with self.data.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def ready(self) -> tuple[int, str]:
        """What it says to load balancers; 0 when it says nothing."""
        try:
            said = self._http.get(f"{self.url}/readyz")
        except httpx.TransportError:
            return 0, ""
        return said.status_code, said.text.strip()

    def await_ready(self) -> None:
        def look() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log[-3000:]
            return self.ready()[0] == 200

        until(look, f"{self.data.name} is ready")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(LEAVES_WITHIN)

    def close(self) -> None:
        self._http.close()
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)

    def ended(self) -> int | None:
        assert self.process is not None
        return self.process.poll()


@contextmanager
def running(server: ManagementServer) -> Iterator[ManagementServer]:
    """It is killed at the end, if it lives."""
    server.data.mkdir(mode=0o700, exist_ok=True, parents=True)
    server.start()
    try:
        yield server
    finally:
        server.close()


def same_authority(server: ManagementServer, first: Path) -> None:
    """As operators are told to do it before the first start."""
    (server.data / "authority").mkdir(mode=0o700, parents=True)
    copied = server.data / "authority/authority.pem"
    copied.touch(mode=0o600)
    copied.write_bytes((first / "authority/authority.pem").read_bytes())


def certificate(directory: Path, names: Sequence[str]) -> tuple[Path, Path, Path]:
    """For TLS of the API: chain, key, and the authority to trust, made for this test."""
    authority = Authority.create(directory / "tls", RealClock(), Entropy.system())
    made = new_request("api")
    signed = authority.sign(made.request, "api", IdentityKind.SERVER, 24, names)
    chain, key, trust = (directory / name for name in ("chain.pem", "key.pem", "ca.pem"))
    for path, text in ((chain, signed), (key, made.key.reveal()), (trust, authority.pem)):
        path.touch(mode=0o600)
        path.write_text(text)
    return chain, key, trust


def operator_key(server: ManagementServer, ca: str | None = None) -> str:
    """An API key of the first operator's."""
    first = credentials(server.data)
    with Arable(server.url, ca=ca) as client:
        client.sign_in(first.name, first.password)
        secret = client.keys.create(KeyIn(name="test")).secret
    assert secret
    return secret


def describe(operator: Arable, directory: Path) -> None:
    """A zone with a pod, and something to deploy, without limits."""
    operator.zones.create(ZoneIn(name="z", vlans=VlanRange(first=100, last=199), guest_cidr="10.0.0.0/16"))  # fmt: skip
    operator.pods.create(PodIn(zone="z", name="p", cidr="172.30.0.0/24"))
    operator.public_ranges.create(PublicRangeIn(zone="z", cidr="203.0.113.0/24", gateway="203.0.113.1", first="203.0.113.2", last="203.0.113.250", vlan=50))  # fmt: skip
    setup.offer(operator)
    kernel, initrd = directory / "kernel", directory / "initrd"
    kernel.write_bytes(b"\x7fELF of a simulated machine")
    initrd.write_bytes(b"070701 of a simulated machine")
    setup.publish(operator, GuestImage("simulated", kernel, initrd))
    operator.limits.update(operator.users.whoami().account, LimitsChange(machines=None))


def hosts(operator: Arable, below: Path, servers: Sequence[str], count: int) -> list[str]:
    """Simulated hosts that are let in with their agents' first step; their names."""
    names = [f"h{number}" for number in range(count)]
    for name in names:
        home = below / name
        home.mkdir(parents=True, mode=0o700)
        token = operator.join_tokens.create(
            JoinTokenIn(pod="p", roles=["compute", "routing"])
        ).token
        (home / "token").write_text(token or "")
        config = AgentConfig(
            directory=home,
            servers=list(servers),
            name=name,
            join_token=home / "token",
            roles=["compute", "routing"],
            hypervisor=SimHypervisorChoice(),
            network=SimNetworkChoice(),
            storage=SimStorageChoice(),
            appliances=SimAppliancesChoice(),
            inventory=Given(cpus=8, cpu_mhz=16_000, memory_mib=8192, disk_mib=102_400),
        )
        (home / fleet.CONFIG).write_bytes(written(config))
    return names


@contextmanager
def agents(below: Path, before: Sequence[str] = ()) -> Iterator["subprocess.Popen[bytes]"]:
    """Of all hosts below the directory, in one process. `before` goes before the command."""
    with (below / "agents.log").open("ab") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *before, sys.executable, "-m", fleet.__name__, str(below)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {LOG: Form.JSON},  # it says what is done to hosts
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def up(operator: Arable) -> set[str]:
    return {host.name for host in operator.hosts.all() if host.state == "up"}


def connected(operator: Arable) -> set[str]:
    """Hosts whose channel some server has now."""
    return {host.name for host in operator.hosts.all() if host.state == "up" and host.server}


def patient(url: str, token: str, ca: Path | None = None) -> Arable:
    """A client by its contract: whatever may be repeated is."""
    return Arable(url, token, ca=str(ca) if ca else None, patience=Patience(keys=True))


@contextmanager
def haproxy(shipped: Path, directory: Path, changed: Mapping[str, str]) -> Iterator[Path]:
    """The shipped configuration, with the names that a reader would change; its administration socket."""
    control = directory / "haproxy.sock"
    text = shipped.read_text()
    changes = {"    maxconn 60000\n": f"    maxconn 1000\n    stats socket {control}\n", **changed}
    for name, value in changes.items():
        assert name in text, name
        text = text.replace(name, value)
    file = directory / "haproxy.cfg"
    file.write_text(text)
    checked = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False)  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    with ExitStack() as stack:
        log = stack.enter_context((directory / "haproxy.log").open("wb"))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "haproxy", "-db", "-f", str(file)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            until(control.exists, "haproxy runs", 20)
            yield control
        finally:
            process.terminate()
            process.wait(20)


def backends(control: Path) -> dict[tuple[str, str], str]:
    """What haproxy thinks of each server: by (backend, server)."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(control))
        asked.sendall(b"show stat\n")
        said = b""
        while piece := asked.recv(1 << 16):
            said += piece
    rows = [line.split(",") for line in said.decode().splitlines() if line and line[0] != "#"]
    return {(row[0], row[1]): row[17] for row in rows if row[1].startswith("mgmt")}
