"""Devices on and off. On: cabled, its first process, its switch, its addresses, its services. Off: nothing left.

Power off is honest. Every process of the device is gone at once and its network namespace with it, as a server's
memory and wiring would be; what is kept is its directory, its disk. So power on is the way in which a lab is first
built, too, and a fault that can't be repaired by building is a fault of the building.
"""

import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec

from arable.domain.errors import CloudError, Unavailable
from arable.drivers import namespaces
from arable.drivers.storage.nbd import credentials
from arable.lab import boot, cache, devices, living, outside_server, switches, wires
from arable.lab.device_init import GROUPS
from arable.lab.devices import Service
from arable.lab.living import Process
from arable.lab.plan import MANAGEMENT, OUTSIDE_PORT, UPLINK, Device, Kind, Plan, Wire
from arable.lab.record import DeviceRecord, Place, with_device
from arable.runtime.clock import Clock

AGENT = "agent"
PROGRAM = (sys.executable, "-m", "arable.processes.main")
MOUNTED = "/run/mounted"  # as hosts see them: the directories of pools of files, by their keepers
AGENT_HOME = "/run/arable"  # as the host sees it: short, as sockets are kept there; a real host's is elsewhere
CAPABILITIES = Path(
    "/var/cache/arable/qemu"
)  # takes eight seconds to find out, so every lab shares it
_GRACE = timedelta(seconds=3)  # for guests to write back what their disks hold in memory


@dataclass(frozen=True, slots=True)
class Site:
    """A lab one can work on: where it is, and what it should be."""

    place: Place
    plan: Plan
    clock: Clock

    def init(self, device: str) -> Process | None:
        """The first process of a device, if it is on."""
        init = self.place.read().devices.get(device, DeviceRecord()).init
        return init if init and init.alive else None


def make_room(site: Site, device: Device) -> None:
    """The device's namespace and directory are there."""
    namespace = site.place.namespace(device.name)
    site.place.device(device.name).mkdir(mode=0o700, exist_ok=True)
    namespaces.create(namespace)
    wires.settle(namespace, forwards=device.forwards)


def cable(site: Site, wire: Wire) -> None:
    """The wire is there; both devices have their namespaces."""
    ends = [(end, site.place.namespace(end.device)) for end in (wire.near, wire.far)]
    near, far = ((namespace, end.interface) for end, namespace in ends)
    wires.connect(near, far)
    for end, namespace in ends:
        switch = site.plan.devices[end.device].switch
        if switch and any(port.interface == end.interface for port in switch.ports):
            wires.quiet(namespace, end.interface)
        else:
            wires.without_offloads(namespace, end.interface)
        if wire.mbit:
            wires.limit(namespace, end.interface, wire.mbit)


def uncable(site: Site, wire: Wire) -> None:
    """The wire is gone, and the switch at its near end has forgotten it; already gone is fine."""
    _tell_switch(site, wire, switches.removing(wire.near.interface))
    wires.disconnect(site.place.namespace(wire.near.device), wire.near.interface)


def cable_again(site: Site, wire: Wire, *, plugged: bool) -> None:
    """Lay a wire to a switch that runs."""
    cable(site, wire)
    switch = site.plan.devices[wire.near.device].switch
    for port in switch.ports if switch else ():
        if switch and port.interface == wire.near.interface:
            _tell_switch(site, wire, switches.adding(switch, port))
    if not plugged:  # only now: a switch raises what it is given
        wires.plug(site.place.namespace(wire.near.device), wire.near.interface, up=False)


def _tell_switch(site: Site, wire: Wire, words: list[str]) -> None:
    init = site.init(wire.near.device)
    if init:
        devices.run(site.place.id, init, ["ovs-vsctl", "--timeout=60", *words])


def switch_on(site: Site, device: Device) -> Process:
    """Switch a cabled device on; its services run when this returns, a host's agent apart."""
    place, lab = site.place, site.place.id
    namespace = place.namespace(device.name)
    disks = host_disks(place.device(device.name)) if device.kind is Kind.HOST else {}
    disks |= mounts(place, device)
    init = devices.launch(lab, device.name, namespace, disks, place.log(device.name))
    place.change(partial(with_device, name=device.name, device=DeviceRecord(init=init)))
    if device.switch:
        _boot(site, device)
    address(site, device)
    if device.firewall:
        devices.run(lab, init, ["nft", "-f", "-"], text=device.firewall)
    if device.kind is Kind.INTERNET:
        devices.start(lab, namespace, _outside(place))
    return init


