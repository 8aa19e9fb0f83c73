"""Renders a guest as the XML that libvirt reads, and reads back what we wrote into it. Pure: values in, text out.

Our own facts (machine, generation, boots) live in the domain's metadata, so they are kept, started and removed
with the guest, and a driver that was just made knows as much as the one before it. Every value goes in as a value
of an XML tree, never as text pasted into text; what XML can't hold is refused. Disk formats are always given:
libvirt and QEMU then never look into a disk to guess.
"""

import hashlib
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, fromstring, register_namespace, tostring

from arable.domain.errors import BadInput
from arable.domain.ids import MachineId
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestDisk,
    GuestPort,
    IscsiSource,
    NbdSource,
)

NAMESPACE = "urn:arable:guest:1"
_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"  # libvirt's own additions for QEMU
AGENT_CHANNEL = "org.qemu.guest_agent.0"
# The agent's line is the second; the first is kept for a console, and nobody has one. Each is two queues that QEMU's main
# loop watches whatever it waits for: with the usual 31 lines it takes that loop up to two fifths more to serve a disk.
_LINES = 2
PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000  # what libvirt and the kernel take
_LEAST_WEIGHT, _MOST_WEIGHT = 2, 10_000  # valid in both versions of cgroups
_LEAST_CACHE_MIB, _MOST_CACHE_MIB = 64, 512
_MOST_PORTS = 8
_ROOT_PORT = 0x1C  # slot of what the bridge is behind whose slots ports come and go in
_BRIDGE = 2  # its bus; 1 is the root port's
_KEEPER = 0x1F  # the slot there of what never goes
_MOST_DISKS = 8

# Control characters, lone surrogates and the two non-characters: not even a reference can name them in XML 1.0.
_NOT_XML = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_SERIAL = re.compile(
    r"[A-Za-z0-9_.-]{1,20}"
)  # what virtio can show; longer ones would be cut in silence
_NBD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_IQN = re.compile(r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.-]{1,60}:[a-z0-9.-]{1,100}")
_ISCSI_UNIT = 1  # of our storage hosts' targets
_MAC = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")  # of one station, not of a group

register_namespace("arable", NAMESPACE)
register_namespace("qemu", _QEMU)


@dataclass(frozen=True, slots=True)
class Tuning:
    """How guests are run on this host."""

    accelerator: str  # "kvm" or "tcg"
    host_mhz: int  # clock of one of its processors
    cap_cpu: bool  # whether a guest that wants more than its share is held back
    cgroups: bool = True  # whether libvirt has any here
    firmware: Path | None = None  # for guests with a kernel of their own; None: QEMU's usual one


@dataclass(frozen=True, slots=True)
class Console:
    """Where a guest's serial console is."""

    socket: Path
    log: Path


@dataclass(frozen=True, slots=True)
class Facts:
    """What we keep with a guest."""

    machine: MachineId
    generation: int
    boots: int
    digest: str  # of all else in its definition
    arrives: int = 0  # the epoch of the attempt by which it is received; 0: it is started here


def uuid_of(machine: MachineId) -> str:
    """The UUID that a machine has on every host: made from its id, so that defining it again finds it."""
    digits = bytearray(hashlib.sha256(f"{NAMESPACE}:{machine}".encode()).digest()[:16])
    digits[6] = digits[6] & 0x0F | 0x80  # version 8: custom
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


@dataclass(frozen=True, slots=True)
class Definition:
    """What libvirt is told, and our facts within it. Equal facts mean an equal definition."""

    xml: str
    facts: Facts


