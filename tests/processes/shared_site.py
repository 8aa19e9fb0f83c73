"""A storage host and two compute hosts as namespaces of this machine, with agents as processes of their own.

No management server is anywhere: what each host should do is written into its agent's ledger, as if a server had
said it before it died.
"""

import hashlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from pyroute2 import IPRoute

from agent import edge
from arable.agent.deadlines import FOLDER as DEADLINES
from arable.agent.ledger import FileLedger, Held
from arable.agent.watch import FOLDER as WATCH
from arable.domain.ids import HostId, MachineId, PoolId, VolumeId
from arable.domain.manifest import (
    DiskWish,
    ExportWish,
    GuestWish,
    Heir,
    HostManifest,
    ImagePart,
    PartFormat,
    PartRole,
    Power,
    SharedFrom,
)
from arable.domain.snapshot import SnapshotWish
from arable.domain.units import MIB
from arable.drivers import namespaces, processes
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.network.links import Links
from arable.drivers.storage.local import LocalStorage
from arable.drivers.storage.nbd.credentials import FOLDER as DISKS
from arable.drivers.storage.nbd.credentials import keep
from arable.runtime.ca import Authority, IdentityKind, new_request
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from drivers import make_drivers as make
from drivers.emulated_hosts import configure, is_alive, move
from drivers.guest_shell import Shell, shell, wait_for_line
from guest_images import CACHE, image

LENGTH = 12.0
LEASES, FIRST = 10808, 10809
CHANCE = Entropy.system()


@dataclass
class Host:
    """One of them."""

    name: HostId
    netns: str
    address: str
    home: Path
    pool: PoolId
    agent: "subprocess.Popen[bytes] | None" = None
    manifest: HostManifest = field(default_factory=lambda: HostManifest(HostId("host-x")))

    @property
    def log(self) -> str:
        return (self.home.parent / f"{self.home.name}.log").read_text(errors="replace")

    def wish(self, **items) -> None:
        """What its agent finds in the ledger when it is started next."""
        before = FileLedger(self.home / "ledger.json").load()
        generation = (before.manifest.generation if before else 0) + 1
        self.manifest = HostManifest(self.name, generation, **items)
        facts = before.facts if before else {}
        FileLedger(self.home / "ledger.json").save(Held(manifest=self.manifest, facts=facts))

    def start(self) -> None:
        words = [sys.executable, "-m", "arable.processes.main", "agent", "run"]
        words += ["--config", str(self.home / "agent.yaml"), "--verbose"]
        with (self.home.parent / f"{self.home.name}.log").open("ab") as said:
            self.agent = namespaces.inside(
                self.netns,
                lambda: subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said),
            )

    def kill(self) -> None:
        """The agent's process is gone, without a word."""
        if self.agent:
            self.agent.kill()
            self.agent.wait()
            self.agent = None

    def signal(self, number: int) -> None:
        assert self.agent
        self.agent.send_signal(number)


