"""What a cloud adds to the start of a machine: from the API call to the guest's first line, against plain QEMU.

A real lab (`examples/lab-small.yaml`): real agents, libvirt, Open vSwitch, a routing appliance. The first deployment
is not counted; it brings the image to the hosts and starts the appliance. Then the product and plain QEMU take turns,
so that a slow hour of the machine is in both. Plain QEMU has the same kernel, initrd, command line and memory, and the
same share of a busy processor, once with nothing else and once with the devices that the machine has.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from arable.client.arable import Arable
from arable.client.errors import NotFound
from arable.domain.errors import Unavailable
from arable.lab import cache, guest_image, power
from arable.lab.guest_image import MEMORY_MIB, GuestImage
from arable.lab.power import Site
from arable.processes import up
from arable.processes.leaving import until_told
from arable.processes.up import EXAMPLES, Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.wire.accounts import AccountIn, FirstUserIn
from arable.wire.machines import DeployIn, DestroyIn
from bench.figures import Table, machine, median, ratio, result, shown
from bench.quiet import await_quiet

FIRST_LINE = b"ARABLE init"
_WITHIN = 120.0
_LOOK = 0.002  # seconds between looks at a console's log: what a start may seem longer than it is


@dataclass(frozen=True, slots=True)
class Share:
    """What a machine gets of a busy processor: its weight, and the control group that it is weighed in."""

    group: Path
    weight: str


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds since the call."""

    answered: float  # by the API: kept, and on its way
    opened: float  # QEMU has opened the console's log
    line: float  # the guest's first
    share: Share | None


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench start-overhead", description=__doc__)
    parser.add_argument("--starts", type=int, default=10, help="of each kind")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    options = parser.parse_args(argv)
    print(machine(), flush=True)
    wanted_topology = up.topology_of(EXAMPLES / "lab-small.yaml")
    clock = RealClock()
    kinds = ("plain", "devices", "answered", "opened", "arable")
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    with until_told(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arable-bench-")))
        up.check_machine(folder)
        wanted = Wanted(data=folder / "cloud", topology=wanted_topology, api="127.0.0.1:0")
        cloud = stack.enter_context(up.cloud(wanted, clock, lambda text: print(f"  {text}")))
        guest = guest_image.build(cache.folder("guest"))
        with customer(cloud) as client:
            for _ in wanted_topology.regions[0].zones[0].pods[0].hosts:
                deployed(cloud, client)  # once for each host: it has the image from then on
            for number in range(options.starts):
                await_quiet(options.wait)
                stages = deployed(cloud, client)
                took["answered"].append(stages.answered)
                took["opened"].append(stages.opened)
                took["arable"].append(stages.line)
                took["devices"].append(plain(guest, folder, stages.share, devices=True))
                took["plain"].append(plain(guest, folder, stages.share, devices=False))
                told = ", ".join(f"{name} {each[-1]:.2f}" for name, each in took.items())
                print(f"  {number + 1}: {told} s", flush=True)
    print()
    print(table(took).text())
    print(result("start_overhead_ratio", overhead(took), "ratio", "1.10"))


def overhead(took: dict[str, list[float]]) -> float:
    """The cloud's share: against a QEMU that has nothing but what the guest's first line needs."""
    return median(took["arable"]) / median(took["plain"])


def table(took: dict[str, list[float]]) -> Table:
    """Medians and what they are made of."""
    made = Table(
        "Seconds to the guest's first line", ("start", "median", "least", "most", "ratio to plain")
    )
    base = median(took["plain"])
    for name, title in (
        ("plain", "plain QEMU"),
        ("devices", "plain QEMU with the machine's devices"),
        ("answered", "the API's answer"),
        ("opened", "the API call to QEMU's first act"),
        ("arable", "the API call to the line"),
    ):
        each = took[name]
        middle = median(each)
        made.add(title, shown(middle), shown(min(each)), shown(max(each)), ratio(middle, base))
    return made


def customer(cloud: Cloud) -> Arable:
    """A client of a new account."""
    password = Entropy.system().secret(24)
    with cloud.operator() as operator:
        user = FirstUserIn(name="bench", password=password)
        operator.accounts.create(AccountIn(name="bench", user=user))
    client = Arable(cloud.url)
    client.sign_in("bench", password)
    return client


def deployed(cloud: Cloud, client: Arable) -> Stages:
    """One start by the cloud. The machine is gone when this returns."""
    site = cloud.site
    assert site, "a real lab"
    name = f"m-{Entropy.system().letters(8)}"
    began = time.perf_counter()
    made = client.machines.deploy(DeployIn(name=name, offering="tiny", image="tiny"))
    answered = time.perf_counter() - began
    (one,) = made.machines
    end = time.monotonic() + _WITHIN
    places = logs(site, one.id)
    opened = 0.0
    while not any(FIRST_LINE in _read(log) for log in places):
        if not opened and any(log.exists() for log in places):
            opened = time.perf_counter() - began
        if time.monotonic() > end:
            operation = client.operations.get(made.operation)
            raise Unavailable(f"{name} did not start: {operation.steps} {operation.error}")
        time.sleep(_LOOK)
    line = time.perf_counter() - began
    took = Stages(answered, opened, line, share_of(one.id))
    client.operations.wait(made.operation)
    client.machines.destroy(one.id, DestroyIn(force=True, expunge=True))
    while True:
        try:
            client.machines.get(one.id)
        except NotFound:
            return took
        if time.monotonic() > end:
            raise Unavailable(f"{name} does not go")
        time.sleep(0.1)


def logs(site: Site, machine_id: str) -> list[Path]:
    """Where the machine's console may be written, one place for each host."""
    file = f"{machine_id.partition('-')[2][-20:]}.log"
    hosts = [device.name for device in site.plan.devices.values() if device.kind == "host"]
    return [power.agent_disk(site.place, host) / "guests" / file for host in hosts]


def share_of(machine_id: str) -> Share | None:
    """The machine's, while it runs; None where control groups are of another kind than libvirt's driver uses here."""
    for process in Path("/proc").glob("[0-9]*"):
        words = _read(process / "cmdline").split(b"\0")
        if b"qemu" in words[0] and any(machine_id.encode() in word for word in words):
            break
    else:
        raise Unavailable(f"no QEMU runs {machine_id}")
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        group = Path(
            "/sys/fs/cgroup/cpu", path[1:]
        ).parent  # QEMU's threads are in groups of the machine's
        if "cpu" in controllers.split(",") and (group / "cpu.shares").exists():
            return Share(group.parent, (group / "cpu.shares").read_text())
    return None


@contextmanager
def shared(share: Share | None, pid: int) -> Iterator[None]:
    """The process is weighed as the machine is: its share is what the customer ordered, and no overhead."""
    if share is None:
        yield
        return
    group = share.group / "plain"
    group.mkdir(exist_ok=True)
    (group / "cpu.shares").write_text(share.weight)
    (group / "cgroup.procs").write_text(str(pid))
    try:
        yield
    finally:
        (share.group / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def plain(guest: GuestImage, folder: Path, share: Share | None, *, devices: bool) -> float:
    """Seconds from starting QEMU to the line."""
    log = folder / "plain.log"
    log.unlink(missing_ok=True)
    argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,tb-size=64"]
    argv += ["-m", str(MEMORY_MIB), "-smp", "1", "-display", "none", "-nodefaults"]
    argv += ["-no-user-config", "-serial", f"file:{log}", "-kernel", str(guest.kernel)]
    argv += ["-initrd", str(guest.initrd), "-append", guest.command_line]
    if devices:
        argv += _devices(folder)
    began = time.perf_counter()
    with (
        subprocess.Popen(argv, stdin=subprocess.DEVNULL) as qemu,
        ended(qemu),
        shared(share, qemu.pid),
    ):
        end = time.monotonic() + _WITHIN
        while FIRST_LINE not in _read(log):
            if qemu.poll() is not None or time.monotonic() > end:
                raise Unavailable("plain QEMU does not start the guest")
            time.sleep(_LOOK)
        return time.perf_counter() - began


@contextmanager
def ended(qemu: "subprocess.Popen[bytes]") -> Iterator[None]:
    """It does not outlive the block."""
    try:
        yield
    finally:
        qemu.kill()


def _devices(folder: Path) -> list[str]:
    """Disk, seed, network, agent's channel, balloon and source of chance, as the product gives them."""
    disks = []
    for at, size in enumerate((64 << 20, 1 << 20)):
        disk = folder / f"plain-{at}.raw"
        if not disk.exists():
            disk.touch()
            os.truncate(disk, size)
        disks += ["-drive", f"file={disk},format=raw,if=none,id=d{at}"]
        disks += ["-device", f"virtio-blk-pci,drive=d{at}"]
    return [
        *disks,
        *("-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0"),
        *("-device", "virtio-serial-pci", "-device", "virtio-balloon-pci"),
        *("-object", "rng-random,filename=/dev/urandom,id=r0"),
        *("-device", "virtio-rng-pci,rng=r0"),
    ]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
