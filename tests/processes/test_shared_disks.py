"""A machine on a shared disk, with real agents, QEMU and NBD on three hosts: nothing lost, and never running twice."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from arable.domain.ids import HostId, OperationId, SnapshotId
from arable.domain.snapshot import SnapshotAct, SnapshotWish
from arable.domain.units import MIB
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.storage import snapshots
from arable.drivers.storage.protocol import ExportAt, export_name
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers import nbd_clients as nbd
from drivers.test_local_storage import tool
from processes.shared_site import FIRST, LEASES, LENGTH, Host, Site, ended, listening

pytestmark = pytest.mark.real


@pytest.fixture
def site(tmp_path_factory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("wm"), stack)


def at(site: Site, epoch: int) -> ExportAt:
    return ExportAt(
        volume=site.volume,
        address=site.storage.address,
        port=FIRST,
        name=export_name(site.volume, epoch),
    )


def refused(site: Site, host: Host, epoch: int, storage: HostId | None = None) -> str:
    """Why a raw client with that host's certificate, on that host, does not get at the disk; empty if it does."""
    credentials = host.home / "disks" / "current"
    return nbd.may_connect(
        at(site, epoch), credentials, storage or site.storage.name, netns=host.netns
    )


@contextmanager
def small_pool(site: Site, mib: int) -> Iterator[Path]:
    """The storage host's disks are on a small file system of their own; a file there that takes its room."""
    folder = site.storage.home / "volumes"
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0711", "none", str(folder)]
    subprocess.run(words, check=True)
    try:
        yield folder / "of-others"
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def take_all(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


@contextmanager
def looking(site: Site, host: Host) -> Iterator[LibvirtHypervisor]:
    """Another pair of eyes at its guests."""
    uri = site.daemons[host.name].uri
    hypervisor = LibvirtHypervisor(uri, site.folder / "look", RealClock(), accelerator="tcg")
    yield hypervisor
    hypervisor.close()


def started(site: Site) -> None:
    site.export(1, site.a)
    site.place(1, site.a)
    site.runs(site.a)


def test_a_guest_writes_over_nbd_and_loses_nothing_when_agents_and_servers_are_killed_its_disk_grows_and_room_lacks(
    site,
) -> None:
    with small_pool(site, 192) as filler:
        _writes_and_loses_nothing(site, filler)


def _writes_and_loses_nothing(site: Site, filler: Path) -> None:
    started(site)
    first = site.qemu(site.a)
    site.boots(site.a)
    assert refused(site, site.b, 1), "another host's certificate"
    with site.shell(site.a) as sh:
        sh.run("dd if=/dev/urandom of=/tmp/much bs=64k count=64 2>/dev/null")
        told = sh.run("sha256sum /tmp/much").split()[0]
        # Writes in the background, the ten places over and over, while the other side is broken twice.
        sh.run(
            "(n=0; while [ $n -lt 10 -o ! -e /tmp/enough ]; do dd if=/tmp/much of=/dev/vda bs=64k"
            " seek=$((n % 10 * 64)) conv=notrunc,fsync 2>/dev/null || echo no > /tmp/failed;"
            " n=$((n + 1)); done; echo yes > /tmp/done) & true"
        )
        (server,) = site.servers()
        site.storage.kill()
        site.storage.start()
        make.wait_until(site.answers, "the storage host's agent", 90)
        assert site.servers() == [server], "taken over as it was"
        site.storage.signal(signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        make.wait_until(lambda: site.stalled(site.a), "the guest to stand still", 60)
        site.storage.signal(signal.SIGCONT)
        make.wait_until(
            lambda: site.servers() not in ([], [server]), "another server of the disk", 90
        )
        make.wait_until(lambda: not site.stalled(site.a), "the guest to go on", 60)
        site.export(1, site.a, mib=96)
        site.tell(site.a, site.guest(1, mib=96, generation=2))
        sh.run("while [ $(cat /sys/block/vda/size) != 196608 ]; do sleep 1; done", 120)
        sh.run("touch /tmp/enough; while [ ! -e /tmp/done ]; do sleep 1; done", 300)
        assert "no" not in sh.run("cat /tmp/failed 2>/dev/null; true")
        sh.run("echo 3 > /proc/sys/vm/drop_caches")
        for n in (0, 5, 9):
            read = f"dd if=/dev/vda bs=64k skip={n * 64} count=64 2>/dev/null | sha256sum"
            assert sh.run(read).split()[0] == told
        take_all(filler)
        sh.run(
            "(dd if=/tmp/much of=/dev/vda bs=64k seek=1000 conv=notrunc,fsync 2>/dev/null"
            " && echo yes > /tmp/late) & true"
        )
        with looking(site, site.a) as eyes:
            make.wait_until(
                lambda: eyes.guests()[site.machine].short, "a guest that stands still for room", 60
            )
        filler.unlink()
        sh.run("while [ ! -e /tmp/late ]; do sleep 1; done", 120)
        sh.run("echo 3 > /proc/sys/vm/drop_caches")
        read = "dd if=/dev/vda bs=64k skip=1000 count=64 2>/dev/null | sha256sum"
        assert sh.run(read).split()[0] == told
        assert sh.run("dmesg | grep -ci 'i/o error'; true").strip() == "0"
    assert site.qemu(site.a) == first, "the same guest, never stopped"


def test_a_shared_disk_is_kept_while_a_guest_writes_to_it_and_set_back_when_nobody_has_it(
    site,
) -> None:
    def wish(act: SnapshotAct, name: str) -> SnapshotWish:
        return SnapshotWish(
            operation=OperationId(f"operation-{act}{name}"),
            act=act,
            snapshot=SnapshotId(f"snapshot-{name}"),
            volume=site.volume,
            pool=site.storage.pool,
            bytes=64 * MIB,
        )

    started(site)
    site.boots(site.a)
    path = site.storage.home / "volumes" / "volumes" / f"{site.volume}.qcow2"
    with site.shell(site.a) as sh:
        sh.run(
            "tr '\\0' 7 < /dev/zero | dd of=/tmp/chunk bs=64k count=1 iflag=fullblock 2>/dev/null"
        )
        # Each chunk is on the disk before its number is said, and the next one begun.
        sh.run(
            "(n=0; while [ $n -lt 120 ]; do dd if=/tmp/chunk of=/dev/vda bs=64k count=1 seek=$n"
            " conv=notrunc,fsync 2>/dev/null || echo no > /tmp/failed; n=$((n + 1));"
            " echo $n > /tmp/next; mv /tmp/next /tmp/at; done; touch /tmp/over) & true"
        )
        sh.run("while [ ! -e /tmp/at ]; do sleep 1; done")
        (server,) = site.servers()
        least = int(sh.run("cat /tmp/at"))
        site.export(1, site.a, snapshots=[wish(SnapshotAct.TAKE, "a")])
        make.wait_until(lambda: snapshots.names(path) == {"snapshot-a"}, "a snapshot", 90)
        most = int(sh.run("cat /tmp/at")) + 1
        assert site.servers() == [server], "it was served on"
        sh.run("while [ ! -e /tmp/over ]; do sleep 1; done", 300)
        assert sh.run("cat /tmp/failed 2>/dev/null; true").strip() == ""
    site.a.kill()
    site.a.wish()
    site.a.start()
    site.export(1, None, snapshots=[wish(SnapshotAct.RESTORE, "a")])
    done = site.storage.home / "volumes" / "restored" / site.volume
    make.wait_until(done.exists, f"the disk to be set back: {site.storage.log[-1500:]}", 90)
    assert not site.qemu(site.a)
    raw = site.folder / "raw"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw)
    content = raw.read_bytes()
    whole = content.count(b"7") >> 16
    assert content[: whole << 16] == b"7" * (whole << 16), "no chunk is torn"
    assert not any(content[whole << 16 :])
    assert least <= whole <= most


def test_a_storage_host_listens_where_it_is_written_down_and_nowhere_else(site) -> None:
    site.export(1, site.a)
    site.place(1, site.a)
    site.runs(site.a)
    known = {
        (site.storage.address, LEASES): "leases: mutual TLS, and hosts alone are answered",
        (site.storage.address, FIRST): "the disk: mutual TLS, and its holder alone is let in",
    }
    assert listening(site.storage) == set(known)
    assert listening(site.a) == listening(site.b) == set()


def test_a_frozen_host_has_its_guest_killed_before_another_host_starts_it(site) -> None:
    started(site)
    first = site.qemu(site.a)
    with nbd.client(
        at(site, 1), site.a.home / "disks/current", site.storage.name, netns=site.a.netns
    ) as old:
        assert old.writes(1 << 20, 7)
        site.a.signal(signal.SIGSTOP)
        site.export(2, site.b)
        site.place(2, site.b)
        seen: list[int] = []
        died = threading.Event()

        def watch() -> None:
            if ended(first, 60 + LENGTH):
                seen.append(site.qemu(site.b))
                died.set()

        threading.Thread(target=watch, daemon=True).start()
        site.runs(site.b)
        assert died.wait(5), "the guest of the frozen host runs on"
        assert seen == [0], "the next one was there before it was gone"
        assert "its lease is over" in (site.a.home / "watch" / "watchdog.log").read_text()
        assert not old.writes(1 << 20, 9), "an old connection"
    for epoch in (1, 2):
        assert refused(site, site.a, epoch)
    assert not refused(site, site.b, 2)
    site.a.signal(signal.SIGCONT)
    second = site.qemu(site.b)
    with nbd.client(
        at(site, 2), site.b.home / "disks/current", site.storage.name, netns=site.b.netns
    ) as new:
        assert new.reads(1 << 20, 7), "what the old holder wrote in its time"
        # Longer than any lease: the one that woke up must not come back.
        assert not ended(second, LENGTH + 5)
        assert site.qemu(site.a) == 0
        assert new.reads(1 << 20, 7)


def test_a_killed_agent_that_comes_back_in_time_is_not_noticed_and_one_that_does_not_is(
    site,
) -> None:
    started(site)
    first = site.qemu(site.a)
    watchdog = site.watchdog(site.a)
    site.a.kill()
    site.a.start()
    assert not ended(first, LENGTH * 1.5), site.a.log[-2000:]
    assert site.watchdog(site.a) == watchdog
    site.a.kill()
    assert ended(first, LENGTH + 30), "no agent, no lease"
    site.a.start()
    site.runs(site.a)
    assert site.deadlines(site.a) == [f"{site.machine}.e1"]