def render(guest: Guest, console: Console, tuning: Tuning, *, arrives: int = 0) -> Definition:
    """The whole definition. Raises `BadInput` for what no hypervisor could run.

    With `arrives` it waits for its memory from elsewhere, by the attempt of that epoch.
    """
    _check(guest)
    domain = _definition(guest, console, tuning)
    digest = hashlib.sha256(tostring(domain)).hexdigest()[:16]
    kept = Facts(guest.machine, guest.generation, guest.boots, digest, arrives)
    if arrives:
        words = SubElement(domain, f"{{{_QEMU}}}commandline")
        for word in ("-incoming", "defer"):
            SubElement(words, f"{{{_QEMU}}}arg", value=word)
    ours = Element("metadata")
    ours.append(_facts(kept))
    domain.insert(2, ours)
    return Definition(tostring(domain, encoding="unicode"), kept)


def facts(metadata: str) -> Facts:
    """Our facts, as libvirt gives them back."""
    found = fromstring(metadata)  # noqa: S314 - from libvirt, and written by us
    return Facts(
        MachineId(found.attrib["machine"]),
        int(found.attrib["generation"]),
        int(found.attrib["boots"]),
        found.attrib.get("digest", ""),
        int(found.attrib.get("arrives", 0)),
    )


def metadata(kept: Facts) -> str:
    """Our facts, as libvirt takes them for a guest that it knows: it adds the namespace by itself."""
    made = _facts(kept)
    made.tag = "guest"
    return tostring(made, encoding="unicode")


def _facts(kept: Facts) -> Element:
    made = Element(
        f"{{{NAMESPACE}}}guest",
        machine=kept.machine,
        generation=str(kept.generation),
        boots=str(kept.boots),
        digest=kept.digest,
    )
    if kept.arrives:
        made.set("arrives", str(kept.arrives))
    return made


def _definition(guest: Guest, console: Console, tuning: Tuning) -> Element:
    kvm = tuning.accelerator == "kvm"
    domain = Element("domain", type="kvm" if kvm else "qemu")
    _leaf(domain, "name", guest.machine)  # names of machines repeat, ids never do
    _leaf(domain, "uuid", uuid_of(guest.machine))
    if guest.name:
        _leaf(domain, "title", guest.name)
    _leaf(domain, "memory", str(guest.memory_mib), unit="MiB")
    _leaf(domain, "vcpu", str(guest.cpus))
    if tuning.cgroups and guest.cpu_mhz > 0:
        _cpu_time(domain, guest, tuning)
    _boot(domain, guest, tuning)
    features = SubElement(domain, "features")
    SubElement(features, "acpi")
    if kvm:
        SubElement(domain, "cpu", mode="host-model")
    else:
        # Without this QEMU translates into a buffer of a gigabyte, which any guest fills in time.
        _leaf(SubElement(features, "tcg"), "tb-cache", str(_cache_mib(guest)), unit="MiB")
    SubElement(domain, "clock", offset="utc")
    _leaf(domain, "on_poweroff", "destroy")
    _leaf(domain, "on_reboot", "restart")
    _leaf(domain, "on_crash", "destroy")
    _devices(SubElement(domain, "devices"), guest, console)
    if not kvm:
        _ask_less(domain)
    return domain


def _ask_less(domain: Element) -> None:
    """Have libvirt read the processor's features as the words that CPUID tells, instead of one by one by name.

    The names are four hundred questions and answers before the guest's first instruction: a sixth of a small
    guest's start. The words lack what a processor tells in registers of its model (VMX and the like), which the
    emulated one has none of. Under KVM a migration has to know those, so there libvirt asks as it always does.
    """
    capabilities = SubElement(domain, f"{{{_QEMU}}}capabilities")
    SubElement(capabilities, f"{{{_QEMU}}}del", capability="cpu-unavailable-features")


def _cpu_time(domain: Element, guest: Guest, tuning: Tuning) -> None:
    """A share by weight when the host is busy, and a cap where wanted, both made from MHz."""
    tune = SubElement(domain, "cputune")
    weight = 100 * guest.cpu_mhz // tuning.host_mhz
    _leaf(tune, "shares", str(min(max(weight, _LEAST_WEIGHT), _MOST_WEIGHT)))
    quota = PERIOD_US * guest.cpu_mhz // (guest.cpus * tuning.host_mhz)  # of each virtual CPU
    if tuning.cap_cpu and quota < PERIOD_US:
        _leaf(tune, "period", str(PERIOD_US))
        _leaf(tune, "quota", str(max(quota, _LEAST_QUOTA_US)))


