"""What the cloud believes to have, and what is really there: read past Arable, from libvirt, switches and disks.

Two accounts of the same thing, made so that a test may compare them with `==`: nothing twice, nothing lost, nothing
left over. A lab's hosts are looked at from outside of Arable's own agents, by the tools an operator would use.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from arable.lab import devices, living, power
from arable.lab.living import Process
from arable.lab.plan import UPLINK
from e2e.lab_cloud import LabCloud

ROUTING = "a1"
_OF_GUESTS = re.compile(r"^nic-[0-9a-z]+$")


@dataclass(frozen=True)
class Account:
    """What a host has. Counters, so that something twice is not something once."""

    guests: Counter[str]  # machines whose QEMU runs
    defined: Counter[str]  # as the hypervisor knows them, running or not
    ports: Counter[tuple[str, int]]  # guests' nics with their VLANs
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
            volumes=Counter(volumes),
            appliances=len(routed) if host == ROUTING else 0,
            tags=frozenset(tags),
        )
    return made


def true(cloud: LabCloud) -> dict[str, Account]:
    """By host: what is there."""
    return {host: _truth(cloud, host) for host in sorted(cloud.hosts().values())}


def _truth(cloud: LabCloud, host: str) -> Account:
    switch = _switch(cloud, host)
    return Account(
        guests=Counter(qemus(cloud, host)),
        defined=Counter(said(cloud, host, "virsh", "list", "--all", "--name").split()),
        ports=Counter((nic, tag) for nic, tag in switch if _OF_GUESTS.match(nic)),
        volumes=Counter(
            path.name.partition(".")[0]
            for path in _agents_disk(cloud, host).glob("**/volumes/volume-*")
        ),
        appliances=sum(
            name.startswith("router-") for name in said(cloud, host, "ls", "/run/netns").split()
        ),
        tags=_tags(cloud, host),
    )


def qemus(cloud: LabCloud, host: str) -> dict[str, Process]:
    """The machines whose QEMU runs on the host, with its process."""
    init = cloud.site.init(host)
    assert init, f"{host} has no power"
    found = {}
    for one in living.family(init):
        words = Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")
        if b"qemu-system" in words[0] and b"-name" in words:
            name = words[words.index(b"-name") + 1].decode()
            found[name.removeprefix("guest=").partition(",")[0]] = one
    return found


def said(cloud: LabCloud, host: str, *argv: str) -> str:
    """What a program on the host prints."""
    init = cloud.site.init(host)
    assert init, f"{host} has no power"
    return devices.run(cloud.site.place.id, init, argv)


def _switch(cloud: LabCloud, host: str) -> list[tuple[str, int]]:
    """The ports of the host's switch that are somebody's, with their VLANs."""
    rows = json.loads(
        said(
            cloud, host, "ovs-vsctl", "--format=json", "--columns=external_ids,tag", "list", "Port"
        )
    )["data"]
    return [(str(dict(ids[1])["arable-nic"]), int(tag)) for ids, tag in rows if ids[1]]


def _tags(cloud: LabCloud, host: str) -> frozenset[int]:
    listed = json.loads(
        said(cloud, host, "ovs-vsctl", "--format=json", "get", "Port", UPLINK, "trunks")
    )
    return frozenset(listed)


def _agents_disk(cloud: LabCloud, host: str) -> Path:
    return power.agent_disk(cloud.site.place, host)
