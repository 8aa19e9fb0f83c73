"""A machine on a shared disk, with real agents, QEMU and NBD on three hosts: nothing lost, and never running twice."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from arable.domain.ids import HostId
from arable.drivers.storage.protocol import ExportAt, export_name
from drivers import make_drivers as make
from drivers import nbd_clients as nbd
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


def started(site: Site) -> None:
    site.export(1, site.a)
    site.place(1, site.a)
    site.runs(site.a)


def test_a_guest_writes_over_nbd_and_loses_nothing_when_agents_and_servers_are_killed(site) -> None:
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
        sh.run("touch /tmp/enough; while [ ! -e /tmp/done ]; do sleep 1; done", 300)
        assert "no" not in sh.run("cat /tmp/failed 2>/dev/null; true")
        sh.run("echo 3 > /proc/sys/vm/drop_caches")
        for n in (0, 5, 9):
            read = f"dd if=/dev/vda bs=64k skip={n * 64} count=64 2>/dev/null | sha256sum"
            assert sh.run(read).split()[0] == told
        assert sh.run("dmesg | grep -ci 'i/o error'; true").strip() == "0"
    assert site.qemu(site.a) == first, "the same guest, never stopped"


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
