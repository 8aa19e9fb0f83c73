# ruff: noqa: F811 - fixtures of another module are named as arguments
"""A router in a virtual machine of its own: a machine gets its lease, and is reached through a port forward."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.balancer import BalancerWish, MemberWish, Traffic
from arable.domain.errors import Unavailable
from arable.domain.ids import BalancerId, NicId, VpnId, VpnPeerId
from arable.domain.inside import GuestAnswer
from arable.domain.manifest import Direction, FirewallRule, Protocol
from arable.domain.pair import Pair
from arable.domain.vpn import VpnPeerWish, VpnWish
from arable.drivers.appliance.vm.driver import STARTS_SECONDS, VmAppliances
from arable.drivers.appliance.vm.libvirt_machines import LibvirtMachines
from arable.drivers.hypervisor.daemon import LibvirtDaemon
from arable.drivers.hypervisor.libvirt import LibvirtHypervisor
from arable.lab import router_image
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.vpn_keys import new_pair
from drivers import make_drivers as make
from drivers import services
from drivers.emulated_hosts import Host, configure, is_silent, reaches, route, run
from drivers.town import PUBLIC, Town
from drivers.town_fixtures import WORLD, hosts, world  # noqa: F401 - fixtures
from guest_images import CACHE
from guest_images import image as tiny

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def libvirtd(hosts, tmp_path_factory) -> Iterator[LibvirtDaemon]:
    with of_host(hosts[1], tmp_path_factory.mktemp("lv")) as daemon:
        yield daemon


@contextmanager
def of_host(host: Host, folder: Path) -> Iterator[LibvirtDaemon]:
    capabilities = CACHE.parent / "capabilities"
    daemon = LibvirtDaemon(folder, RealClock(), host.netns, capabilities=capabilities)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """Built for this run alone: it is large, and another one with each change to our code."""
    folder = tmp_path_factory.mktemp("image")
    tiny()  # which fetches the kernel, when nobody has yet
    (folder / "kernel").symlink_to(CACHE / "kernel")
    return router_image.build(folder, print).folder


def runtime(daemon: LibvirtDaemon, image: Path, host: Host, folder: Path) -> VmAppliances:
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
def town(hosts, world, libvirtd, image, tmp_path_factory) -> Iterator[VmTown]:
    folder = tmp_path_factory.mktemp("vm")  # sockets' paths are short
    routers = runtime(libvirtd, image, hosts[1], folder)
    with ExitStack() as stack:
        made = VmTown(hosts[0], routers, folder, stack)
        stack.callback(routers.remove, made.wish.network)
        yield made
    routers.close()
    assert not routers._machines.running()
    assert not hosts[1].network.ports()


def test_a_router_in_a_machine_of_its_own_is_a_router(town, world, libvirtd, image, hosts) -> None:
    """One start, as it takes its time: what a machine behind it and the world before it find, one after the other."""
    guest = town.guest(10, addressed=False)
    town.routers.relay(lambda ask: GuestAnswer(status=200, body=f"{ask.network} {ask.asker}"))
    town.opened()
    town.runs()
    told = services.lease(guest, town.folder)
    assert (told["ip"], told["router"], told["hostname"]) == ("10.1.1.10", "10.1.1.1", "web-10")
    services_of_a_guest(town, guest, world)
    agents_come_and_go(
        town, guest, world, libvirtd, lambda: runtime(libvirtd, image, hosts[1], town.folder)
    )
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


def agents_come_and_go(
    town: VmTown, guest: str, world: str, daemon: LibvirtDaemon, anew: Callable[[], VmAppliances]
) -> None:
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
            town.routers = anew()
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
    balancers_and_vpns(town, world, guest)
    assert daemon.pids() == pids


def balancers_and_vpns(town: VmTown, world: str, guest: str) -> None:
    """Programs in jails, within the machine as in a namespace; their figures come over the line."""
    member = MemberWish(nic=NicId(make.fresh("nic")), to="10.1.1.10", port=80)
    balancer = BalancerWish(
        id=BalancerId(make.fresh("balancer")),
        public=PUBLIC,
        port=8090,
        traffic=Traffic.TCP,
        members=(member,),
    )
    private, _ = new_pair(Entropy.system())
    _, public = new_pair(Entropy.system())  # another's
    peer = VpnPeerWish(id=VpnPeerId(make.fresh("vpn")), public_key=public, cidrs=("10.9.0.0/24",))
    vpn = VpnWish(
        id=VpnId(make.fresh("vpn")), key=private.reveal(), public=PUBLIC, port=51820, peers=(peer,)
    )
    opening = FirewallRule(
        direction=Direction.IN,
        protocol=Protocol.TCP,
        cidr="0.0.0.0/0",
        public=PUBLIC,
        first_port=8090,
        last_port=8090,
    )
    with services.echo(guest, "10.1.1.10", 80):
        town.program(balancers=(balancer,), vpns=(vpn,), firewall=(*town.wish.firewall, opening))
        town.runs()
        make.wait_until(lambda: services.answers(world, PUBLIC, 8090), "the balancer to answer")
        assert [each.id for each in town.routers.balancers()] == [balancer.id]
        assert [each.id for each in town.routers.vpns()] == [vpn.id]


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


def test_of_two_routers_that_are_machines_one_takes_the_others_place(
    town, world, libvirtd, image, hosts, tmp_path_factory
) -> None:
    guest, clock, network = town.guest(10), RealClock(), town.wish.network
    folder = tmp_path_factory.mktemp("vm")
    daemon = town.stack.enter_context(of_host(hosts[0], tmp_path_factory.mktemp("lv")))
    other = runtime(daemon, image, hosts[0], folder)
    town.stack.callback(other.close)
    town.stack.callback(other.remove, network)
    both = (town.routers, other)

    def leading() -> list[int]:
        seen = [one.appliances().get(network) for one in both]
        return [at for at, one in enumerate(seen) if one and one.running and not one.standby]

    def told(which: int) -> None:
        pair = Pair(number=1 + which, other=2 - which)
        both[which].ensure(replace(town.wish, pair=pair), town.leases)

    def runs(which: int) -> bool:
        """What failed on a busy machine is told again, as agents do."""
        seen = both[which].appliances()[network]
        if not seen.running and "starting" not in seen.told:
            print(f"router {which}: {seen.told}")
            with suppress(Unavailable):
                told(which)
        return seen.running

    town.wish = replace(town.wish, pair=Pair(number=1, other=2))
    town.opened()
    make.wait_until(lambda: runs(0), "the first one to run", 3 * STARTS_SECONDS)
    make.wait_until(lambda: leading() == [0], "the first one to lead")
    with services.echo(guest, "10.1.1.10", 80):
        talk = services.call(world, PUBLIC, 8080, 60)
        with talk:
            assert services.says_back(talk)
            told(1)
            make.wait_until(lambda: runs(1), "the other one to run", 3 * STARTS_SECONDS)
            assert leading() == [0]
            assert reaches(guest, "10.1.1.1")
            hears = clock.monotonic() + 6.0  # what began before is told every two seconds
            while clock.monotonic() < hears:
                assert services.says_back(talk)
            os.kill(libvirtd.pids()[-1], signal.SIGKILL)
            begun = clock.monotonic()
            assert services.says_back(talk, b"still there?")
            gone = clock.monotonic() - begun
        assert services.answers(world, PUBLIC, 8080)
    make.wait_until(lambda: leading() == [1], "the other one to say that it leads", 60)
    print(f"an established connection stood still for {gone:.2f} s")
