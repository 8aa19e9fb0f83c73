"""What this machine can and can't do: `arable doctor`, and the choice between the real lab and the simulated one.

Each probe tries the thing itself where that is cheap and leaves nothing behind: a device in a network namespace
that ends with the command, a guest that runs twenty milliseconds, a tool in the jail. That a program is installed
says little about whether it works here.

`MISSING` is reserved for what the real drivers can't do without; what only makes them slower, or leaves a part of
Arable out, is `LIMITED`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from arable.domain.units import GIB, MIB
from arable.drivers.this_machine import Ask, ThisMachine


class Health(StrEnum):
    """How well this machine can do a thing."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report. `todo` is empty when all is well."""

    name: str
    health: Health
    found: str
    means: str = ""
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """Who is examined: the machine, and the folder that holds or would hold Arable's state."""

    ask: Ask
    state: Path


def examine(state: Path, ask: Ask | None = None) -> tuple[Finding, ...]:
    """Everything, in the order in which an operator would put it right. Takes a second or two, once up to ten."""
    patient = Patient(ask or ThisMachine(), state)
    return tuple(probe(patient) for probe in PROBES)


def can_be_real(findings: Iterable[Finding]) -> bool:
    """Whether the real drivers work here: `arable up` refuses otherwise, and offers simulated hosts."""
    return all(finding.health is not Health.MISSING for finding in findings)


def _root(patient: Patient) -> Finding:
    if patient.ask.is_root():
        return Finding(name="root", health=Health.OK, found="running as root")
    return Finding(
        name="root",
        health=Health.MISSING,
        found="not running as root",
        means="only simulated hosts: real ones make networks, disks and machines as root",
        todo="run as root, or use `arable up --lab sim`",
    )


def _namespaces(patient: Patient) -> Finding:
    tried = patient.ask.run("unshare", "--net", "--mount", "--pid", "--fork", "true")
    if tried.ok:
        return Finding(name="namespaces", health=Health.OK, found="network, mount, process")
    return Finding(
        name="namespaces",
        health=Health.MISSING,
        found=tried.first_line,
        means="no emulated hosts and no routing appliances",
        todo="use a kernel with namespaces, or leave the container that forbids them",
    )


_LINKS = {
    "veth": "link add v0 type veth peer name v1\n",
    "bridge": "link add b0 type bridge\n",
    "tap": "tuntap add t0 mode tap\n",
}


def _links(patient: Patient) -> Finding:
    absent = [kind for kind, batch in _LINKS.items() if not _in_namespace(patient, batch)]
    if not absent:
        return Finding(name="links", health=Health.OK, found=", ".join(_LINKS))
    return Finding(
        name="links",
        health=Health.MISSING,
        found=f"no {', '.join(absent)}",
        means="machines can't be plugged into networks",
        todo="package iproute2, and a kernel with these devices (modprobe veth bridge tun)",
    )


_RULES = """
table inet probe {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
  }
  chain source {
    type nat hook postrouting priority 100;
    masquerade
  }
}
"""


def _nftables(patient: Patient) -> Finding:
    tried = patient.ask.run("unshare", "--net", "nft", "-f", "-", stdin=_RULES)
    if tried.ok:
        version = patient.ask.run("nft", "--version").first_line
        return Finding(name="nftables", health=Health.OK, found=version)
    return Finding(
        name="nftables",
        health=Health.MISSING,
        found=tried.first_line or "rules are refused",
        means="no routing appliances: their firewall and address translation need it",
        todo="package nftables, and a kernel with nf_tables, conntrack and nat",
    )


def _switch(patient: Patient) -> Finding:
    asked = patient.ask.run("ovs-vswitchd", "--version")
    if not asked.ok or not patient.ask.finds("ovsdb-server"):
        return Finding(
            name="Open vSwitch",
            health=Health.MISSING,
            found="not installed",
            means="no guest networks",
            todo="package openvswitch-switch",
        )
    # Within a namespace of its own, so that a datapath that can be made goes away with it.
    if patient.ask.run("unshare", "--net", "ovs-dpctl", "add-dp", "arable-probe").ok:
        found = f"{asked.first_line}, kernel datapath"
        return Finding(name="Open vSwitch", health=Health.OK, found=found)
    return Finding(
        name="Open vSwitch",
        health=Health.LIMITED,
        found=f"{asked.first_line}, no kernel datapath",
        means="the datapath in user space is used: the same networks, but a few times slower",
        todo="a kernel with the module openvswitch, where speed matters",
    )