def _boot(site: Site, device: Device) -> None:
    place, namespace = site.place, site.place.namespace(device.name)
    order = msgspec.json.encode(_order(site, device)).decode()
    log = place.log(f"boot-{device.name}")
    log.unlink(missing_ok=True)
    argv = [sys.executable, "-m", boot.__name__, order]
    devices.start(place.id, namespace, Service("boot", argv, log))
    if devices.wait(namespace, "boot") != 0:
        raise Unavailable(f"{device.name} did not come up: {log.read_text().strip()}")


def _order(site: Site, device: Device) -> boot.Order:
    if not device.switch:
        return boot.Order()
    if device.kind is not Kind.HOST:
        return boot.Order(switch=switches.arguments(device.switch))
    return boot.Order(
        bridge=device.switch.bridge,
        uplink=UPLINK,
        management=MANAGEMENT,
        hypervisor=site.place.namespace(device.name),
        disks=f"{AGENT_HOME}/{credentials.FOLDER}",
        capabilities=str(cache.folder("qemu")),
    )


def address(site: Site, device: Device) -> None:
    """The device's legs have their addresses and its routes stand; again, if a cable was pulled meanwhile."""
    legs = [
        (p.interface, p.address)
        for p in (device.switch.ports if device.switch else ())
        if p.address
    ]
    namespace = site.place.namespace(device.name)
    wires.configure(namespace, (*device.addresses, *legs), device.routes)


def agent_disk(place: Place, host: str) -> Path:
    """What a host's agent keeps, and its configuration; the host sees it at `AGENT_HOME`."""
    return place.device(host) / "arable"


def agent_config(place: Place, host: str) -> Path:
    """The configuration of a host's agent; whoever sets the lab up writes it."""
    return agent_disk(place, host) / "agent.yaml"


def start_agent(site: Site, host: str) -> None:
    """The host's agent runs: the very `arable agent` of production."""
    argv = [*PROGRAM, "agent", "run", "--config", f"{AGENT_HOME}/agent.yaml"]
    service = Service(AGENT, argv, site.place.log(f"agent-{host}"))
    devices.start(site.place.id, site.place.namespace(host), service)


def _outside(place: Place) -> Service:
    argv = [sys.executable, "-I", "-S", outside_server.__file__, "0.0.0.0", str(OUTSIDE_PORT)]  # noqa: S104 - in its namespace
    return Service("outside", argv, place.log("outside"))


def host_disks(root: Path) -> dict[Path, str]:
    """What of a host outlives its power: bound from its directory over the places where daemons keep it."""
    kept = {
        "openvswitch": boot.SWITCH_RUN,
        "arable": AGENT_HOME,
        "etc-libvirt": "/etc/libvirt",
        "lib-libvirt": "/var/lib/libvirt",
        "cache-libvirt": "/var/cache/libvirt",
        "log-libvirt": "/var/log/libvirt",
    }
    disks = {
        root / name: target
        for name, target in kept.items()
        if target.startswith("/run/") or Path(target).is_dir()
    }
    for disk in disks:
        disk.mkdir(mode=0o755, exist_ok=True)
    return disks


def mounted(keeper: str) -> Path:
    """Where hosts see the directory of that host's pool of files."""
    return Path(MOUNTED, keeper)


def files(place: Place, keeper: str) -> Path:
    """The directory of that host's pool of files, as it is on this machine."""
    return place.device(keeper) / "files"


def mounts(place: Place, device: Device) -> dict[Path, str]:
    """Directories of pools of files that the device has mounted: one that it keeps, and others'."""
    if device.host is None:
        return {}
    keepers = {*device.host.mounts, *([device.name] if device.host.keeps_files else [])}
    found = {files(place, each): str(mounted(each)) for each in sorted(keepers)}
    for directory in found:
        directory.mkdir(mode=0o711, exist_ok=True)
    return found


def shut(site: Site, device: str) -> None:
    """Switch a device off kindly: the agent first, lest it restart what we stop; then all others may tidy up."""
    init = site.init(device)
    if init is None:
        return
    members = living.family(init)
    for member in members:
        member.signal(signal.SIGCONT)
    with suppress(CloudError):
        devices.stop(site.place.namespace(device), AGENT)
    living.end([one for one in members if one != init], site.clock, grace=_GRACE)
    cut_power(site, device)


def cut_power(site: Site, device: str) -> None:
    """All of the device's processes are gone at once."""
    init = site.init(device)
    site.place.change(partial(with_device, name=device, device=DeviceRecord()))
    if init:
        living.end([init], site.clock)
    forget_groups(f"{site.place.id}/{device}")


def forget_groups(path: str) -> None:
    """No control groups are left at that path of any tree. One that somebody is in stays."""
    for top in GROUPS.glob(f"*/{path}"):
        for group in sorted((top, *top.glob("**/")), reverse=True):
            with suppress(OSError):
                group.rmdir()
