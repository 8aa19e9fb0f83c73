# ruff: noqa: F811 - fixtures of another module are named as arguments
"""Disks of guests under libvirt go from an iSCSI target to an NBD server."""

from collections.abc import Iterator

import libvirt
import pytest

from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import Guest, GuestDisk, IscsiSource
from arable.drivers.storage.iscsi import names
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers import nbd_clients as nbd
from drivers.contract_mirrors import MirrorsContract
from drivers.test_iscsi import Site
from drivers.test_local_storage import reads, write
from drivers.test_mirrors_libvirt import HERE, TARGET, Place, site  # noqa: F401 - a fixture

pytestmark = pytest.mark.real


class Source:
    """A storage host on the loopback, that serves a volume to `HERE` over iSCSI."""

    def __init__(self, folder, number: int) -> None:
        folder.mkdir()
        self.site, self.volume = Site(folder), make.volume()
        self.site.ports = range(self.site.ports.start + 20 * number, self.site.ports.stop)
        self.pool = self.site.pool()
        self.path = self.pool.ensure(self.volume, 16 * MIB, None).path

    def disk(self) -> GuestDisk:
        self.pool.exports.open(1, HERE, [self.volume])
        at = self.pool.where(self.volume, 1)
        assert at.secret
        source = IscsiSource(
            address=at.address,
            port=at.port,
            target=at.name,
            initiator=names.initiator(HERE),
            secret=at.secret,
        )
        return GuestDisk(format=PartFormat.RAW, serial="v", bytes=16 * MIB, iscsi=source)

    def lose(self) -> None:
        self.pool.exports.cut([self.volume])


class TestFromIscsi(MirrorsContract):
    @pytest.fixture(autouse=True)
    def _places(self, site, tmp_path) -> Iterator[None]:
        self.source = Source(tmp_path / "here", 0)
        self.target = Place(tmp_path, nbd.authority(site[0]), TARGET, 2)
        yield
        for place in (self.source, self.target):
            place.lose()
        self.source.site.end()

    @pytest.fixture
    def driver(self, site, _places) -> Iterator[LibvirtHypervisor]:
        folder, daemon = site
        self.daemon = daemon
        made = LibvirtHypervisor(daemon.uri, folder / "con", RealClock(), accelerator="tcg")
        yield made
        for machine in made.guests():
            made.remove(machine)
        made.close()

    @pytest.fixture
    def guest(self, _places) -> Guest:
        write(self.source.path, 1, "1M", "4M")
        return make.guest(memory_mib=32, disks=(self.source.disk(),))

    @pytest.fixture
    def there(self, _places) -> GuestDisk:
        return self.target.disk()

    def lose_source(self) -> None:
        self.source.lose()

    def lose_target(self) -> None:
        self.target.lose()

    def test_all_is_there_and_no_secret_stays(self, driver, guest, there) -> None:
        self.at_both(driver, guest, there)
        driver.hold(guest.machine)
        driver.pivot(guest.machine, [there])
        line = libvirt.open(self.daemon.uri)
        try:
            assert [each.usageID() for each in line.listAllSecrets()] == []
        finally:
            line.close()
        driver.remove(guest.machine)
        self.lose_target()
        assert reads(self.target.path, 1, "1M", "4M")
        assert reads(self.target.path, 0, "5M", "11M")
