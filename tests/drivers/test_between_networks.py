# ruff: noqa: F811 - fixtures of another module are named as arguments
"""Two networks with a router on each of two hosts: their machines reach each other as the passages say."""

from dataclasses import replace

import pytest

from arable.domain.balancer import BalancerWish, Check, MemberWish, NameWish, Traffic
from arable.domain.guest_cidr import link_address
from arable.domain.ids import BalancerId, NicId
from arable.domain.manifest import LinkPort, Neighbour, Passage, Protocol
from arable.drivers.appliance import filtering
from drivers import make_drivers as make
from drivers import services
from drivers.emulated_hosts import is_silent, reaches, route, station
from drivers.town_fixtures import hosts, runtime, town, world  # noqa: F401 - fixtures

pytestmark = pytest.mark.real

LINK = 300


@pytest.fixture
def other(hosts, town, tmp_path):
    """The other network: its router is on the first host, and so is its machine."""
    routers = runtime(hosts[0], tmp_path / "other")
    wish = replace(make.appliance(vlan=102), cidr="10.1.2.0/24", gateway="10.1.2.1", public=None)
    port = make.tap(address="10.1.2.20", mac="02:00:0a:01:02:14", vlan=102, rate_kbps=0)
    with station(hosts[0], port) as name:
        route(name, "10.1.2.1")
        routers.ensure(wish, [])
        yield routers, wish, name
        routers.remove(wish.network)


def linked(wish, other, *passages):
    near = Neighbour(cidr=other.cidr, via=link_address(other.vlan))
    port = LinkPort(vlan=LINK, address=link_address(wish.vlan), neighbours=(near,))
    return {"link": port, "passages": passages}


def test_machines_of_two_networks_reach_each_other_as_the_passages_say(hosts, town, other) -> None:
    web, stranger = town.guest(10), town.guest(11)
    routers, wish, database = other
    passage = Passage(
        source="10.1.1.10/32",
        target="10.1.2.0/24",
        protocol=Protocol.TCP,
        first_port=5432,
        last_port=5432,
    )
    town.program(**linked(town.wish, wish, passage))
    routers.ensure(replace(wish, generation=2, **linked(wish, town.wish, passage)), [])
    with services.echo(database, "10.1.2.20", 5432), services.echo(database, "10.1.2.20", 22):
        with services.call(web, "10.1.2.20", 5432) as line:
            assert line.getsockname()[0] == "10.1.1.10"
            assert services.says_back(line)
            for caller, port in ((web, 22), (stranger, 5432)):
                assert services.is_closed(caller, "10.1.2.20", port)
            assert is_silent(web, "169.254.64.102")
            ends = linked(wish, town.wish)
            routers.ensure(replace(wish, generation=3, **ends), [])
            line.settimeout(1)
            line.sendall(b"still there?")
            with pytest.raises(OSError):
                line.recv(100)
        assert LINK in hosts[0].network.vlans() & hosts[1].network.vlans()
    town.program(link=None, passages=())
    routers.ensure(replace(wish, generation=4), [])
    assert LINK not in hosts[0].network.vlans() | hosts[1].network.vlans()


def test_an_inner_balancer_is_called_from_where_a_passage_leads_to_its_port(hosts, town, other) -> None:  # fmt: skip
    web, stranger = town.guest(10), town.guest(11)
    routers, wish, database = other
    passage = Passage(
        source="10.1.1.10/32", target="10.1.2.0/24", protocol=Protocol.TCP, first_port=5432, last_port=5433
    )  # fmt: skip
    name = NameWish(name="db.shop", address="10.1.2.1")
    town.program(**linked(town.wish, wish, passage), names=(name,))
    found = services.Answer(0, ("10.1.2.1",))
    assert services.ask(web, "10.1.1.1", "db.shop.farm.internal") == found
    assert services.ask(web, "10.1.1.1", "web.shop.farm.internal").code == 3
    member = MemberWish(nic=NicId(make.fresh("nic")), to="10.1.2.20", port=7000)
    check = Check(interval=1, timeout=1, rise=1)
    inner = BalancerWish(
        id=BalancerId(make.fresh("balancer")), port=5432, traffic=Traffic.TCP, check=check, members=(member,)
    )  # fmt: skip
    probe = replace(inner, id=BalancerId(make.fresh("balancer")), port=0)
    linked_so = linked(wish, town.wish, passage)
    with services.echo(database, "10.1.2.20", 7000):
        routers.ensure(replace(wish, generation=2, inners=(probe,), **linked_so), [])
        make.wait_until(
            lambda: [m.well for each in routers.balancers() for m in each.members] == [True],
            "what is called by nobody to check its member",
        )
        assert services.is_closed(web, "10.1.2.1", 5432)
        routers.ensure(replace(wish, generation=3, inners=(probe, inner), **linked_so), [])
        make.wait_until(
            lambda: [m.well for each in routers.balancers() for m in each.members] == [True, True],
            "its member",
        )
        assert services.answers(database, "10.1.2.1", 5432), "from its own network, too"
        with services.call(web, "10.1.2.1", 5432) as line:
            assert services.says_back(line)
            for caller, port in ((web, 5433), (web, 80), (web, 53), (stranger, 5432)):
                assert services.is_closed(caller, "10.1.2.1", port), (caller, port)
            assert is_silent(web, "10.1.2.1")
            routers.ensure(replace(wish, generation=4, inners=(probe,), **linked_so), [])
            line.settimeout(1)
            line.sendall(b"still there?")
            with pytest.raises(OSError):
                line.recv(100)


def test_a_router_that_takes_anothers_place_is_found_by_its_neighbours(
    hosts, town, other, tmp_path
) -> None:
    """The one before runs on, on a host that nobody hears of."""
    web = town.guest(10)
    routers, wish, _database = other
    passage = Passage(source="10.1.1.0/24", target="10.1.2.0/24", protocol=Protocol.ALL)
    town.program(**linked(town.wish, wish, passage))
    there = replace(wish, generation=2, **linked(wish, town.wish, passage))
    routers.ensure(there, [])
    assert reaches(web, "10.1.2.20")
    heir = runtime(hosts[1], tmp_path / "heir")
    try:
        heir.ensure(replace(there, epoch=1), [])
        assert filtering.yielded(routers.namespace(wish.network))
        routers.remove(wish.network)
        assert reaches(web, "10.1.2.20")
    finally:
        heir.remove(wish.network)
