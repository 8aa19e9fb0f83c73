"""Routers' machines under libvirt.

A machine is a transient domain: when it ends, whatever ended it, nothing is left that could start again by itself with
an old idea of what to be. It is drawn by the same hand as customers' guests (`hypervisor/domain_xml.py`), so that the
hardware is the same, and is none of the hypervisor's guests: it lacks their mark.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

import libvirt

from arable.domain.errors import Unavailable
from arable.domain.ids import MachineId, NetworkId
from arable.domain.image_part import PartFormat
from arable.drivers.appliance.vm.machines import Machine
from arable.drivers.appliance.vm.words import CHANNEL
from arable.drivers.hypervisor import domain_xml, live_ports
from arable.drivers.hypervisor.domain_xml import AGENT_CHANNEL, Console, Tuning
from arable.drivers.hypervisor.firmware import small
from arable.drivers.hypervisor.probe import usable_kvm
from arable.drivers.hypervisor.protocol import Guest, GuestDisk, GuestPort
from arable.drivers.hypervisor.session import Session
from arable.runtime.clock import Clock

KERNEL, INITRD, ROOT = "vmlinux", "initrd", "root.img"
"""Files of an image (`lab/router_image.py` builds them)."""

MARK = "urn:arable:router:1"
COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off"
    # A second of an emulated start, for what no router uses.
    " cryptomgr.notests audit=0 lsm= no_timer_check noreplace-smp"
    " initcall_blacklist=crypto_kdf108_init,init_kprobes,init_kprobe_trace,trace_eval_init"
)
_PREFIX = "router-"
_GONE = frozenset([libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID])


class LibvirtMachines:
    """`Machines` on the libvirtd at `uri`, from the image in `image`, with that much memory each and one CPU."""

    def __init__(
        self,
        uri: str,
        image: Path,
        directory: Path,
        clock: Clock,
        *,
        accelerator: str | None = None,
        memory_mib: int = 256,
    ) -> None:
        self._image = image.absolute()
        self._memory_mib = memory_mib
        if accelerator is None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            accelerator = "kvm" if usable_kvm(directory / "kvm.json").usable else "tcg"
        self._tuning = Tuning(
            accelerator, host_mhz=1, cap_cpu=False, cgroups=False, firmware=small(accelerator)
        )
        self._session = Session(uri, clock)

    def close(self) -> None:
        """Let go of libvirt; machines run on."""
        self._session.close()

    def running(self) -> frozenset[NetworkId]:
        def go(conn: libvirt.virConnect) -> frozenset[NetworkId]:
            names = [
                each.name() for each in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            ]
            keys = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
            return frozenset(NetworkId(f"network-{key}") for key in keys)

        return self._session.run("list its routers", go)

    def ensure(self, machine: Machine) -> None:
        def go(conn: libvirt.virConnect) -> None:
            found = _lookup(conn, machine.network)
            if found is not None:
                with _unless_gone():  # it has ended by itself just now
                    live_ports.adjust(found, self._guest(machine))
                    return
            for name in (KERNEL, INITRD, ROOT):
                if not (self._image / name).exists():
                    raise Unavailable(
                        "the image of routers' machines is not on this host",
                        detail=str(self._image / name),
                    )
            machine.line.unlink(missing_ok=True)
            conn.createXML(self.definition(machine))

        self._session.run(f"start the router of {machine.network}", go)

    def remove(self, network: NetworkId) -> None:
        def go(conn: libvirt.virConnect) -> None:
            found = _lookup(conn, network)
            if found is not None:
                with _unless_gone():
                    found.destroy()

        self._session.run(f"end the router of {network}", go)

    def definition(self, machine: Machine) -> str:
        """What libvirt is told."""
        console = Console(machine.line, machine.log)
        domain = fromstring(domain_xml.render(self._guest(machine), console, self._tuning).xml)  # noqa: S314 - ours
        _said(domain, "name", name_of(machine.network))
        _said(domain, "uuid", domain_xml.uuid_of(MachineId(name_of(machine.network))))
        _said(
            domain, "on_reboot", "destroy"
        )  # its kernel's panic is its end: it is started anew, and told all
        metadata = _found(domain, "metadata")
        metadata.clear()
        SubElement(metadata, f"{{{MARK}}}router", network=machine.network)
        devices = _found(domain, "devices")
        for each in devices.findall("memballoon"):
            each.clear()
            each.set("model", "none")
        serial = _found(devices, "serial")
        serial.clear()
        serial.set("type", "file")
        SubElement(serial, "source", path=str(machine.log), append="off")
        SubElement(serial, "target", port="0")
        channel = next(
            each
            for each in devices.findall("channel")
            if _found(each, "target").get("name") == AGENT_CHANNEL
        )
        _found(channel, "target").set("name", CHANNEL)
        SubElement(channel, "source", mode="bind", path=str(machine.line))
        return tostring(domain, encoding="unicode")

    def _guest(self, machine: Machine) -> Guest:
        digest = hashlib.sha256(machine.network.encode()).hexdigest()[:20]
        root = GuestDisk(
            path=self._image / ROOT, format=PartFormat.RAW, serial=digest, read_only=True
        )
        return Guest(
            machine=MachineId(name_of(machine.network)),
            generation=1,
            name="",
            boots=1,
            cpus=1,
            cpu_mhz=0,
            memory_mib=self._memory_mib,
            kernel=self._image / KERNEL,
            initrd=self._image / INITRD,
            command_line=COMMAND_LINE,
            disks=(root,),
            ports=tuple(
                GuestPort(device=card.device, mac=card.mac, place=card.place)
                for card in machine.cards
            ),
        )


def name_of(network: NetworkId) -> str:
    """Of a network's machine, for those who look at the host: it is like no customer's."""
    return _PREFIX + network.partition("-")[2]


def _lookup(conn: libvirt.virConnect, network: NetworkId) -> libvirt.virDomain | None:
    try:
        return conn.lookupByName(name_of(network))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None


def _said(domain: Element, tag: str, text: str) -> None:
    _found(domain, tag).text = text


def _found(parent: Element, tag: str) -> Element:
    found = parent.find(tag)
    assert found is not None, f"a guest's definition has <{tag}>"
    return found


@contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE:
            raise
