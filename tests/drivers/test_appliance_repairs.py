# ruff: noqa: F811 - fixtures of another module are named as arguments
"""Routers that lost a part, that were wished for wrongly, or that go."""

from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.errors import BadInput
from arable.drivers import namespaces
from arable.drivers.appliance.namespace import (
    nic,
)
from arable.drivers.network.links import Links
from drivers import services
from drivers.emulated_hosts import (
    is_alive,
)
from drivers.town import PUBLIC
from drivers.town_fixtures import (  # noqa: F401 - fixtures
    WORLD,
    dnsmasq_of,
    hosts,
    runtime,
    town,
    world,
)

pytestmark = pytest.mark.real


def test_a_router_whose_switch_died_comes_back_with_its_connections(town, hosts, world) -> None:
    guest = town.guest(10)
    town.opened()
    host = hosts[1]
    with services.echo(guest, "10.1.1.10", 80):
        connection = services.call(world, PUBLIC, 8080)
        with connection:
            assert services.says_back(connection)
            host.daemon.kill_switch()
            host.daemon.start()
            seen = town.routers.appliances()[town.wish.network]
            assert not seen.running
            assert "port" in seen.told
            town.routers.ensure(town.wish, town.leases)
            assert town.routers.appliances()[town.wish.network].running
            assert services.says_back(connection)


@pytest.mark.parametrize("lost", ["eth0", "eth1", "eth2"])
def test_a_router_that_lost_an_interface_gets_another(town, world, lost) -> None:
    guest = town.guest(10)
    town.program()
    assert services.lease(guest, town.folder)
    Links(town.netns).remove(lost)
    town.routers.ensure(town.wish, town.leases)
    assert town.routers.appliances()[town.wish.network].running
    assert services.lease(guest, town.folder)["ip"] == "10.1.1.10"
    with services.echo(world, WORLD, 7000):
        assert services.answers(guest, WORLD, 7000)


def test_a_router_without_its_record_or_its_pid_file_is_made_whole(town) -> None:
    guest = town.guest(10)
    town.program()
    folder = town.routers._folder(town.wish.network)
    (folder / "record.json").write_text("{")
    (folder / "dnsmasq" / "dnsmasq.pid").unlink()
    seen = town.routers.appliances()[town.wish.network]
    assert not seen.running
    assert seen.told
    town.routers.ensure(town.wish, town.leases)
    assert town.routers.appliances()[town.wish.network].running
    assert len(namespaces.inhabitants(town.netns)) == 1
    assert services.ask(guest, "10.1.1.1", "web-10").code == 0


def test_what_can_not_be_is_refused_and_the_router_goes_on(town) -> None:
    guest = town.guest(10)
    town.program()
    before = town.routers.appliances()
    for bad in (
        replace(town.wish, generation=9, domain="evil\nserver=192.0.2.1"),
        replace(town.wish, generation=9, gateway="10.9.9.9"),
    ):
        with pytest.raises(BadInput):
            town.routers.ensure(bad, town.leases)
    with pytest.raises(BadInput):
        town.routers.ensure(town.wish, [replace(town.leases[0], name="web\n")])
    assert town.routers.appliances() == before
    assert services.ask(guest, "10.1.1.1", "web-10").code == 0


def test_a_removed_router_leaves_nothing(town, hosts) -> None:
    town.program()
    network, host = town.wish.network, hosts[1]
    process = dnsmasq_of(town.routers, network)
    town.routers.remove(network)
    assert not is_alive(process)
    assert town.netns not in namespaces.names()
    assert not (town.routers._directory / network).exists()
    assert not [name for name in Links(host.netns).all() if name.endswith(network[-11:])]
    assert not {nic(network, "e0"), nic(network, "e2")} & set(host.network.ports())


def test_dnsmasq_sees_nothing_of_the_host_and_has_no_rights(town) -> None:
    town.program()
    process = dnsmasq_of(town.routers, town.wish.network)
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert "0" not in status["Uid"].split()
    assert int(status["CapEff"], 16) == 0x3000  # NET_ADMIN and NET_RAW: addresses and neighbours
    assert status["NoNewPrivs"] == "1"
    assert {path.name for path in Path(f"/proc/{process}/root").iterdir()} <= {
        "usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin", "etc", "dev", "appliance"
    }  # fmt: skip
    assert {path.name for path in Path(f"/proc/{process}/root/etc").iterdir()} == {
        "passwd", "group", "ld.so.cache"
    }  # fmt: skip
