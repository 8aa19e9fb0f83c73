"""Two hosts on this machine: a namespace and an Open vSwitch each, joined by a cable that carries 802.1Q.

Every name is fresh, so that runs side by side never meet, and everything goes at the end, whatever failed.
"""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pyroute2 import IPRoute

from arable.drivers import namespaces
from arable.drivers.network.links import Links, switch_offloads_off
from arable.drivers.network.ovs import OvsNetwork
from arable.drivers.network.protocol import Port
from arable.drivers.network.switch import OvsDaemon
from arable.runtime.clock import RealClock
from drivers import make_drivers as make


@dataclass
class Host:
    """An emulated host: its devices and switch are in `netns`."""

    netns: str
    daemon: OvsDaemon
    network: OvsNetwork
    management: str

    def reopened(self) -> OvsNetwork:
        """Another driver object for the same host."""
        return OvsNetwork(
            self.daemon.db,
            "br-int",
            "up0",
            RealClock(),
            netns=self.netns,
            tunnel=self.management,
        )


@contextmanager
def namespace(part: str) -> Iterator[str]:
    """A fresh network namespace with its loopback up."""
    name = f"art-{make.fresh('nic')[-8:]}-{part}"
    namespaces.create(name)
    try:
        Links(name).raise_up("lo")
        yield name
    finally:
        namespaces.remove(name)


@contextmanager
def cabled_hosts(folder: Path, count: int = 2) -> Iterator[list[Host]]:
    """One or two hosts that may have VNIs; the other end of a single host's uplink is left hanging in its own namespace."""
    with ExitStack() as stack:
        names = [stack.enter_context(namespace(f"h{n}")) for n in range(1, count + 1)]
        Links(names[0]).make_veth("up0", "up1")
        if count == 2:
            move(names[0], "up1", names[1], "up0")
        else:
            Links(names[0]).raise_up("up1")
        hosts = []
        for n, name in enumerate(names, 1):
            Links(name).raise_up("up0")
            daemon = OvsDaemon(folder / f"ovs{n}", RealClock(), name)
            stack.callback(daemon.stop)
            daemon.start()
            address = f"172.31.0.{n}"
            network = daemon.lay_host_bridge("br-int", "up0", "mgmt0", tunnel=address)
            configure(name, "mgmt0", address)
            hosts.append(Host(name, daemon, network, address))
        yield hosts


@contextmanager
def station(host: Host, port: Port, mask: int = 24, *, addressed: bool = True) -> Iterator[str]:
    """A guest with a network stack of its own: a namespace, behind one end of a veth that is plugged as a tap."""
    with namespace("guest") as name:
        Links(host.netns).make_veth(port.device, port.peer or "guest-end")
        move(host.netns, port.peer or "guest-end", name, "eth0")
        host.network.ensure(replace(port, peer=""))
        configure(name, "eth0", port.address if addressed else "", mask, port.mac)
        try:
            yield name
        finally:
            host.network.remove(port.nic)


def move(netns: str, device: str, to: str, name: str) -> None:
    """A device changes its namespace and its name there."""

    def act() -> None:
        with IPRoute() as ip, (namespaces.RUN / to).open("rb") as door:
            (index,) = ip.link_lookup(ifname=device)
            ip.link("set", index=index, net_ns_fd=door.fileno(), ifname=name)

    namespaces.inside(netns, act)


def configure(netns: str, device: str, address: str = "", mask: int = 24, mac: str = "") -> None:
    """An address of its own for a device, which is up then."""

    def act() -> None:
        switch_offloads_off(device)
        with IPRoute() as ip:
            (index,) = ip.link_lookup(ifname=device)
            if mac:
                ip.link("set", index=index, address=mac)
            ip.link("set", index=index, state="up")
            if address:
                ip.addr("add", index=index, address=address, prefixlen=mask)

    namespaces.inside(netns, act)


def route(netns: str, gateway: str) -> None:
    def act() -> None:
        with IPRoute() as ip:
            ip.route("add", dst="0.0.0.0/0", gateway=gateway)

    namespaces.inside(netns, act)


def run(
    netns: str, words: Sequence[str], seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """A program inside a namespace."""
    return namespaces.inside(
        netns,
        lambda: subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        ),
    )


def reaches(netns: str, address: str) -> bool:
    """Whether an echo comes back."""
    words = ["busybox", "ping", "-c", "1", "-w", "20", address]
    return run(netns, words).returncode == 0


def is_silent(netns: str, address: str) -> bool:
    """Whether nothing answers within a second; say it only beside something that does answer.

    How the program ends says nothing: it fails when one of its questions is not answered in time.
    """
    words = ["busybox", "ping", "-c", "2", "-w", "1", address]
    return "bytes from" not in run(netns, words).stdout


def bound(netns: str, address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
    """A socket inside a namespace, bound there."""

    def act() -> socket.socket:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        return made

    return namespaces.inside(netns, act)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
