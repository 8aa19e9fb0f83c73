"""Guests' disks: what a shared disk costs beside plain QEMU at the same export, and how true limits of operations are.

A pool as a storage host has it (qemu-storage-daemon, TLS, a throttle, qcow2, written through), on this machine's
loopback. One guest is made by the product's driver, the other one is plain QEMU with the same kernel, memory and export;
they work in turns, and figures are those of the guest's own clock.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import Guest, GuestDisk, NbdSource
from arable.drivers.storage.local import LocalStorage
from arable.drivers.storage.nbd.pool import NbdStorage
from arable.drivers.storage.protocol import ExportAt
from arable.runtime.boottime import KernelBootTime
from arable.runtime.clock import RealClock
from bench.figures import Table, median, ratio, result, shown
from bench.start_overhead import Share, ended, share_of, shared
from drivers import make_drivers as make
from drivers import nbd_clients
from drivers.guest_shell import Shell, shell, wait_for_line
from guest_images import CACHE, image

_S, _A = HostId("host-s"), HostId("host-a")
_DISK_MIB, _MEMORY_MIB = 64, 128
_LIMITS = (50, 200)  # operations a second
_READERS = 4
_PAIRS = 4  # for each time: they are short, so that both of a pair meet the same machine
_WORK = {
    "writes of 64 KiB": ("dd if=/dev/zero of=/dev/vda bs=64k count=64 oflag=direct conv=notrunc", 4 * MIB),
    "reads of 64 KiB": ("dd if=/dev/vda of=/dev/null bs=64k count=128 iflag=direct", 8 * MIB),
    "reads of 4 KiB": ("dd if=/dev/vda of=/dev/null bs=4k count=256 iflag=direct", MIB),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A pool, a volume of it that is served to one host, and that host's hypervisor."""

    folder: Path
    pool: NbdStorage
    volume: VolumeId
    at: ExportAt
    credentials: Path
    daemon: LibvirtDaemon
    hypervisor: LibvirtHypervisor


class Took(NamedTuple):
    """A piece of work: seconds by the guest's clock, and of its QEMU's processor time."""

    seconds: float
    cpu: float


@dataclass(frozen=True)
class Worker:
    """A guest's shell, and its QEMU."""

    talk: Shell
    pid: int

    def run(self, command: str) -> Took:
        """Do it there."""
        now, before = "cut -d' ' -f1 /proc/uptime", self._cpu()
        begun, ended_ = self.talk.run(f"{now}; {command} 2>/dev/null; {now}").split()[:2]
        return Took(max(float(ended_) - float(begun), 0.01), self._cpu() - before)

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disks(folder: Path, times: int, seconds: int) -> list[str]:
    """Both figures."""
    folder.mkdir()
    with place(folder) as there:
        local = LocalStorage(folder / "local", make.pool(), RealClock())
        further = local.ensure(make.volume(), _DISK_MIB * MIB, None)
        guest = _guest(there, GuestDisk(path=further.path, format=further.format, serial="local", position=1))  # fmt: skip
        with ours(there, guest) as mine, plain(there, share_of(guest.machine)) as other:
            for device in (
                "vda",
                "sda",
            ):  # a server tells of holes without reading, and counts no such reads
                mine.run(f"dd if=/dev/zero of=/dev/{device} bs=64k count={_DISK_MIB * 16}")
            told = _pairs(mine, other, times)
            told += _held(there, guest, mine, seconds)
    return told


# -- the product's way, and plain QEMU's ----------------------------------------------------------


def _pairs(mine: Worker, other: Worker, times: int) -> list[str]:
    table = Table(
        "MiB/s of a guest on a shared disk, and its QEMU's processor time for each MiB",
        ("work", "plain QEMU", "the product's", "ratio of pairs", "plain ms", "ms", "ratio"),
    )
    least = []
    for name, (command, count) in _WORK.items():
        mib = count / MIB
        told: list[tuple[Took, Took]] = []
        for number in range(times * _PAIRS):
            turns = (mine, other) if number % 2 else (other, mine)
            took = {turn: turn.run(command) for turn in turns}
            told.append((took[other], took[mine]))
        speeds = [shown(median([mib / pair[at].seconds for pair in told])) for at in (0, 1)]
        costs = [median([pair[at].cpu * 1000 / mib for pair in told]) for at in (0, 1)]
        least.append(median([plainly.seconds / ours_.seconds for plainly, ours_ in told]))
        table.add(name, *speeds, shown(least[-1]), *map(shown, costs), ratio(costs[1], costs[0]))
    print(table.text())
    return [result("disk_ratio", min(least), "ratio", "0.95")]


# -- limits ---------------------------------------------------------------------------------------


