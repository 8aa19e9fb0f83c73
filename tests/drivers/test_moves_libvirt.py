"""Guests under libvirt move between two QEMUs with TLS, from one named host to another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import Gate, Guest
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers import nbd_clients as nbd
from drivers.contract_moves import A, B, MovesContract
from guest_images import CACHE

pytestmark = pytest.mark.real


class Site:
    """Two hosts on the loopback, each with a libvirtd and a certificate of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = nbd.authority(folder)
        self.daemons = {
            host: LibvirtDaemon(
                folder / host, RealClock(), capabilities=CACHE.parent / "capabilities"
            )
            for host in (A, B)
        }
        self.gates = {
            host: Gate(
                address="127.0.0.1",
                credentials=nbd.credentials(folder / "cred", authority, host),
            )
            for host in (A, B)
        }

    def driver(self, host, *, gate: bool = True) -> LibvirtHypervisor:
        return LibvirtHypervisor(
            self.daemons[host].uri,
            self.folder / f"con-{host}",
            RealClock(),
            accelerator="tcg",
            gate=self.gates[host] if gate else None,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("mv"))
    try:
        for daemon in made.daemons.values():
            daemon.start()
        yield made
    finally:
        for daemon in made.daemons.values():
            daemon.stop()


class TestLibvirt(MovesContract):
    @pytest.fixture(autouse=True)
    def _at_hand(self, site) -> None:
        self.site = site

    @pytest.fixture
    def here(self, site) -> Iterator[LibvirtHypervisor]:
        yield from self._driver(A)

    @pytest.fixture
    def there(self, site) -> Iterator[LibvirtHypervisor]:
        yield from self._driver(B)

    @pytest.fixture
    def guest(self) -> Guest:
        # Firmware alone; it finds nothing to boot, and waits.
        return make.guest(memory_mib=32)

    def _driver(self, host) -> Iterator[LibvirtHypervisor]:
        made = self.site.driver(host)
        yield made
        for machine in made.guests():
            made.remove(machine)
        made.close()

    def reopened(self, driver) -> LibvirtHypervisor:
        return self.site.driver(B)

    def closed(self) -> LibvirtHypervisor:
        return self.site.driver(A, gate=False)