class Site:
    """All of it."""

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *,
        length: float = LENGTH,
        by: str = "nbd",
        others: int = 0,
    ) -> None:
        self.folder = folder
        self.authority = Authority.create(folder / "authority", RealClock(), CHANCE)
        self.machine, self.volume = MachineId(make.fresh("machine")), VolumeId(make.fresh("volume"))
        self.mark = make.fresh("nic")[-6:]
        switch = self._namespace("sw", stack)
        namespaces.inside(switch, _lay_bridge)
        self.storage = self._host("s", 9, switch, stack)
        self.pool = folder / "pool" if by == "file" else self.storage.home / "volumes"
        self.a = self._host("a", 1, switch, stack)
        self.b = self._host("b", 2, switch, stack)
        self.others = [self._host(f"t{n}", 20 + n, switch, stack) for n in range(others)]
        for storage in (self.storage, *self.others):
            _write(
                storage,
                roles=["storage"],
                storage={
                    "driver": by,
                    "address": storage.address,
                    "lease_seconds": length,
                    **({"directory": str(self.pool)} if by == "file" else {}),
                },
            )
        stack.callback(self._end_all)
        self.daemons: dict[HostId, LibvirtDaemon] = {}
        for host in (self.a, self.b):
            daemon = LibvirtDaemon(
                host.home.parent / f"lv-{host.home.name}",
                RealClock(),
                host.netns,
                capabilities=CACHE.parent / "capabilities",
                disks=host.home / DISKS,
            )
            stack.callback(daemon.stop)
            uri = daemon.start()
            self.daemons[host.name] = daemon
            _write(
                host,
                roles=["compute"],
                hypervisor={
                    "driver": "libvirt",
                    "uri": uri,
                    "accelerator": "tcg",
                    "move_address": host.address,
                },
                storage={"driver": "local"},
                file_pools=[str(self.pool)] if by == "file" else [],
            )
            self._bring_images(host)

    def export(
        self,
        epoch: int,
        holder: Host | None,
        heir: Heir | None = None,
        *,
        mib: int = 64,
        snapshots: Sequence[SnapshotWish] = (),
    ) -> None:
        """What is wished of the storage host; without a holder, nobody may have the machine's lease."""
        disk = DiskWish(volume=self.volume, pool=self.storage.pool, bytes=mib * MIB)
        wish = ExportWish(
            machine=self.machine,
            generation=epoch,
            holder=holder.name if holder else self.storage.name,
            epoch=epoch,
            disks=(disk,),
            heir=heir,
        )
        self.storage.kill()
        self.storage.wish(
            exports={self.machine: wish} if holder else {},
            snapshots={each.operation: each for each in snapshots},
        )
        self.storage.start()

    def place(self, epoch: int, host: Host) -> None:
        self.tell(host, self.guest(epoch))

    def tell(self, host: Host, wish: GuestWish) -> None:
        """Its agent finds this wish when it comes back."""
        host.kill()
        host.wish(guests={self.machine: wish})
        host.start()

    def guest(self, epoch: int, mib: int = 64, **but) -> GuestWish:
        """What is wished of the host of that epoch."""
        shared = SharedFrom(host=self.storage.name, address=f"{self.storage.address}:{LEASES}")
        disk = DiskWish(volume=self.volume, pool=self.storage.pool, bytes=mib * MIB, shared=shared)
        usual = {
            "machine": self.machine,
            "generation": epoch,
            "name": "m",
            "power": Power.ON,
            "cpus": 1,
            "cpu_mhz": 500,
            "memory_mib": 128,
            "parts": tuple(part for part, _ in _parts()),
            "command_line": image().command_line,
            "disks": (disk,),
            "epoch": epoch,
        }
        return GuestWish(**usual | but)

    def qemu(self, host: Host) -> int:
        """The process of the machine there, or 0."""
        return self.daemons[host.name].guests().get(self.machine, 0)

    def runs(self, host: Host) -> None:
        """Return when the guest there has started."""
        make.wait_until(
            lambda: self.qemu(host) > 0, f"a guest on {host.name}: {host.log[-1500:]}", 240
        )

    def boots(self, host: Host) -> None:
        wait_for_line(self._console(host, "log"), "ARABLE ready", 400)

    @contextmanager
    def shell(self, host: Host) -> Iterator[Shell]:
        with shell(self._console(host, "sock")) as talk:
            yield talk

    def stalled(self, host: Host) -> bool:
        """Whether the guest stands still because of its disk."""
        words = ["virsh", "--connect", self.daemons[host.name].uri, "domstate", "--reason"]
        said = subprocess.run([*words, self.machine], capture_output=True, text=True, check=True)
        return "I/O error" in said.stdout

    def answers(self) -> bool:
        """Whether the lease service is there."""
        return (self.storage.address, LEASES) in listening(self.storage)

    def servers(self, suffix: str = "pid", storage: Host | None = None) -> list[int]:
        """The processes that serve the volume; with `next.pid` those that stand in for it."""
        path = str(
            (storage or self.storage).home / "volumes" / "exports" / f"{self.volume}.{suffix}"
        ).encode()
        found = list(processes.holding(lambda words: b"--pidfile" in words and path in words))
        for one in found:
            one.close()
        return [one.pid for one in found]

    def doors(self) -> list[int]:
        """The processes that speak iSCSI to clients of the volume, or of what stands in for it."""
        folder = str(self.storage.home / "volumes" / "exports").encode()
        found = list(
            processes.holding(lambda words: words[:1] == [b"tgtd"] and words[-2].startswith(folder))
        )
        for one in found:
            one.close()
        return [one.pid for one in found]

    def watchdog(self, host: Host) -> int:
        return int((host.home / WATCH / "watchdog.beat").read_bytes().split()[0])

    def deadlines(self, host: Host) -> list[str]:
        names = [path.name for path in (host.home / WATCH / DEADLINES).iterdir()]
        return sorted(each for each in names if each[0] != ".")  # as the watchdog reads them

    def _console(self, host: Host, kind: str) -> Path:
        return host.home / "guests" / f"{self.machine.partition('-')[2][-20:]}.{kind}"

    def _namespace(self, part: str, stack: ExitStack) -> str:
        name = f"wm-{self.mark}-{part}"
        namespaces.create(name)
        stack.callback(namespaces.remove, name)
        Links(name).raise_up("lo")
        return name

    def _host(self, part: str, number: int, switch: str, stack: ExitStack) -> Host:
        netns = self._namespace(part, stack)
        Links(netns).make_veth("up0", "far0")
        move(netns, "far0", switch, f"p{number}")
        namespaces.inside(switch, lambda: _join_bridge(f"p{number}"))
        address = f"172.31.7.{number}"
        configure(netns, "up0", address)
        name = HostId(f"host-{self.mark}{part}")
        home = self.folder / part
        edge.identity(self.authority, home, name)
        pool = PoolId(make.fresh("pool"))
        (home / "pool").write_text(pool)
        self.certify(home, name)
        host = Host(name, netns, address, home, pool)
        stack.callback(host.kill)
        return host

    def certify(self, home: Path, name: HostId) -> Path:
        request = new_request(name)
        signed = self.authority.sign(request.request, name, IdentityKind.DISKS, 24)
        return keep(home / DISKS, request.key, signed, self.authority.pem, CHANCE.letters(6))

    def _bring_images(self, host: Host) -> None:
        local = LocalStorage(host.home / "volumes", host.pool, RealClock())
        for part, content in _parts():
            local.admit(part, make.Depot(content).fetch)

    def _end_all(self) -> None:
        """Watchdogs and servers of disks outlive agents; nothing of ours outlives a test."""
        for host in (self.storage, *self.others, self.a, self.b):
            host.kill()
            with suppress(OSError, ValueError, IndexError):
                pid = self.watchdog(host)
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
        more = [pid for other in self.others for pid in self.servers(storage=other)]
        for pid in (*self.servers(), *self.servers("next.pid"), *self.doors(), *more):
            os.kill(pid, signal.SIGKILL)


