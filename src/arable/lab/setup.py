"""The operator's work in a new lab: tell Arable what there is, through the API like anybody, and let the hosts join.

May be repeated: what is there already is left as it is, so a lab that comes up again finds its cloud unchanged.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from msgspec import structs

from arable.agent.config import (
    AgentConfig,
    File,
    Given,
    Iscsi,
    Libvirt,
    Local,
    Namespace,
    Nbd,
    Ovs,
    RouterMachines,
    SimAppliancesChoice,
    SimHypervisorChoice,
    SimNetworkChoice,
    SimStorageChoice,
    written,
)
from arable.agent.join import Identity
from arable.client.arable import Arable
from arable.domain.errors import NotFound, Unavailable
from arable.lab import bmc, power
from arable.lab.blueprints import BLUEPRINTS, DISKS
from arable.lab.guest_image import MEMORY_MIB, GuestImage
from arable.lab.plan import UPLINK
from arable.lab.power import Site
from arable.lab.topology import GATEWAY_PORT, Host, Pod, Region, Zone
from arable.runtime.clock import Clock
from arable.runtime.secret import Secret
from arable.wire.blueprints import BlueprintQuery, BlueprintVersionIn
from arable.wire.hosts import BmcIn, HostOut, HostQuery, JoinTokenIn
from arable.wire.images import FromPartsIn, ImageIn, ImageOut, ImageQuery, UploadQuery
from arable.wire.offerings import DiskOfferingIn, OfferingIn, OfferingQuery
from arable.wire.pods import PodIn, PodQuery
from arable.wire.public_ranges import PublicRangeIn, PublicRangeQuery
from arable.wire.zones import VlanRange, VniRange, ZoneIn, ZoneQuery

IMAGE = "tiny"
INVITATION = "join-token"  # a file's name
_SOON = timedelta(minutes=15)  # as long as a lab may take to come up on a busy machine
OFFERINGS = (
    OfferingIn(name="tiny", cpus=1, cpu_mhz=500, memory_mib=MEMORY_MIB, root_mib=64),
    OfferingIn(name="small", cpus=1, cpu_mhz=1000, memory_mib=256, root_mib=1024),
    OfferingIn(
        name="medium", cpus=2, cpu_mhz=1000, memory_mib=512, root_mib=2048, network_kbps=100_000
    ),
)
_PIECE = 1 << 20


def describe(cloud: Arable, region: Region) -> None:
    """Zones, pods and public addresses are known to the cloud."""
    for zone in region.zones:
        found = next(cloud.zones.all(ZoneQuery(name=zone.name)), None)
        if found is None:
            found = cloud.zones.create(_zone(region, zone))
        known = {pod.name for pod in cloud.pods.all(PodQuery(zone=found.id))}
        for pod in zone.pods:
            if pod.name not in known:
                cloud.pods.create(_pod(zone, pod))
        if not any(True for _ in cloud.public_ranges.all(PublicRangeQuery(zone=found.id))):
            cloud.public_ranges.create(_public(zone))


def _zone(region: Region, zone: Zone) -> ZoneIn:
    vlans, vnis = zone.guest_vlans, zone.guest_vnis
    return ZoneIn(
        name=zone.name,
        vlans=VlanRange(first=vlans.first, last=vlans.last) if vlans else None,
        vnis=VniRange(first=vnis.first, last=vnis.last) if vnis else None,
        region=region.name,
        router_runtime=zone.routers,
    )


def _pod(zone: Zone, pod: Pod) -> PodIn:
    return PodIn(zone=zone.name, name=pod.name, cidr=pod.management, gateway=str(pod.gateway))


def _public(zone: Zone) -> PublicRangeIn:
    public = zone.public
    return PublicRangeIn(
        zone=zone.name,
        cidr=public.cidr,
        gateway=public.gateway,
        first=public.first,
        last=public.last,
        vlan=public.vlan,
    )


def offer(cloud: Arable) -> None:
    """There are sizes to choose from."""
    for offering in OFFERINGS:
        if next(cloud.offerings.all(OfferingQuery(name=offering.name)), None) is None:
            cloud.offerings.create(offering)
    if next(cloud.disk_offerings.all(OfferingQuery(name=DISKS)), None) is None:
        cloud.disk_offerings.create(DiskOfferingIn(name=DISKS))


def publish(cloud: Arable, guest: GuestImage) -> ImageOut:
    """The lab's guest can be deployed: its newest version is this one."""
    image = next(cloud.images.all(ImageQuery(name=IMAGE, public=True)), None)
    if image is None:
        image = cloud.images.create(
            ImageIn(
                name=IMAGE,
                public=True,
                command_line=guest.command_line,
                minimum_memory_mib=MEMORY_MIB,
            )
        )
    newest = {part.sha256 for part in image.versions[0].parts} if image.versions else set()
    if newest != {_digest(guest.kernel), _digest(guest.initrd)}:
        kernel = UploadQuery(format="blob", role="kernel")
        initrd = UploadQuery(format="blob", role="initrd")
        parts = (
            cloud.image_parts.upload(_pieces(guest.kernel), kernel).sha256,
            cloud.image_parts.upload(_pieces(guest.initrd), initrd).sha256,
        )
        cloud.images.create_from_parts(image.id, FromPartsIn(parts=parts))
    return cloud.images.get(image.id)


