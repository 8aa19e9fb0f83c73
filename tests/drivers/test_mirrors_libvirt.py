"""Disks of guests under libvirt go from one NBD server to another, with TLS to both."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.domain.ids import HostId
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import Guest, GuestDisk, NbdSource
from arable.drivers.storage.nbd.pool import NbdStorage
from arable.runtime.boottime import KernelBootTime
from arable.runtime.ca import IdentityKind
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers import nbd_clients as nbd
from drivers.contract_mirrors import MirrorsContract
from drivers.test_local_storage import reads, write
from guest_images import CACHE

pytestmark = pytest.mark.real

HERE, SOURCE, TARGET = HostId("host-here"), HostId("host-from"), HostId("host-to")


class Place:
    """A storage host on the loopback, that serves a volume to `HERE`."""

    def __init__(self, folder: Path, authority, host: HostId, number: int) -> None:
        self.host, self.volume = host, make.volume()
        first = 20_000 + os.getpid() % 120 * 100 + 20 * number
        self.pool = NbdStorage(
            folder / host,
            make.pool(),
            RealClock(),
            KernelBootTime(),
            address="127.0.0.1",
            credentials=nbd.credentials(folder, authority, host),
            lease_seconds=30.0,
            ports=range(first, first + 20),
            capacity_bytes=1 << 30,
        )
        self.path = self.pool.ensure(self.volume, 16 * MIB, None).path

    def disk(self) -> GuestDisk:
        self.pool.exports.open(1, HERE, [self.volume])
        at = self.pool.where(self.volume, 1)
        source = NbdSource(address=at.address, port=at.port, name=at.name, server=self.host)
        return GuestDisk(format=PartFormat.RAW, serial="v", bytes=16 * MIB, nbd=source)

    def lose(self) -> None:
        self.pool.exports.cut([self.volume])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[Path, LibvirtDaemon]]:
    folder = tmp_path_factory.mktemp("mi")
    nbd.credentials(folder, nbd.authority(folder), HERE)
    found = folder / f"{HERE}-{IdentityKind.DISKS}"
    daemon = LibvirtDaemon(
        folder / "lv", RealClock(), capabilities=CACHE.parent / "capabilities", disks=found
    )
    try:
        daemon.start()
        yield folder, daemon
    finally:
        daemon.stop()


class TestLibvirt(MirrorsContract):
    @pytest.fixture(autouse=True)
    def _places(self, site, tmp_path) -> Iterator[None]:
        authority = nbd.authority(site[0])
        self.source, self.target = (
            Place(tmp_path, authority, host, n) for n, host in enumerate((SOURCE, TARGET))
        )
        write(self.source.path, 1, "1M", "4M")
        yield
        for place in (self.source, self.target):
            place.lose()

    @pytest.fixture
    def driver(self, site, _places) -> Iterator[LibvirtHypervisor]:
        folder, daemon = site
        made = LibvirtHypervisor(daemon.uri, folder / "con", RealClock(), accelerator="tcg")
        yield made
        for machine in made.guests():
            made.remove(machine)
        made.close()

    @pytest.fixture
    def guest(self, _places) -> Guest:
        return make.guest(memory_mib=32, disks=(self.source.disk(),))

    @pytest.fixture
    def there(self, _places) -> GuestDisk:
        return self.target.disk()

    def test_all_is_there_and_what_is_thin_stays_thin(self, driver, guest, there) -> None:
        self.at_both(driver, guest, there)
        driver.hold(guest.machine)
        driver.pivot(guest.machine, [there])
        driver.remove(guest.machine)
        self.lose_target()
        path = self.target.path
        assert reads(path, 1, "1M", "4M")
        assert reads(path, 0, "5M", "11M")
        assert path.stat().st_blocks * 512 < 6 * MIB

    def lose_source(self) -> None:
        self.source.lose()

    def lose_target(self) -> None:
        self.target.lose()