def _held(there: Place, guest: Guest, mine: Worker, seconds: int) -> list[str]:
    """Reads of 4 KiB that the guest gets done, of as many as it can ask for by several programs at once."""

    def at_its_pool(iops: int) -> None:
        there.pool.limit(there.volume, iops, 0)

    def at_its_host(iops: int) -> None:
        limited = tuple(replace(disk, iops=iops * disk.position) for disk in guest.disks)
        there.hypervisor.ensure(replace(guest, generation=guest.generation + iops, disks=limited))

    kinds: tuple[tuple[str, str, Callable[[int], None]], ...] = (
        ("shared, at its storage host", "/dev/vda", at_its_pool),
        ("local, at its hypervisor", "/dev/sda", at_its_host),
    )
    table = Table("Limits of disks", ("disk and limit", "operations/s", "measured", "ratio"))
    errors = []
    for name, device, limit in kinds:
        for iops in _LIMITS:
            limit(iops)
            measured = _done(mine.talk, device, seconds)
            errors.append(abs(measured / iops - 1) * 100)
            table.add(f"{name}, {iops}", str(iops), shown(measured), ratio(measured, iops))
        limit(0)
    print(table.text())
    return [result("iops_limit_error_percent", max(errors), "%", "10")]


def _done(talk: Shell, device: str, seconds: int) -> float:
    """Reads a second that the disk itself counts, once what was saved up is used up."""
    read = f"dd if={device} of=/dev/null bs=4k iflag=direct"
    readers = " ".join(
        f"{read} skip={number * 3000} 2>/dev/null & p{number}=$!;" for number in range(_READERS)
    )
    count = f"cut -d' ' -f1 /proc/uptime; awk '{{print $1}}' /sys/block/{device[5:]}/stat;"
    end = " ".join(f"kill $p{number};" for number in range(_READERS))
    said = talk.run(
        f"{readers} sleep 2; echo at; {count} sleep {seconds}; {count} {{ {end} }} 2>/dev/null; true"
    )
    words = said.partition("at\n")[2].split()[:4]
    begun, before, ended_, after = map(float, words)
    return (after - before) / (ended_ - begun)


# -- where it happens -----------------------------------------------------------------------------


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Everything but guests."""
    authority = nbd_clients.authority(folder)
    own, theirs = (nbd_clients.credentials(folder, authority, host) for host in (_S, _A))
    first = 20_000 + os.getpid() % 400 * 100
    pool = NbdStorage(
        folder / "pool",
        make.pool(),
        RealClock(),
        KernelBootTime(),
        address="127.0.0.1",
        credentials=own,
        ports=range(first, first + 100),
    )
    with ExitStack() as stack:
        volume = make.volume()
        pool.ensure(volume, _DISK_MIB * MIB, None)
        stack.callback(pool.exports.cut, [volume])
        pool.exports.open(1, _A, [volume])
        daemon = LibvirtDaemon(
            folder / "libvirt",
            RealClock(),
            capabilities=CACHE.parent / "capabilities",
            disks=theirs.parent,
        )
        stack.callback(daemon.stop)
        uri = daemon.start()
        hypervisor = LibvirtHypervisor(uri, folder / "guests", RealClock(), accelerator="tcg")
        stack.callback(hypervisor.close)
        at = pool.exports.where(volume, 1)
        yield Place(folder, pool, volume, at, theirs, daemon, hypervisor)


def _guest(there: Place, *further: GuestDisk) -> Guest:
    at = there.at
    source = NbdSource(address=at.address, port=at.port, name=at.name, server=_S)
    disk = GuestDisk(format=PartFormat.RAW, serial="shared", nbd=source)
    return make.guest(
        cpu_mhz=2000,
        memory_mib=_MEMORY_MIB,
        kernel=image().kernel,
        initrd=image().initrd,
        command_line=image().command_line,
        disks=(disk, *further),
    )


@contextmanager
def ours(there: Place, guest: Guest) -> Iterator[Worker]:
    """As the product has it."""
    hypervisor = there.hypervisor
    hypervisor.ensure(guest)
    try:
        wait_for_line(hypervisor.console_log(guest.machine), "ARABLE ready")
        with shell(hypervisor.console(guest.machine)) as talk:
            yield Worker(talk, there.daemon.guests()[guest.machine])
    finally:
        hypervisor.remove(guest.machine)


@contextmanager
def plain(there: Place, share: Share | None) -> Iterator[Worker]:
    """A guest that nobody but QEMU looks after, at the same export, and weighed as the other one is."""
    at, log = there.at, there.folder / "plain.log"
    socket = there.folder / "plain.sock"
    disk = {
        "driver": "nbd",
        "node-name": "disk",
        "server": {"type": "inet", "host": at.address, "port": str(at.port)},
        "export": at.name,
        "tls-creds": "tls",
        "tls-hostname": _S,
    }
    words = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,tb-size=64", "-nodefaults"]
    words += ["-display", "none", "-m", str(_MEMORY_MIB), "-smp", "1"]
    words += ["-kernel", str(image().kernel), "-initrd", str(image().initrd)]
    words += ["-append", image().command_line]
    words += ["-chardev", f"socket,id=con,path={socket},server=on,wait=off,logfile={log}"]
    words += ["-serial", "chardev:con"]
    words += ["-object", f"tls-creds-x509,id=tls,endpoint=client,dir={there.credentials}"]
    words += ["-blockdev", msgspec.json.encode(disk).decode()]
    words += ["-device", "virtio-blk-pci,drive=disk"]
    with (
        subprocess.Popen(words, stdin=subprocess.DEVNULL) as qemu,
        ended(qemu),
        shared(share, qemu.pid),
    ):
        wait_for_line(log, "ARABLE ready")
        with shell(socket) as talk:
            yield Worker(talk, qemu.pid)