def teach(cloud: Arable) -> None:
    """There are blueprints to make farms of, whose newest versions are these (`lab/blueprints.py`)."""
    for wanted in BLUEPRINTS:
        found = next(cloud.blueprints.all(BlueprintQuery(name=wanted.name, public=True)), None)
        if found is None:
            cloud.blueprints.create(wanted)
        elif found.versions[0].user_data != wanted.user_data:
            said = {each: getattr(wanted, each) for each in BlueprintVersionIn.__struct_fields__}
            cloud.blueprints.create_version(found.id, BlueprintVersionIn(**said))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def invite(cloud: Arable, site: Site, region: Region, routers: Path | None = None) -> None:
    """Each host's agent is configured, and can become a host or stay one. `routers`: of which image those start that are
    virtual machines.
    """
    for zone in region.zones:
        for pod, host in zone.hosts():
            disk = power.agent_disk(site.place, host.name)
            disk.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(
                power.agent_config(site.place, host.name), _config(region, zone, pod, host, routers)
            )
            admit(cloud, pod, host, disk, site.clock)


def admit(cloud: Arable, pod: Pod, host: Host, home: Path, clock: Clock) -> None:
    """A token in the directory of the host's agent, if it needs one: to join, or to join anew after a day off."""
    try:
        before = Identity.load(home)
    except NotFound:
        ask = JoinTokenIn(pod=pod.name, roles=host.roles, tags=host.tags)
    else:
        if not before.over(clock, _SOON):
            return
        ask = JoinTokenIn(host=before.host)
    token = cloud.join_tokens.create(ask)
    assert token.token, "a fresh token is told"
    _write(home / INVITATION, token.token.encode())


def wire_power(cloud: Arable, region: Region, bmcs: bmc.Ready, password: Secret) -> None:
    """The cloud knows by what it can switch each host's power."""
    known = {host.name: host.id for host in cloud.hosts.all(HostQuery())}
    for zone in region.zones:
        for _pod, host in zone.hosts():
            said = BmcIn(
                url=bmcs.system(host.name),
                user=bmc.USER,
                password=password.reveal(),
                fingerprint=bmcs.fingerprint,
            )
            cloud.hosts.set_bmc(known[host.name], said)


def inventory(host: Host) -> Given:
    """An emulated host is as large as its topology says."""
    return Given(
        cpus=host.cpus,
        cpu_mhz=host.cpus * host.mhz,
        memory_mib=host.memory_mib,
        disk_mib=host.disk_mib,
    )


def _config(region: Region, zone: Zone, pod: Pod, host: Host, routers: Path | None = None) -> bytes:
    """What an operator would write on a host. Paths are those on the device."""
    machines = RouterMachines(image=routers) if routers and zone.routers == "vm" else None
    tunnel = str(pod.address(host)) if zone.guest_vnis else ""
    config = AgentConfig(
        directory=Path(power.AGENT_HOME),
        servers=[f"{server.address}:{GATEWAY_PORT}" for server in region.management],
        name=host.name,
        join_token=Path(power.AGENT_HOME, INVITATION),
        roles=list(host.roles),
        tags=list(host.tags),
        hypervisor=Libvirt(),
        network=Ovs(uplink=UPLINK, tunnel=tunnel),
        storage=_shared(pod, host) if "storage" in host.roles else Local(),
        file_pools=[power.mounted(keeper) for keeper in host.mounts],
        appliances=Namespace(machines=machines),
        inventory=inventory(host),
    )
    return written(simulated(config) if host.simulated else config)


def _shared(pod: Pod, host: Host) -> Nbd | Iscsi | File:
    address = str(pod.address(host))
    match host.shares:
        case "file":
            return File(address=address, directory=power.mounted(host.name))
        case "iscsi":
            return Iscsi(address=address)
        case "nbd":
            return Nbd(address=address)


def simulated(config: AgentConfig) -> AgentConfig:
    """The same host with hardware that is made up."""
    return structs.replace(
        config,
        hypervisor=SimHypervisorChoice(),
        network=SimNetworkChoice(tunnel=config.network.tunnel),
        storage=SimStorageChoice(),
        file_pools=[],
        appliances=SimAppliancesChoice(),
    )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and readable for its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def await_hosts(
    cloud: Arable,
    names: set[str],
    clock: Clock,
    *,
    within: timedelta = timedelta(seconds=120),
    told: Callable[[HostOut], None] = lambda _host: None,
) -> None:
    """Return when all of them are up and have a channel; `told` hears of each as it comes."""
    end = clock.monotonic() + within.total_seconds()
    missing = set(names)
    while missing:
        for host in cloud.hosts.all(HostQuery(state=("up",))):
            if host.server and host.name in missing:
                missing.discard(host.name)
                told(host)
        if missing and clock.monotonic() > end:
            raise Unavailable(f"no word from {', '.join(sorted(missing))}")
        if missing:
            clock.wait(timedelta(milliseconds=100))