def _hypervisor(patient: Patient) -> Finding:
    qemu = patient.ask.run("qemu-system-x86_64", "--version")
    libvirt = patient.ask.run("libvirtd", "--version")
    absent = [
        name
        for name, there in (
            ("qemu-system-x86", qemu.ok),
            ("libvirt-daemon libvirt-daemon-driver-qemu", libvirt.ok),
            ("libvirt-python (Python)", patient.ask.imports("libvirt")),
        )
        if not there
    ]
    if not absent:
        found = f"{qemu.first_line}, {libvirt.first_line}"
        return Finding(name="hypervisor", health=Health.OK, found=found)
    return Finding(
        name="hypervisor",
        health=Health.MISSING,
        found=f"not installed: {', '.join(absent)}",
        means="no machines",
        todo=f"packages {' '.join(absent)}; for the Python part libvirt-dev, then `make setup`",
    )


def _kvm(patient: Patient) -> Finding:
    kvm = patient.ask.kvm(patient.state / "kvm.json")
    if kvm.ok:
        return Finding(name="KVM", health=Health.OK, found=kvm.text)
    return Finding(
        name="KVM",
        health=Health.LIMITED,
        found=kvm.text,
        means="machines are emulated (TCG): they work, and are five to twenty times slower",
        todo="switch on virtualisation in the firmware, or nested virtualisation in the hypervisor below",
    )


def _jail(patient: Patient) -> Finding:
    tried = patient.ask.jail()
    if tried.ok:
        version = patient.ask.run("bwrap", "--version").first_line
        return Finding(name="jail", health=Health.OK, found=f"{version}, works")
    return Finding(
        name="jail",
        health=Health.MISSING,
        found=tried.first_line,
        means="no disks: image tools are never run outside the jail",
        todo="package bubblewrap, and namespaces for whom it runs as",
    )


def _program(
    name: str,
    command: str,
    package: str,
    means: str,
    health: Health = Health.MISSING,
    version: str = "--version",
) -> Callable[[Patient], Finding]:
    """A probe for what works wherever it is installed."""

    def probe(patient: Patient) -> Finding:
        asked = patient.ask.run(command, version)
        if asked.ok:
            return Finding(name=name, health=Health.OK, found=asked.first_line)
        return Finding(
            name=name,
            health=health,
            found="not installed" if not patient.ask.finds(command) else asked.first_line,
            means=means,
            todo=f"package {package}",
        )

    return probe


def _postgresql(patient: Patient) -> Finding:
    if patient.ask.exists("/usr/lib/postgresql/*/bin/postgres") or patient.ask.finds("postgres"):
        return Finding(name="PostgreSQL", health=Health.OK, found="a server is installed")
    return Finding(
        name="PostgreSQL",
        health=Health.LIMITED,
        found="no server on this machine",
        means="one management server with SQLite; several need PostgreSQL, here or elsewhere",
        todo="package postgresql, when several management servers shall share the work",
    )


def _cgroups(patient: Patient) -> Finding:
    listed = patient.ask.read("/sys/fs/cgroup/cgroup.controllers").split()
    version = 2 if listed else 1
    there = listed or [
        name for name in ("cpu", "memory") if patient.ask.exists(f"/sys/fs/cgroup/{name}/tasks")
    ]
    absent = [name for name in ("cpu", "memory") if name not in there]
    if not absent:
        return Finding(name="cgroups", health=Health.OK, found=f"version {version}: cpu, memory")
    return Finding(
        name="cgroups",
        health=Health.LIMITED,
        found=f"no control over {', '.join(absent)}",
        means="machines on this host are not held to their share of CPU and memory",
        todo="mount cgroups with these controllers",
    )


def _vlan_devices(patient: Patient) -> Finding:
    if _in_namespace(patient, f"{_LINKS['veth']}link add link v0 name v0.5 type vlan id 5\n"):
        return Finding(name="VLAN devices", health=Health.OK, found="8021q")
    return Finding(
        name="VLAN devices",
        health=Health.LIMITED,
        found="no 8021q in this kernel",
        means="nothing today: Open vSwitch tags by itself; networks on Linux bridges would need it",
        todo="modprobe 8021q",
    )


