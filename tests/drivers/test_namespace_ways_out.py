"""What a router tells of the way out: to those who have another, in isolated networks, and when it is made anew."""

from dataclasses import replace

import pytest

from arable.drivers import namespaces
from drivers import services
from drivers.emulated_hosts import configure, reaches, route, run
from drivers.test_namespace_appliance import WORLD, dnsmasq_of, hosts, town, world

pytestmark = pytest.mark.real

__all__ = [
    "hosts",
    "town",
    "world",
]  # fixtures: two emulated hosts, a network on them, and who is outside


def test_a_machine_whose_way_out_is_elsewhere_is_told_of_none_here(town) -> None:
    guest = town.guest(10, addressed=False)
    town.leases = [replace(town.leases[0], inner=True)]
    town.guest(11)
    town.program()
    told = services.lease(guest, town.folder)
    assert (told["ip"], told["domain"]) == ("10.1.1.10", "farm.internal")
    assert not {"router", "dns"} & told.keys()
    town.leases = [replace(lease, inner=False) for lease in town.leases]
    town.program()
    assert services.lease(guest, town.folder)["router"] == "10.1.1.1"
    configure(guest, "eth0", "10.1.1.10")
    assert services.ask(guest, "10.1.1.1", "web-11").addresses == ("10.1.1.11",)
    backwards = run(guest, ["busybox", "nslookup", "10.1.1.11", "10.1.1.1"]).stdout
    assert "web-11.farm.internal" in backwards


def test_a_restarted_router_gives_everybody_what_they_had(town, world) -> None:
    guest = town.guest(10, addressed=False)
    town.program()
    assert services.lease(guest, town.folder)["ip"] == "10.1.1.10"
    network, folder = town.wish.network, town.routers._folder(town.wish.network)
    held = (folder / "dnsmasq" / "leases").read_text()
    before = dnsmasq_of(town.routers, network), namespaces.inode(town.netns)
    town.program(restarts=1)
    after = dnsmasq_of(town.routers, network), namespaces.inode(town.netns)
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert (folder / "dnsmasq" / "leases").read_text() == held
    town.program()  # and only once
    assert (dnsmasq_of(town.routers, network), namespaces.inode(town.netns)) == after
    assert services.lease(guest, town.folder)["ip"] == "10.1.1.10"
    configure(guest, "eth0", "10.1.1.10")
    route(guest, "10.1.1.1")
    assert reaches(guest, WORLD)


def test_an_isolated_network_names_no_router(town) -> None:
    guest = town.guest(10, addressed=False)
    town.program(isolated=True, public=None)
    told = services.lease(guest, town.folder)
    assert (told["ip"], told["dns"], "router" in told) == ("10.1.1.10", "10.1.1.1", False)
