"""Guests on a pool without room: simulated, and under QEMU with thin disks on a file system that is really full."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from arable.domain.units import MIB
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import Guest, GuestDisk
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.simhost import SimHost
from arable.drivers.storage.local import LocalStorage
from arable.drivers.storage.protocol import Storage
from arable.drivers.storage.sim import SimStorage
from arable.runtime.clock import RealClock, VirtualClock
from drivers import make_drivers as make
from drivers.contract_full_pools import FullPoolsContract
from drivers.guest_shell import shell, wait_for_line
from guest_images import CACHE, image

POOL_MIB = 24


def disk(storage: Storage) -> GuestDisk:
    made = storage.ensure(make.volume(), 64 * MIB, None)
    return GuestDisk(path=made.path, format=made.format, serial=made.volume[-11:])


class TestSimulated(FullPoolsContract):
    @pytest.fixture
    def hardware(self) -> SimHost:
        return SimHost(clock=VirtualClock())

    @pytest.fixture
    def hypervisor(self, hardware) -> SimHypervisor:
        return SimHypervisor(hardware)

    @pytest.fixture(autouse=True)
    def storage(self, hardware) -> SimStorage:
        self.hardware = hardware
        return SimStorage(hardware, make.pool())

    @pytest.fixture
    def guest(self, storage) -> Guest:
        return make.guest(disks=(disk(storage),))

    @pytest.fixture
    def neighbour(self, storage) -> Guest:
        return make.guest(disks=(disk(storage),))

    def fill(self):
        for pool in self.hardware.pools.values():
            pool.clutter()

    def clear(self):
        for pool in self.hardware.pools.values():
            pool.clear()

    def write(self, hypervisor, machine):
        self.hardware.write(machine)

    def wrote_well(self, hypervisor, machine):
        return not self.hardware.guests[machine].short

    def incarnation(self, hypervisor, machine):
        return self.hardware.guests[machine].starts


@pytest.mark.real
class TestQemu(FullPoolsContract):
    """A file system of 24 MiB, of which others take what is left."""

    @pytest.fixture
    def pool(self, tmp_path_factory) -> Iterator[Path]:
        folder = tmp_path_factory.mktemp("full")
        words = ["mount", "-t", "tmpfs", "-o", f"size={POOL_MIB}m,mode=0755", "none", str(folder)]
        subprocess.run(words, check=True)
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

    @pytest.fixture
    def daemon(self, pool, tmp_path_factory) -> Iterator[LibvirtDaemon]:
        """Started after the file system was mounted: it sees no later ones."""
        made = LibvirtDaemon(
            tmp_path_factory.mktemp("lv"), RealClock(), capabilities=CACHE.parent / "capabilities"
        )
        try:
            made.start()
            yield made
        finally:
            made.stop()

    @pytest.fixture
    def hypervisor(self, daemon, pool, tmp_path_factory) -> Iterator[LibvirtHypervisor]:
        self.daemon, self.filler = daemon, pool / "of-others"
        made = LibvirtHypervisor(
            daemon.uri, tmp_path_factory.mktemp("con"), RealClock(), accelerator="tcg"
        )
        yield made
        for machine in made.guests():
            made.remove(machine)
        made.close()

    @pytest.fixture
    def storage(self, pool) -> LocalStorage:
        return LocalStorage(pool / "volumes", make.pool(), RealClock())

    @pytest.fixture
    def guest(self, storage) -> Guest:
        linux = {"kernel": image().kernel, "initrd": image().initrd}
        return make.guest(
            memory_mib=128,
            command_line=image().command_line,
            disks=(disk(storage),),
            **linux,
        )

    @pytest.fixture
    def neighbour(self, storage) -> Guest:
        return make.guest(disks=(disk(storage),))

    def fill(self):
        with self.filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def clear(self):
        self.filler.unlink()

    def write(self, hypervisor, machine):
        wait_for_line(hypervisor.console_log(machine), "ARABLE ready")
        with shell(hypervisor.console(machine)) as sh:
            sh.run(
                "(dd if=/dev/urandom of=/tmp/much bs=64k count=64;"
                " dd if=/tmp/much of=/dev/vda bs=64k seek=99 conv=notrunc,fsync && echo well > /tmp/done)"
                " > /dev/null 2>&1 & true"
            )

    def wrote_well(self, hypervisor, machine):
        with shell(hypervisor.console(machine)) as sh:
            if sh.run("cat /tmp/done 2> /dev/null; true").strip() != "well":
                return False
            sh.run("echo 3 > /proc/sys/vm/drop_caches")
            sh.run("dd if=/dev/vda bs=64k skip=99 count=64 2> /dev/null | cmp - /tmp/much")
            return sh.run("dmesg | grep -ci 'i/o error'; true").strip() == "0"

    def incarnation(self, hypervisor, machine):
        return self.daemon.guests()[machine]
