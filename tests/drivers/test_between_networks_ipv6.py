# ruff: noqa: F811 - fixtures of another module are named as arguments
"""Two networks with IPv6, each with a router of its own, and a balancer that is called by IPv6."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from arable.domain.balancer import BalancerWish, Check, MemberWish, Traffic
from arable.domain.guest_cidr import link_address
from arable.domain.guest_ipv6 import address_of, twin_of
from arable.domain.ids import BalancerId, NicId
from arable.domain.manifest import LinkPort, Neighbour, Passage, Protocol
from drivers import make_drivers as make
from drivers import services
from drivers.emulated_hosts import configure, is_silent, station
from drivers.test_namespace_ipv6 import ADDRESS, CIDR, NET, dual, has, is_cut  # noqa: F401
from drivers.town_fixtures import hosts, runtime, town, world  # noqa: F401 - fixtures

pytestmark = pytest.mark.real

THERE = "2001:db8:100:8::/64"
MAC = "02:00:0a:01:02:14"
FAR = address_of(THERE, MAC)
TCP = {"protocol": Protocol.TCP, "first_port": 5432, "last_port": 5432}


def led(wish, other, *passages):
    """What the router of a network is told of the other one: by both families, but rules of IPv6 alone."""
    (here, cidr), (near, prefix) = wish, other
    via = link_address(near.vlan)
    port = LinkPort(
        vlan=300,
        address=link_address(here.vlan),
        neighbours=(Neighbour(cidr=near.cidr, via=via),),
    )
    six = replace(
        NET,
        cidr=cidr,
        gateway=cidr.replace("/64", "1"),
        near=(Neighbour(cidr=prefix, via=via),),
        passages=passages,
    )
    return {"link": port, "ipv6": six}


def test_machines_of_two_networks_reach_each_other_by_ipv6_as_the_passages_say(
    hosts, town, dual, tmp_path
) -> None:
    web, stranger = dual
    routers = runtime(hosts[0], tmp_path / "other")
    wish = replace(make.appliance(vlan=102), cidr="10.1.2.0/24", gateway="10.1.2.1", public=None)
    wish = replace(wish, isolated=True)
    port = make.tap(address="10.1.2.20", mac=MAC, vlan=102, ipv6=FAR, rate_kbps=0)
    lease = make.lease(wish.network, nic=port.nic, mac=MAC, address=port.address, ipv6=FAR)
    one, two = (town.wish, CIDR), (wish, THERE)
    passage = Passage(source=f"{ADDRESS[10]}/128", target=THERE, **TCP)
    with ExitStack() as stack:
        stack.callback(routers.remove, wish.network)
        database = stack.enter_context(station(hosts[0], port, addressed=False))
        routers.ensure(replace(wish, **led(two, one, passage)), [lease])
        has(database, FAR)
        town.program(**led(one, two, passage))
        for number in (5432, 22):
            stack.enter_context(services.echo(database, FAR, number))
        with services.call(web, FAR, 5432) as line:
            assert line.getsockname()[0] == ADDRESS[10]
            assert services.says_back(line)
            for caller, number in ((web, 22), (stranger, 5432)):
                assert services.is_closed(caller, FAR, number)
            assert is_silent(web, THERE.replace("/64", "1"))
            stack.enter_context(services.echo(web, ADDRESS[10], 5432))
            assert services.is_closed(database, ADDRESS[10], 5432), "the other way"
            routers.ensure(replace(wish, generation=2, **led(two, one)), [lease])
            assert is_cut(line)
        assert services.is_closed(web, FAR, 5432)
        back = Passage(source=THERE, target=CIDR, **TCP)
        town.program(**led(one, two, back))
        routers.ensure(replace(wish, generation=3, **led(two, one, back)), [lease])
        assert services.answers(database, ADDRESS[10], 5432)
        town.program(link=None, ipv6=NET)
        assert services.is_closed(database, ADDRESS[10], 5432)


def test_a_balancer_is_called_by_ipv6_from_outside_and_from_its_network(town, dual, world) -> None:
    guest, other = dual
    member = MemberWish(nic=NicId(make.fresh("nic")), to="10.1.1.11", port=7000)
    balancer = BalancerWish(
        id=BalancerId(make.fresh("balancer")),
        public="203.0.113.10",
        port=443,
        traffic=Traffic.TCP,
        check=Check(interval=1, timeout=1, rise=1),
        members=(member,),
        cidr6="2001:db8:100::/48",
    )
    twin = twin_of(CIDR, "203.0.113.10")
    configure(other, "eth0", "10.1.1.11")
    with services.echo(other, "10.1.1.11", 7000) as echo:
        town.program(balancers=(balancer,))
        make.wait_until(
            lambda: [m.well for each in town.routers.balancers() for m in each.members] == [True],
            "its member to be well",
        )
        with services.call(world, twin, 443) as line:
            assert services.says_back(line)
            assert echo.callers[-1] == "10.1.1.1", "members are called by IPv4"
            assert services.answers(guest, twin, 443)
            assert services.is_closed(world, twin, 80)
            town.program(balancers=(replace(balancer, cidr6=f"{ADDRESS[10]}/128"),))
            assert is_cut(line)
        assert services.answers(guest, twin, 443)
        assert services.is_closed(world, twin, 443)
        town.program(balancers=(replace(balancer, cidr6=""),))
        assert services.is_closed(guest, twin, 443)
