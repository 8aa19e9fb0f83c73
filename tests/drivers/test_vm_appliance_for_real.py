# ruff: noqa: F811 - fixtures of another module are named as arguments
"""A router in a virtual machine of its own: a machine gets its lease, and is reached through a port forward."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from arable.domain.inside import GuestAnswer
from arable.drivers.appliance.vm.driver import STARTS_SECONDS, VmAppliances
from arable.drivers.appliance.vm.libvirt_machines import LibvirtMachines
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.lab import router_image
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers import services
from drivers.emulated_hosts import Host, configure, is_silent, reaches, route, run
from drivers.town import PUBLIC, Town
from drivers.town_fixtures import WORLD, hosts, world  # noqa: F401 - fixtures
from guest_images import CACHE

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def libvirtd(hosts, tmp_path_factory) -> Iterator[LibvirtDaemon]:
    capabilities = CACHE.parent / "capabilities"
    folder = tmp_path_factory.mktemp("lv")
    daemon = LibvirtDaemon(folder, RealClock(), hosts[1].netns, capabilities=capabilities)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


def runtime(daemon: LibvirtDaemon, host: Host, folder: Path) -> VmAppliances:
    image = router_image.build(CACHE, print).folder
    machines = LibvirtMachines(daemon.uri, image, folder, RealClock(), accelerator="tcg")
    return VmAppliances(folder / "vms", host.network, machines, RealClock())


class VmTown(Town):
    """Its router can't be entered by name of a namespace; it is seen from outside alone."""

    def __init__(self, host: Host, routers: VmAppliances, folder: Path, stack: ExitStack):
        self.host, self.routers, self.folder, self.stack = host, routers, folder, stack
        self.wish, self.leases = make.appliance(vlan=101), []

    def runs(self, routers: VmAppliances | None = None) -> None:
        wish = self.wish

        def well() -> bool:
            seen = (routers or self.routers).appliances().get(wish.network)
            return seen is not None and seen.running and seen.generation == wish.generation

        make.wait_until(well, "the router to run", STARTS_SECONDS)


@pytest.fixture
def town(hosts, world, libvirtd, tmp_path) -> Iterator[VmTown]:
    routers = runtime(libvirtd, hosts[1], tmp_path)
    with ExitStack() as stack:
        made = VmTown(hosts[0], routers, tmp_path, stack)
        stack.callback(routers.remove, made.wish.network)
        yield made
    routers.close()
    assert not routers._machines.running()
    assert not hosts[1].network.ports()


def test_a_router_in_a_machine_of_its_own_is_a_router(town, world, libvirtd, hosts) -> None:
    """One start, as it takes its time: what a machine behind it and the world before it find, one after the other."""
    guest = town.guest(10, addressed=False)
    town.routers.relay(lambda ask: GuestAnswer(status=200, body=f"{ask.network} {ask.asker}"))
    town.opened()
    town.runs()
    told = services.lease(guest, town.folder)
    assert (told["ip"], told["router"], told["hostname"]) == ("10.1.1.10", "10.1.1.1", "web-10")
    services_of_a_guest(town, guest, world)
    agents_come_and_go(town, guest, world, libvirtd, hosts)
    lost_and_made_anew(town, guest, world, libvirtd)


def services_of_a_guest(town: VmTown, guest: str, world: str) -> None:
    configure(guest, "eth0", "10.1.1.10")
    route(guest, "10.1.1.1")
    assert services.ask(guest, "10.1.1.1", "web-10").addresses == ("10.1.1.10",)
    with services.echo(guest, "10.1.1.10", 80), services.echo(world, WORLD, 7000) as outside:
        assert services.answers(world, PUBLIC, 8080)
        assert services.answers(guest, WORLD, 7000)
        assert outside.callers == [PUBLIC]
    assert is_silent(world, PUBLIC)
    asked = ["busybox", "wget", "-qO-", "http://169.254.169.254/arable/v1/self"]
    assert run(guest, asked).stdout == f"{town.wish.network} 10.1.1.10"


def agents_come_and_go(town: VmTown, guest: str, world: str, daemon: LibvirtDaemon, hosts) -> None:
    """Another agent finds the router as it is; connections go on, and it can be told anew."""
    with closing(
        LibvirtHypervisor(daemon.uri, town.folder / "g", RealClock(), accelerator="tcg")
    ) as guests:
        assert not guests.guests(), "a router is no guest that somebody might take away"
    pids = daemon.pids()
    with services.echo(guest, "10.1.1.10", 80):
        kept = services.call(world, PUBLIC, 8080)
        with kept:
            assert services.says_back(kept)
            town.routers.close()
            town.routers = runtime(daemon, hosts[1], town.folder)
            town.stack.callback(town.routers.remove, town.wish.network)
            town.runs()
            town.opened(first_port=8081, last_port=8081)
            town.runs()
            assert services.says_back(kept)
        assert services.answers(world, PUBLIC, 8081)
    way_out = town.wish.public
    town.program(public=None, forwards=(), firewall=())
    town.runs()
    assert is_silent(world, PUBLIC)
    town.program(public=way_out)
    town.opened()
    town.runs()
    with services.echo(guest, "10.1.1.10", 80):
        assert services.answers(world, PUBLIC, 8080)
    assert daemon.pids() == pids


def lost_and_made_anew(town: VmTown, guest: str, world: str, daemon: LibvirtDaemon) -> None:
    os.kill(daemon.pids()[-1], signal.SIGKILL)
    make.wait_until(
        lambda: not town.routers.appliances()[town.wish.network].running, "the loss to be seen"
    )
    town.program()
    town.runs()
    assert reaches(guest, "10.1.1.1")
    with services.echo(guest, "10.1.1.10", 80):
        assert services.answers(world, PUBLIC, 8080)