def _boot(domain: Element, guest: Guest, tuning: Tuning) -> None:
    system = SubElement(domain, "os")
    _leaf(system, "type", "hvm", arch="x86_64", machine="q35")
    if guest.kernel is None:
        SubElement(system, "boot", dev="hd")
        return
    if tuning.firmware is not None:
        _leaf(system, "loader", str(tuning.firmware), type="rom")
    _leaf(system, "kernel", str(guest.kernel))
    if guest.initrd is not None:
        _leaf(system, "initrd", str(guest.initrd))
    if guest.command_line:
        _leaf(system, "cmdline", guest.command_line)


def _devices(devices: Element, guest: Guest, console: Console) -> None:
    slots = _Slots()
    SubElement(devices, "controller", type="usb", model="none")
    for place, disk in enumerate(disk for disk in guest.disks if not disk.position):
        slots.give(_disk(devices, place, disk))
    slots.give(SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi"))
    for disk in guest.disks:
        if disk.position:
            devices.append(further_disk(disk))
    _bridge(devices)
    for port in guest.ports:
        made = interface(port)
        devices.append(made if port.place else slots.give(made))
    serial = SubElement(devices, "serial", type="unix")
    SubElement(serial, "source", mode="bind", path=str(console.socket))
    SubElement(serial, "log", file=str(console.log), append="on")
    SubElement(serial, "target", port="0")
    slots.give(
        SubElement(devices, "controller", type="virtio-serial", index="0", ports=str(_LINES))
    )
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "target", type="virtio", name=AGENT_CHANNEL)
    balloon = slots.give(SubElement(devices, "memballoon", model="virtio"))
    SubElement(balloon, "stats", period="10")
    # Behind the bridge, as a guest gives a bridge no room when there is nothing behind it, and then it has none for
    # ports that come later. A usual PC's firmware would give it some, the small one leaves that to the guest.
    chance = SubElement(devices, "rng", model="virtio")
    _leaf(chance, "backend", "/dev/urandom", model="random")
    SubElement(chance, "address", _pci(_BRIDGE, _KEEPER))


def further_disk(disk: GuestDisk) -> Element:
    """A disk that comes and goes: on the guest's SCSI bus, at the same place whatever others there are.

    Nothing can be plugged into the PCI root bus while a guest runs, and a bridge for each disk that may come one day
    would cost every start. One controller takes them all, and gives them back without the guest's consent.
    """
    made = _disk_element(disk)
    place = {"controller": "0", "bus": "0", "target": str(disk.position), "unit": "0"}
    name = f"sd{chr(ord('a') + disk.position - 1)}"
    SubElement(made, "target", dev=name, bus="scsi")
    _disk_rest(made, disk)
    SubElement(made, "address", {"type": "drive", **place})
    return made


def copy_of(disk: GuestDisk) -> Element:
    """A far disk to which another one is copied: where it is, and nothing else."""
    made = Element("disk", type="network", device="disk")
    SubElement(made, "driver", name="qemu", type=str(disk.format), cache="none", discard="unmap")
    made.append(_source(disk))
    return made


def _disk(devices: Element, place: int, disk: GuestDisk) -> Element:
    made = _disk_element(disk)
    devices.append(made)
    SubElement(made, "target", dev=f"vd{chr(ord('a') + place)}", bus="virtio")
    _disk_rest(made, disk)
    return made


