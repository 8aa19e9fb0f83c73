"""What the cloud believes to have, and what is really there: read past Arable, from libvirt, switches and disks.

Two accounts of the same thing, made so that a test may compare them with `==`: nothing twice, nothing lost, nothing
left over. A lab's hosts are looked at from outside of Arable's own agents, by the tools an operator would use.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from arable.lab import devices, living, power
from arable.lab.living import Process
from arable.lab.plan import UPLINK
from arable.lab.topology import NATIVE_VLAN
from e2e.lab_cloud import LabCloud

ROUTING = "a1"


@dataclass(frozen=True)
class Account:
    """What a host has. Counters, so that something twice is not something once."""

    guests: Counter[str]  # machines whose QEMU runs
    defined: Counter[str]  # as the hypervisor knows them, running or not
    ports: Counter[tuple[str, int]]  # guests' nics with their VLANs
    taps: int  # devices, plugged or not
    volumes: Counter[str]
    appliances: int
    tags: frozenset[int]  # on the uplink, besides management


def believed(cloud: LabCloud) -> dict[str, Account]:
    """By host: what the API says should be there, when nothing is on its way. Appliances are on a1, the one routing host."""
    names = cloud.hosts()
    networks = {network.id: network for network in cloud.operator.networks.all()}
    routed = {n.vlan or 0 for n in networks.values() if n.appliance == "running"}
    public = cloud.site.place.read().topology.regions[0].zones[0].public.vlan
    made = {}
    for id_, host in names.items():
        here = [m for m in cloud.operator.machines.all() if m.host == id_]
        running = [m for m in here if m.state == "running"]
        ports = [(nic.id, networks[nic.network].vlan or 0) for m in running for nic in m.nics]
        volumes = [
            v.id
            for m in here
            for v in cloud.operator.volumes.all()
            if v.machine == m.id and v.placed
        ]
        tags = {vlan for _, vlan in ports}
        if host == ROUTING and routed:
            tags |= routed | {public}
        made[host] = Account(
            guests=Counter(m.id for m in running),
            defined=Counter(m.id for m in running),
            ports=Counter(ports),
            taps=len(ports),
            volumes=Counter(volumes),
            appliances=len(routed) if host == ROUTING else 0,
            tags=frozenset(tags),
        )
    return made


def true(cloud: LabCloud) -> dict[str, Account]:
    """By host: what is there."""
    return {host: _truth(cloud, host) for host in sorted(cloud.hosts().values())}


def _truth(cloud: LabCloud, host: str) -> Account:
    return Account(
        guests=Counter(machine for machine, _ in qemus(cloud, host)),
        defined=Counter(said(cloud, host, "virsh", "list", "--all", "--name").split()),
        ports=Counter(_ports_of_guests(cloud, host)),
        taps=sum(
            one.startswith("tap") for one in said(cloud, host, "ls", "/sys/class/net").split()
        ),
        volumes=Counter(
            path.name.partition(".")[0]
            for path in _agents_disk(cloud, host).glob("**/volumes/volume-*")
        ),
        appliances=sum(
            name.startswith("router-") for name in said(cloud, host, "ls", "/run/netns").split()
        ),
        tags=_tags(cloud, host),
    )


def qemus(cloud: LabCloud, host: str) -> list[tuple[str, Process]]:
    """The machines whose QEMU runs on the host, with its process."""
    init = cloud.site.init(host)
    assert init, f"{host} has no power"
    found = []
    for one in living.family(init):
        words = _command(one)
        if "qemu-system" in words[0] and "-name" in words:
            name = words[words.index("-name") + 1]
            found.append((name.removeprefix("guest=").partition(",")[0], one))
    return sorted(found)


def _command(process: Process) -> list[str]:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
        return [""]


def said(cloud: LabCloud, host: str, *argv: str) -> str:
    """What a program on the host prints."""
    init = cloud.site.init(host)
    assert init, f"{host} has no power"
    return devices.run(cloud.site.place.id, init, argv)


def _ports_of_guests(cloud: LabCloud, host: str) -> list[tuple[str, int]]:
    """Taps on the host's switch, with their VLANs."""
    words = ["ovs-vsctl", "--format=json", "--columns=external_ids,tag", "list", "Port"]
    rows = json.loads(said(cloud, host, *words))["data"]
    found = [(dict(facts[1]), tag) for facts, tag in rows]
    return [(facts["arable-nic"], tag) for facts, tag in found if facts.get("arable-kind") == "tap"]


def _tags(cloud: LabCloud, host: str) -> frozenset[int]:
    listed = json.loads(
        said(cloud, host, "ovs-vsctl", "--format=json", "get", "Port", UPLINK, "trunks")
    )
    return frozenset(listed) - {NATIVE_VLAN}


def _agents_disk(cloud: LabCloud, host: str) -> Path:
    return power.agent_disk(cloud.site.place, host)