def _wireguard(patient: Patient) -> Finding:
    """Routers run it in user space, whatever the kernel can."""
    missing = not patient.ask.finds("wireguard-go")
    if not missing and patient.ask.exists("/dev/net/tun"):
        return Finding(name="WireGuard", health=Health.OK, found="wireguard-go, in user space")
    return Finding(
        name="WireGuard",
        health=Health.LIMITED,
        found="not installed" if missing else "no /dev/net/tun",
        means="networks with VPNs have no router here",
        todo="package wireguard-go" if missing else "modprobe tun",
    )


def _memory(patient: Patient) -> Finding:
    lines = dict(
        line.split(":", 1) for line in patient.ask.read("/proc/meminfo").splitlines() if ":" in line
    )
    total = _kilobytes(lines.get("MemTotal", ""))
    free = _kilobytes(lines.get("MemAvailable", ""))
    found = f"{total / GIB:.1f} GiB, {free / GIB:.1f} GiB free"
    if free >= 4 * GIB:
        return Finding(name="memory", health=Health.OK, found=found)
    return Finding(
        name="memory",
        health=Health.LIMITED,
        found=found,
        means="room for few machines: the default lab takes about 1 GiB, each small machine 0.5 GiB",
        todo="more memory, or a lab with fewer hosts",
    )


def _cores(patient: Patient) -> Finding:
    cores = patient.ask.cores()
    found = f"{cores} core{'s' if cores > 1 else ''}"
    if cores > 1:
        return Finding(name="cores", health=Health.OK, found=found)
    return Finding(
        name="cores",
        health=Health.LIMITED,
        found=found,
        means="everything works, slowly",
        todo="two or more cores",
    )


def _disk(patient: Patient) -> Finding:
    space = patient.ask.space(patient.state)
    found = f"{space.free / GIB:.1f} of {space.total / GIB:.1f} GiB free at {patient.state}"
    if not space.nameless_files:
        return Finding(
            name="disk",
            health=Health.MISSING,
            found=f"{found}, without O_TMPFILE",
            means="images can't be stored: a killed process would leave half of one behind",
            todo="a state folder on ext4, xfs, btrfs or tmpfs",
        )
    if space.free >= 5 * GIB:
        return Finding(name="disk", health=Health.OK, found=found)
    return Finding(
        name="disk",
        health=Health.LIMITED if space.free >= 500 * MIB else Health.MISSING,
        found=found,
        means="room for few images and disks",
        todo="at least 5 GiB free",
    )


def _in_namespace(patient: Patient, batch: str) -> bool:
    return patient.ask.run("unshare", "--net", "ip", "-batch", "-", stdin=batch).ok


def _kilobytes(text: str) -> int:
    number = text.strip().partition(" ")[0]
    return int(number) * 1024 if number.isdecimal() else 0


PROBES: tuple[Callable[[Patient], Finding], ...] = (
    _root,
    _namespaces,
    _links,
    _nftables,
    _switch,
    _program("DHCP and DNS", "dnsmasq", "dnsmasq-base", "no addresses and names in guest networks"),
    _program(
        "load balancers",
        "haproxy",
        "haproxy",
        "networks with load balancers have no router here",
        Health.LIMITED,
        "-v",
    ),
    _program(
        "pairs of routers", "keepalived", "keepalived", "no redundant networks here", Health.LIMITED
    ),
    _program(
        "connections of pairs",
        "conntrackd",
        "conntrackd",
        "no redundant networks here",
        Health.LIMITED,
        "-v",
    ),
    _hypervisor,
    _kvm,
    _jail,
    _program("disk tool", "qemu-img", "qemu-utils", "no disks"),
    _program(
        "shared disks",
        "qemu-storage-daemon",
        "qemu-system-common",
        "no disks for other hosts",
        Health.LIMITED,
    ),
    _program("iSCSI targets", "tgtd", "tgt", "no pools of iSCSI", Health.LIMITED),
    _cgroups,
    _memory,
    _cores,
    _disk,
    _postgresql,
    _vlan_devices,
    _wireguard,
)