def _disk_element(disk: GuestDisk) -> Element:
    kind = "network" if disk.is_far else "file"
    made = Element("disk", type=kind, device="disk")
    driver = SubElement(made, "driver", name="qemu", type=str(disk.format))
    if not disk.read_only:
        # What the guest was told is on disk is there, and free blocks go back to the pool.
        driver.set("cache", "none")
        driver.set("discard", "unmap")
    if disk.is_far:
        # The guest stands still rather than see an error; QEMU connects anew when it is told to go on.
        driver.set("error_policy", "stop")
        driver.set("rerror_policy", "stop")
    elif not disk.read_only:  # it stands still while there is no room, and sees all other errors
        driver.set("error_policy", "enospace")
    made.append(_source(disk))
    return made


def _source(disk: GuestDisk) -> Element:
    if disk.iscsi:
        at = disk.iscsi
        made = Element("source", protocol="iscsi", name=f"{at.target}/{_ISCSI_UNIT}")
        SubElement(made, "host", name=at.address, port=str(at.port))
        SubElement(SubElement(made, "initiator"), "iqn", name=at.initiator)
        known = SubElement(made, "auth", username=at.initiator)
        SubElement(known, "secret", type="iscsi", usage=at.target)  # lent_secrets.py
    elif disk.nbd:
        name = {"name": disk.nbd.name, "tls": "yes", "tlsHostname": disk.nbd.server}
        made = Element("source", {"protocol": "nbd", **name})
        SubElement(made, "host", name=disk.nbd.address, port=str(disk.nbd.port))
    else:
        made = Element("source", file=str(disk.path))
    return made


def _disk_rest(made: Element, disk: GuestDisk) -> None:
    if disk.iops or disk.bytes_per_second:
        limits = SubElement(made, "iotune")
        if disk.bytes_per_second:
            _leaf(limits, "total_bytes_sec", str(disk.bytes_per_second))
        if disk.iops:
            _leaf(limits, "total_iops_sec", str(disk.iops))
    if disk.read_only:
        SubElement(made, "readonly")
    _leaf(made, "serial", disk.serial)


def _bridge(devices: Element) -> None:
    """Where ports can be plugged in while the guest runs; the root bus itself takes nothing then.

    One bridge of the old kind has a slot for each of them. A PCI Express port of its own for each would be seven bridges
    to find and to give room, which takes an emulated guest a sixth of its start (docs/performance.md, start-overhead).
    """
    port = SubElement(devices, "controller", type="pci", index="1", model="pcie-root-port")
    SubElement(port, "target", chassis="1", port=hex(_ROOT_PORT << 3))
    SubElement(port, "address", _pci(0, _ROOT_PORT))
    model = "pcie-to-pci-bridge"
    bridge = SubElement(devices, "controller", type="pci", index=str(_BRIDGE), model=model)
    SubElement(bridge, "address", _pci(1, 0))


def _pci(bus: int, slot: int) -> dict[str, str]:
    where = {"domain": "0x0000", "bus": hex(bus), "slot": hex(slot), "function": "0x0"}
    return {"type": "pci", **where}


def interface(port: GuestPort) -> Element:
    """A tap that the network driver made. No offloads: a switch in user space gets and gives whole frames only.

    Its place says where it is plugged in, so that it is the same on every host that the guest moves to.
    """
    made = Element("interface", type="ethernet")
    SubElement(made, "mac", address=port.mac)
    SubElement(made, "target", dev=port.device, managed="no")
    SubElement(made, "model", type="virtio")
    driver = SubElement(made, "driver", name="qemu")
    off = dict.fromkeys(("csum", "tso4", "tso6", "ecn", "ufo"), "off")
    SubElement(driver, "host", {**off, "gso": "off"})
    SubElement(driver, "guest", off)
    # Nothing boots from a network, and behind the bridge there is no room for what would.
    SubElement(made, "rom", enabled="no")
    if port.place:
        SubElement(made, "address", _pci(_BRIDGE, port.place))
    return made


