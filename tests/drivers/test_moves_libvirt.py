"""Guests under libvirt move between two QEMUs with TLS, from one named host to another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.drivers.hypervisor import qemu
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.drivers.hypervisor.protocol import Gate, Guest, Journey, PassageState
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

    def test_the_guest_stands_still_while_its_memory_goes_over(self, here, there, guest) -> None:
        """Its processor is emulated: what it wrote meanwhile could be missing where it arrives."""
        here.ensure(guest)
        address = there.receive(guest, 2, A)
        slow = Journey(epoch=2, target=B, address=address, bytes_per_second=1 << 16)
        here.send(guest.machine, slow)
        assert self.state(here, guest) is PassageState.MOVING
        assert here.guests()[guest.machine].still

    def test_an_agent_that_is_killed_as_it_sends_leaves_a_failure_behind(
        self, here, there, guest, monkeypatch
    ) -> None:
        """Also when an attempt before it came to its end, which must not be taken for this one's."""
        self.gone_over(here, there, guest)
        here.go_on(guest.machine)
        self.goes_on(here, guest)
        tell = qemu.tell

        def until_it_is_killed(domain, command, arguments=None):
            if command == "migrate" and arguments["uri"].startswith("tcp:"):
                raise KeyboardInterrupt
            return tell(domain, command, arguments)

        journey = Journey(epoch=3, target=B, address="127.0.0.1:9")
        with monkeypatch.context() as killed:
            killed.setattr(qemu, "tell", until_it_is_killed)
            with pytest.raises(KeyboardInterrupt):
                here.send(guest.machine, journey)
        found = here.passage(guest.machine)
        assert (found.epoch, found.state, found.still) == (3, PassageState.FAILED, True)
        self.goes_on(here, guest)
