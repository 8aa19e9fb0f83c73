"""Guests under a real libvirt keep the contract; and what only reality can show: signals, sockets, limits, TCP."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from arable.domain.errors import Unavailable
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import (
    Guest,
    GuestDisk,
    GuestPort,
    GuestPower,
    HasConsole,
    HasStats,
)
from arable.drivers.network.protocol import Port
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers.contract_hypervisor import HypervisorContract
from drivers.emulated_hosts import cabled_hosts, run, station
from drivers.guest_shell import Shell, shell, wait_for_line
from guest_images import CACHE, image

pytestmark = pytest.mark.real

CAPABILITIES = CACHE.parent / "capabilities"


@pytest.fixture(scope="session")
def libvirtd(tmp_path_factory) -> Iterator[LibvirtDaemon]:
    daemon = LibvirtDaemon(tmp_path_factory.mktemp("lv"), RealClock(), capabilities=CAPABILITIES)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def hypervisor(libvirtd, tmp_path_factory) -> Iterator[LibvirtHypervisor]:
    made = driver(libvirtd, tmp_path_factory.mktemp("con"))
    yield made
    for machine in made.guests():
        made.remove(machine)
    made.close()


def driver(daemon: LibvirtDaemon, directory: Path, **but) -> LibvirtHypervisor:
    usual = {"accelerator": "tcg"}
    return LibvirtHypervisor(daemon.uri, directory, RealClock(), **usual | but)


def linux(**but):
    """A guest with an operating system."""
    usual = {
        "memory_mib": 128,
        "kernel": image().kernel,
        "initrd": image().initrd,
        "command_line": image().command_line,
    }
    return make.guest(**usual | but)


def ready(hypervisor, guest) -> None:
    wait_for_line(hypervisor.console_log(guest.machine), "ARABLE ready")


def power(hypervisor, guest) -> GuestPower:
    return hypervisor.guests()[guest.machine].power


def virsh(daemon: LibvirtDaemon, *words: str) -> str:
    command = ["virsh", "--connect", daemon.uri, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class TestLibvirt(HypervisorContract):
    """Same promises, real processes."""

    guests_obey = (
        False  # firmware alone listens to no power button; see below for a guest that does
    )

    @pytest.fixture
    def hypervisor(self, hypervisor) -> LibvirtHypervisor:
        return hypervisor

    @pytest.fixture(autouse=True)
    def _at_hand(self, libvirtd) -> None:
        self.daemon = libvirtd

    def further_disks(self, hypervisor, machine):
        xml = fromstring(virsh(self.daemon, "dumpxml", machine))
        disks = xml.iterfind("devices/disk[target]")
        return {
            disk.findtext("serial") for disk in disks if disk.find("target").get("bus") == "scsi"
        }

    def disk_bytes(self, hypervisor, machine, disk):
        told = virsh(self.daemon, "domblkinfo", machine, self.target(machine, disk))
        return int(told.split("Capacity:")[1].split()[0])

    def disk_iops(self, hypervisor, machine, disk):
        told = virsh(self.daemon, "blkdeviotune", machine, self.target(machine, disk), "--live")
        return int(told.split("total_iops_sec")[1].split(":")[1].split()[0])

    def target(self, machine, disk):
        xml = fromstring(virsh(self.daemon, "dumpxml", machine))
        disks = xml.iterfind("devices/disk")
        (found,) = (one for one in disks if one.findtext("serial") == disk.serial)
        return found.find("target").get("dev")

    def incarnation(self, hypervisor, machine):
        return self.daemon.guests()[machine]

    def crash(self, hypervisor, machine):
        os.kill(self.daemon.guests()[machine], signal.SIGKILL)

    def reopened(self, hypervisor):
        return driver(self.daemon, hypervisor._directory)

    def test_it_has_all_extras(self, hypervisor) -> None:
        assert isinstance(hypervisor, HasConsole)
        assert isinstance(hypervisor, HasStats)


def test_a_guest_obeys_its_power_button(hypervisor, tmp_path) -> None:
    guest = linux()
    hypervisor.ensure(guest)
    ready(hypervisor, guest)
    hypervisor.stop(guest.machine, force=False)
    make.wait_until(lambda: power(hypervisor, guest) is GuestPower.OFF, "the guest to be off", 60)
    assert "ARABLE poweroff" in hypervisor.console_log(guest.machine).read_text()


def test_a_running_linux_can_be_talked_to_counted_and_is_held_to_its_limits(
    hypervisor, tmp_path
) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"\0" * 8 * MIB)
    disk = GuestDisk(path=path, format=PartFormat.RAW, serial="vol-1", iops=50)
    guest = linux(disks=(disk,))
    hypervisor.ensure(guest)
    ready(hypervisor, guest)
    (before,) = hypervisor.stats()
    with shell(hypervisor.console(guest.machine)) as sh:
        assert sh.run("echo $((6 * 7))").strip() == "42"
        assert sh.run("cat /sys/block/vda/serial").strip() == "vol-1"
        assert sh.run("nproc").strip() == "1"
        # Each read is an operation of its own only if nobody reads ahead.
        sh.run("echo 0 > /sys/block/vda/queue/read_ahead_kb")
        began = sh.run("cut -d' ' -f1 /proc/uptime")
        sh.run(
            "for n in $(seq 0 9); do dd if=/dev/vda of=/dev/null bs=4k count=30 skip=$((n * 30)); done 2>&1"
        )
        took = float(sh.run("cut -d' ' -f1 /proc/uptime")) - float(began)
    (after,) = hypervisor.stats()
    assert took > 0.6 * 300 / 50, "300 reads at 50 a second"
    assert after.read_ops - before.read_ops >= 300
    assert after.read_bytes - before.read_bytes >= 300 * 4096
    assert after.cpu_ns > before.cpu_ns > 10**8
    assert 10 < after.memory_mib <= guest.memory_mib


def test_a_guest_s_agent_sets_a_password_and_one_without_an_agent_says_so(
    hypervisor, libvirtd
) -> None:
    guest = linux()
    hypervisor.ensure(guest)
    ready(hypervisor, guest)
    connected = "org.qemu.guest_agent.0' state='connected'"
    make.wait_until(lambda: connected in virsh(libvirtd, "dumpxml", guest.machine), "the agent")
    hypervisor.set_password(guest.machine, "root", "$6$salt$hash")
    with shell(hypervisor.console(guest.machine)) as sh:
        assert sh.run("cat /etc/shadow").startswith("root:$6$salt$hash:")
        sh.run(
            "p=$(cat /run/qemu-ga.pid); kill $p; while kill -0 $p 2>/dev/null; do sleep 0.1; done"
        )
    with pytest.raises(Unavailable, match="does not answer"):
        hypervisor.set_password(guest.machine, "root", "$6$salt$other")


def test_a_guest_that_shuts_itself_down_is_off_and_not_crashed(hypervisor) -> None:
    guest = linux()
    hypervisor.ensure(guest)
    ready(hypervisor, guest)
    with shell(hypervisor.console(guest.machine)) as sh:
        sh.last_words("poweroff -f")
        make.wait_until(lambda: power(hypervisor, guest) is GuestPower.OFF, "the guest to be off")


def test_a_guest_that_restarts_itself_is_left_to_it(hypervisor, libvirtd) -> None:
    guest = linux()
    hypervisor.ensure(guest)
    ready(hypervisor, guest)
    pid = libvirtd.guests()[guest.machine]
    with shell(hypervisor.console(guest.machine)) as sh:
        sh.last_words("reboot -f")
        log = hypervisor.console_log(guest.machine)
        make.wait_until(lambda: log.read_text().count("ARABLE ready") == 2, "a second start")
    assert libvirtd.guests()[guest.machine] == pid
    assert hypervisor.guests()[guest.machine].boots == guest.boots


def test_guests_outlive_their_libvirtd_and_the_driver_finds_both_again(
    tmp_path_factory,
) -> None:
    daemon = LibvirtDaemon(tmp_path_factory.mktemp("lv"), RealClock(), capabilities=CAPABILITIES)
    try:
        daemon.start()
        hypervisor = driver(daemon, tmp_path_factory.mktemp("con"))
        guest = make.guest(disks=(make.blank_disk(tmp_path_factory.mktemp("disk")),))
        hypervisor.ensure(guest)
        pid = daemon.guests()[guest.machine]
        os.kill(daemon.pids()[0], signal.SIGKILL)
        make.wait_until(lambda: daemon.pids() == [pid], "libvirtd to be gone")
        with pytest.raises(Unavailable):
            hypervisor.guests()
        daemon.start()
        make.wait_until(lambda: _answers(hypervisor), "the driver to find libvirtd again")
        hypervisor.ensure(guest)
        assert daemon.guests() == {guest.machine: pid}
        assert power(hypervisor, guest) is GuestPower.RUNNING
        daemon.stop(guests=False)
        assert daemon.pids() == [pid]
        hypervisor.close()
    finally:
        daemon.stop()
    assert not daemon.pids()
    assert not _left_behind(daemon, guest)


def test_a_guest_that_ended_with_its_hosts_power_was_not_asked_to(tmp_path_factory) -> None:
    daemon = LibvirtDaemon(tmp_path_factory.mktemp("lv"), RealClock(), capabilities=CAPABILITIES)
    try:
        daemon.start()
        hypervisor = driver(daemon, tmp_path_factory.mktemp("con"))
        guest = make.guest(disks=(make.blank_disk(tmp_path_factory.mktemp("disk")),))
        hypervisor.ensure(guest)
        for pid in (daemon.pids()[0], daemon.guests()[guest.machine]):
            os.kill(pid, signal.SIGKILL)
        make.wait_until(lambda: not daemon.pids(), "the power to be gone")
        shutil.rmtree(daemon._places.run)  # it was in memory
        daemon.start()
        make.wait_until(lambda: _answers(hypervisor), "the driver to find libvirtd again")
        assert power(hypervisor, guest) is GuestPower.CRASHED
        hypervisor.ensure(guest)
        assert power(hypervisor, guest) is GuestPower.RUNNING
        hypervisor.close()
    finally:
        daemon.stop()


def _answers(hypervisor) -> bool:
    try:
        hypervisor.guests()
    except Unavailable:
        return False
    return True


def _left_behind(daemon: LibvirtDaemon, guest: Guest) -> list[str]:
    """Mounts and control groups."""
    mounts = [
        line for line in Path("/proc/mounts").read_text().splitlines() if daemon._name in line
    ]
    groups = Path("/sys/fs/cgroup").glob(f"*/machine/qemu-*{guest.machine}*")
    return mounts + [str(path) for path in groups]


def test_a_frozen_guest_holds_up_nobody_and_can_be_ended(hypervisor, libvirtd, tmp_path) -> None:
    frozen = make.guest(disks=(make.blank_disk(tmp_path),))
    lively = make.guest(disks=(make.blank_disk(tmp_path),))
    hypervisor.ensure(frozen)
    hypervisor.ensure(lively)
    hasty = driver(libvirtd, hypervisor._directory, patience=3.0)
    os.kill(libvirtd.guests()[frozen.machine], signal.SIGSTOP)
    with pytest.raises(Unavailable):
        hasty.stop(frozen.machine, force=False)
    assert power(hasty, frozen) is GuestPower.RUNNING
    hasty.ensure(frozen)
    assert lively.machine in {stats.machine for stats in hasty.stats()}
    hypervisor.stop(frozen.machine, force=True)
    assert power(hypervisor, frozen) is GuestPower.OFF
    hasty.close()


def test_processor_time_is_shared_and_capped_by_megahertz(libvirtd, tmp_path, tmp_path_factory):
    hypervisor = driver(libvirtd, tmp_path_factory.mktemp("con"), cap_cpu=True)
    guest = make.guest(cpus=2, cpu_mhz=400, disks=(make.blank_disk(tmp_path),))
    try:
        hypervisor.ensure(guest)
        told = virsh(libvirtd, "schedinfo", guest.machine)
    finally:
        hypervisor.remove(guest.machine)
        hypervisor.close()
    numbers = dict(re.findall(r"(\w+)\s*: (-?\d+)", told))
    mhz = int(re.search(r"frequency:\s+(\d+)", virsh(libvirtd, "nodeinfo")).group(1))
    assert int(numbers["vcpu_period"]) == 100_000
    assert int(numbers["vcpu_quota"]) == 100_000 * 400 // (2 * mhz)
    assert int(numbers["cpu_shares"]) == pytest.approx(100 * 400 / mhz, abs=1)


def test_without_control_groups_guests_run_unlimited(tmp_path_factory) -> None:
    daemon = LibvirtDaemon(
        tmp_path_factory.mktemp("lv"), RealClock(), capabilities=CAPABILITIES, cgroups=False
    )
    try:
        daemon.start()
        hypervisor = driver(daemon, tmp_path_factory.mktemp("con"), cap_cpu=True)
        guest = make.guest(disks=(make.blank_disk(tmp_path_factory.mktemp("disk")),))
        hypervisor.ensure(guest)
        pid = daemon.guests()[guest.machine]
        hypervisor.ensure(guest)
        assert daemon.guests() == {guest.machine: pid}
        assert power(hypervisor, guest) is GuestPower.RUNNING
        hypervisor.close()
    finally:
        daemon.stop()


def test_a_guest_without_its_disk_or_port_is_not_started(hypervisor, tmp_path) -> None:
    disk = GuestDisk(path=tmp_path / "nowhere", format=PartFormat.RAW, serial="x")
    port = GuestPort(device="nowhere0", mac="02:00:0a:01:01:0a")
    for lacking in ({"disks": (disk,)}, {"ports": (port,)}):
        guest = make.guest(**lacking)
        with pytest.raises(Unavailable):
            hypervisor.ensure(guest)
        assert guest.machine not in hypervisor.guests()


def comes_and_goes(hypervisor, guest: Guest, tap: Port, sh: Shell) -> None:
    """A port for a guest that runs, in any place but the first, and what is left when it is taken away again."""
    second = GuestPort(device=tap.device, mac=tap.mac, place=7)
    pid = sh.run("cat /proc/sys/kernel/random/boot_id")
    wider = replace(guest, generation=2, ports=(*guest.ports, second))
    for _ in range(2):
        hypervisor.ensure(wider)
    sh.run(f"until grep -q {tap.mac} /sys/class/net/eth1/address; do sleep 0.1; done")
    narrow = replace(guest, generation=3)
    hypervisor.ensure(narrow)
    sh.run("[ ! -e /sys/class/net/eth1 ] && [ -e /sys/class/net/eth0 ]")
    hypervisor.ensure(wider)  # and once more, in the same place
    sh.run(f"until grep -q {tap.mac} /sys/class/net/eth1/address; do sleep 0.1; done")
    hypervisor.ensure(narrow)
    assert hypervisor.guests()[guest.machine].generation == 3
    assert sh.run("cat /proc/sys/kernel/random/boot_id") == pid


def test_tcp_reaches_a_guest_over_the_switch_and_checksums_hold(tmp_path_factory) -> None:
    """A namespace on the other host fetches the guest's page; then much more than one frame each way."""
    with cabled_hosts(tmp_path_factory.mktemp("hosts")) as (here, there):
        daemon = LibvirtDaemon(
            tmp_path_factory.mktemp("lv"), RealClock(), here.netns, capabilities=CAPABILITIES
        )
        tap = make.tap(address="10.1.1.10", rate_kbps=0)
        far = make.tap(address="10.1.1.20", mac="02:00:0a:01:01:14", rate_kbps=0)
        try:
            daemon.start()
            hypervisor = driver(daemon, tmp_path_factory.mktemp("con"))
            here.network.ensure(tap)
            guest = linux(ports=(GuestPort(device=tap.device, mac=tap.mac),))
            hypervisor.ensure(guest)
            ready(hypervisor, guest)
            with station(there, far) as outside, shell(hypervisor.console(guest.machine)) as sh:
                sh.run("ip addr add 10.1.1.10/24 dev eth0")
                page = run(outside, ["busybox", "wget", "-q", "-O", "-", "http://10.1.1.10/"])
                assert "hostname=guest" in page.stdout
                sh.run("dd if=/dev/urandom of=/www/much bs=64k count=32 2>/dev/null")
                told = sh.run("sha256sum /www/much").split()[0]
                url = "http://10.1.1.10/much"
                got = tmp_path_factory.mktemp("got") / "much"
                done = run(outside, ["busybox", "wget", "-q", "-O", str(got), url], 300)
                assert done.returncode == 0, done.stderr
                assert run(outside, ["sha256sum", str(got)]).stdout.split()[0] == told
                more = make.tap(vlan=101, address="10.2.1.10", mac="02:00:0a:02:01:0a")
                here.network.ensure(more)
                comes_and_goes(hypervisor, guest, more, sh)
                here.network.remove(more.nic)
            (stats,) = hypervisor.stats()
            assert stats.sent_bytes > 2 * MIB
            assert 0 < stats.received_bytes < stats.sent_bytes
            hypervisor.close()
        finally:
            daemon.stop()
            here.network.remove(tap.nic)