class _Slots:
    """Places on the PCI root bus, one after the other, in the order of definition.

    Left to itself, libvirt puts each device behind a bridge of its own, and a guest spends a third of its start on
    finding them.
    """

    def __init__(self) -> None:
        self._next = 1

    def give(self, device: Element) -> Element:
        slot, self._next = self._next, self._next + 1
        place = {"domain": "0x0000", "bus": "0x00", "slot": f"0x{slot:02x}", "function": "0x0"}
        SubElement(device, "address", {"type": "pci", **place})
        return device


def _cache_mib(guest: Guest) -> int:
    """A small guest has little code; a large one gains from more room, up to a point."""
    return min(max(guest.memory_mib // 4, _LEAST_CACHE_MIB), _MOST_CACHE_MIB)


def _check(guest: Guest) -> None:
    """Refuse what libvirt would refuse less clearly, or after having touched something."""
    if guest.cpus < 1:
        raise BadInput("a machine needs a CPU", field="cpus")
    if guest.memory_mib < 1:
        raise BadInput("a machine needs memory", field="memory_mib")
    if len(guest.disks) > _MOST_DISKS:
        raise BadInput(f"a machine has at most {_MOST_DISKS} disks", field="disks")
    places = {port.place for port in guest.ports}
    if len(places) < len(guest.ports) or not places <= set(range(_MOST_PORTS)):
        raise BadInput(f"ports have places of their own, below {_MOST_PORTS}", field="ports.place")
    further = [disk.position for disk in guest.disks if disk.position]
    if len(set(further)) < len(further):
        raise BadInput("two disks have one place", field="disks.position")
    if guest.initrd is not None and guest.kernel is None:
        raise BadInput("an initrd needs a kernel", field="initrd")
    for field, text in (("name", guest.name), ("command_line", guest.command_line)):
        _printable(field, text)
    for field, path in (("kernel", guest.kernel), ("initrd", guest.initrd)):
        _absolute(field, path)
    for disk in guest.disks:
        if disk.nbd:
            _nbd(disk.nbd)
        elif disk.iscsi:
            _iscsi(disk.iscsi)
        else:
            _absolute("disks.path", disk.path)
        if not _SERIAL.fullmatch(disk.serial):
            raise BadInput(f"not a disk's serial: {disk.serial!r}", field="disks.serial")
        if disk.iops < 0 or disk.bytes_per_second < 0:
            raise BadInput("a limit is less than nothing", field="disks")
    for port in guest.ports:
        if not _DEVICE.fullmatch(port.device):
            raise BadInput(f"not a device's name: {port.device!r}", field="ports.device")
        if not _MAC.fullmatch(port.mac):
            raise BadInput(f"not a station's MAC: {port.mac!r}", field="ports.mac")


def _nbd(source: NbdSource) -> None:
    for field, text in (("name", source.name), ("server", source.server)):
        if not _NBD_NAME.fullmatch(text):
            raise BadInput(f"not a name for NBD: {text!r}", field=f"disks.nbd.{field}")
    _place("disks.nbd", source.address, source.port)


def _iscsi(source: IscsiSource) -> None:
    for field, text in (("target", source.target), ("initiator", source.initiator)):
        if not _IQN.fullmatch(text):
            raise BadInput(f"not a name for iSCSI: {text!r}", field=f"disks.iscsi.{field}")
    _place("disks.iscsi", source.address, source.port)


def _place(field: str, address: str, port: int) -> None:
    try:
        ip_address(address)
    except ValueError as error:
        raise BadInput(f"not an address: {address!r}", field=f"{field}.address") from error
    if not 0 < port < 65536:
        raise BadInput(f"not a port: {port}", field=f"{field}.port")


def _absolute(field: str, path: Path | None) -> None:
    if path is not None:
        _printable(field, str(path))
        if not path.is_absolute():
            raise BadInput(f"{field} is not an absolute path", field=field)


def _printable(field: str, text: str) -> None:
    if _NOT_XML.search(text):
        raise BadInput(f"{field} has a control character in it", field=field)


def _leaf(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    made = SubElement(parent, tag, attributes)
    made.text = text
    return made