def listening(host: Host) -> set[tuple[str, int]]:
    """Where something takes TCP connections in that host's namespace, by IPv4 or IPv6."""

    def look() -> list[str]:
        words = ["ss", "-Hltn"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()

    found = (line.split()[3].rpartition(":") for line in namespaces.inside(host.netns, look))
    return {(address, int(port)) for address, _, port in found}


def ended(pid: int, seconds: float) -> bool:
    """Whether the process ends in that time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _parts() -> list[tuple[ImagePart, bytes]]:
    found = []
    for role, path in ((PartRole.KERNEL, image().kernel), (PartRole.INITRD, image().initrd)):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        part = ImagePart(role=role, sha256=digest, bytes=len(content), format=PartFormat.BLOB)
        found.append((part, content))
    return found


def _write(host: Host, **but) -> None:
    config = {
        "directory": str(host.home),
        "servers": ["127.0.0.1:9"],
        "name": host.name,
        "network": {"driver": "sim"},
    }
    (host.home / "agent.yaml").write_bytes(msgspec.json.encode(config | but))


def _lay_bridge() -> None:
    with IPRoute() as ip:
        ip.link("add", ifname="br0", kind="bridge")
        (index,) = ip.link_lookup(ifname="br0")
        ip.link("set", index=index, state="up")


def _join_bridge(device: str) -> None:
    with IPRoute() as ip:
        (index,) = ip.link_lookup(ifname=device)
        (bridge,) = ip.link_lookup(ifname="br0")
        ip.link("set", index=index, master=bridge, state="up")
