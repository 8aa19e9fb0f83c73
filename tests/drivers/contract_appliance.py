"""What every appliance runtime must do, judged on each of them. What packets do is judged by the real runtimes' own tests."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from arable.domain.balancer import BalancerWish, Check, MemberWish, Traffic
from arable.domain.errors import BadInput
from arable.domain.ids import BalancerId, NetworkId, NicId, VpnId, VpnPeerId
from arable.domain.manifest import Ipv6Net, LinkPort, Neighbour
from arable.domain.vpn import VpnPeerWish, VpnWish
from arable.drivers.appliance.protocol import Appliances, Balances, Tunnels
from arable.drivers.network.protocol import Network
from arable.runtime.entropy import Entropy
from arable.runtime.vpn_keys import new_pair
from drivers import make_drivers as make


class ApplianceContract:
    """Promises of `drivers/appliance/protocol.py`. `network` is the driver that the runtime plugs its ends into."""

    @pytest.fixture
    def network(self) -> Network:
        raise AssertionError("a subclass says which network driver the runtime uses")

    @pytest.fixture
    def appliances(self, network: Network) -> Appliances:
        raise AssertionError("a subclass says which runtime is judged")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        make.wait_until(condition, what)

    def break_a_part(self, appliances: Appliances, network: NetworkId) -> None:
        """Make one part of the appliance fail, as a killed DHCP server does."""
        raise AssertionError("a subclass says how an appliance is broken")

    def silence(self, appliances: Appliances, member: NicId) -> None:
        """Have a balancer's member answer no check. In a network without machines nobody does."""

    def reopened(self, appliances: Appliances) -> Appliances:
        """Another driver object for the same host, as after a restart of the agent: the one before is used no more."""
        raise AssertionError("a subclass says how a driver is made anew")

    def runs(self, appliances: Appliances, network: NetworkId) -> None:
        self.wait_until(
            lambda: network in (seen := appliances.appliances()) and seen[network].running,
            f"the appliance of {network} to run",
        )

    def test_what_is_ensured_runs(self, appliances) -> None:
        wish = make.appliance(generation=3)
        appliances.ensure(wish, [make.lease(wish.network)])
        self.runs(appliances, wish.network)
        assert appliances.appliances()[wish.network].generation == 3

    def test_an_appliance_is_plugged_into_its_vlans(self, appliances, network) -> None:
        wish = make.appliance(vlan=101)
        appliances.ensure(wish, [])
        assert network.vlans() == {101, wish.public.vlan}
        appliances.remove(wish.network)
        assert network.vlans() == frozenset()
        assert not network.ports()

    def test_a_network_without_a_way_out_has_a_router_all_the_same(
        self, appliances, network
    ) -> None:
        wish = make.appliance(vlan=101, public=None)
        appliances.ensure(wish, [])
        self.runs(appliances, wish.network)
        assert network.vlans() == {101}

    def test_saying_it_twice_changes_nothing(self, appliances, network) -> None:
        wish = make.appliance()
        leases = [make.lease(wish.network)]
        appliances.ensure(wish, leases)
        ports = dict(network.ports())
        appliances.ensure(wish, leases)
        assert list(appliances.appliances()) == [wish.network]
        assert dict(network.ports()) == ports

    def test_an_appliance_is_reprogrammed(self, appliances) -> None:
        wish = make.appliance()
        appliances.ensure(wish, [])
        changed = replace(wish, generation=2, domain="other.internal")
        appliances.ensure(changed, [make.lease(wish.network)])
        self.runs(appliances, wish.network)
        assert appliances.appliances()[wish.network].generation == 2

    def test_an_appliance_is_made_anew(self, appliances, network) -> None:
        wish = make.appliance(vlan=101)
        lease = make.lease(wish.network)
        appliances.ensure(wish, [lease])
        for generation in (2, 3):
            appliances.ensure(replace(wish, generation=generation, restarts=1), [lease])
            self.runs(appliances, wish.network)
            assert appliances.appliances()[wish.network].generation == generation
        assert network.vlans() == {101, wish.public.vlan}

    def test_a_way_out_can_come_and_go(self, appliances, network) -> None:
        wish = make.appliance(vlan=101)
        appliances.ensure(replace(wish, public=None), [])
        appliances.ensure(replace(wish, generation=2), [])
        self.runs(appliances, wish.network)
        assert network.vlans() == {101, wish.public.vlan}
        appliances.ensure(replace(wish, generation=3, public=None), [])
        self.runs(appliances, wish.network)
        assert network.vlans() == {101}

    def test_a_link_to_other_networks_can_come_and_go(self, appliances, network) -> None:
        wish = make.appliance(vlan=101, public=None)
        near = Neighbour(cidr="10.1.2.0/24", via="169.254.64.102")
        link = LinkPort(vlan=103, address="169.254.64.101", neighbours=(near,))
        appliances.ensure(replace(wish, link=link), [])
        self.runs(appliances, wish.network)
        assert network.vlans() == {101, 103}
        appliances.ensure(replace(wish, generation=2), [])
        self.runs(appliances, wish.network)
        assert network.vlans() == {101}
        appliances.ensure(replace(wish, generation=3, link=link), [])
        appliances.remove(wish.network)
        assert not network.vlans()

    def test_ipv6_can_come_and_go(self, appliances) -> None:
        wish = make.appliance()
        net = Ipv6Net(cidr="2001:db8:100:7::/64", gateway="2001:db8:100:7::1")
        six = "2001:db8:100:7:0:aff:fe01:10a"
        for generation, change in enumerate(
            ({}, {"ipv6": net}, {"ipv6": replace(net, upstream="2001:db8:100::1")}, {}), 1
        ):
            told = replace(wish, generation=generation, **change)
            appliances.ensure(told, [make.lease(wish.network, ipv6=six if change else "")])
            self.runs(appliances, wish.network)
            assert appliances.appliances()[wish.network].generation == generation

    def test_ipv6_that_can_not_be_is_refused(self, appliances) -> None:
        net = Ipv6Net(cidr="2001:db8:100::/48", gateway="2001:db8:100::1")
        with pytest.raises(BadInput):
            appliances.ensure(make.appliance(ipv6=net), [])
        assert not appliances.appliances()

    def test_a_removed_appliance_is_gone(self, appliances, network) -> None:
        wish = make.appliance()
        appliances.ensure(wish, [])
        for _ in range(2):
            appliances.remove(wish.network)
            assert not appliances.appliances()
            assert not network.ports()

    def test_two_networks_may_have_the_same_addresses(self, appliances) -> None:
        public = make.appliance().public
        one = make.appliance(vlan=101)
        other = make.appliance(vlan=102, public=replace(public, address="203.0.113.11"))
        for wish in (one, other):
            appliances.ensure(wish, [make.lease(wish.network)])
        for wish in (one, other):
            self.runs(appliances, wish.network)
        appliances.remove(one.network)
        assert list(appliances.appliances()) == [other.network]
        self.runs(appliances, other.network)

    def test_balancers_are_told_with_their_members(self, appliances) -> None:
        plain = make.appliance()
        member = MemberWish(nic=NicId(make.fresh("nic")), to="10.1.1.10", port=80)
        balancer = BalancerWish(
            id=BalancerId(make.fresh("balancer")),
            public=plain.public.address,
            port=80,
            traffic=Traffic.TCP,
            members=(member,),
        )
        wish = replace(plain, generation=2, balancers=(balancer,))
        appliances.ensure(wish, [])
        self.runs(appliances, wish.network)
        assert isinstance(appliances, Balances)
        (seen,) = appliances.balancers()
        assert (seen.id, [one.nic for one in seen.members]) == (balancer.id, [member.nic])
        appliances.ensure(replace(wish, generation=3, balancers=()), [])
        self.runs(appliances, wish.network)
        assert not appliances.balancers()

    def test_a_member_that_joins_is_not_used_before_it_is_well(self, appliances) -> None:
        plain = make.appliance()
        member = MemberWish(nic=NicId(make.fresh("nic")), to="10.1.1.10", port=80, weight=3)
        balancer = BalancerWish(
            id=BalancerId(make.fresh("balancer")),
            public=plain.public.address,
            port=80,
            traffic=Traffic.TCP,
            check=Check(interval=1, timeout=1),
        )
        appliances.ensure(replace(plain, generation=2, balancers=(balancer,)), [])
        self.runs(appliances, plain.network)
        self.silence(appliances, member.nic)
        wish = replace(plain, balancers=(replace(balancer, members=(member,)),))
        for generation in (3, 4):
            appliances.ensure(replace(wish, generation=generation), [])
            ((seen,),) = (each.members for each in appliances.balancers())
            assert (seen.nic, seen.weight, seen.up) == (member.nic, 3, False)
            assert not seen.well
        self.wait_until(
            lambda: appliances.balancers()[0].members[0].well is False, "its check to fail"
        )
        drained = (replace(member, weight=0),)
        wish = replace(plain, balancers=(replace(balancer, members=drained),))
        appliances.ensure(replace(wish, generation=5), [])
        ((seen,),) = (each.members for each in appliances.balancers())
        assert (seen.weight, seen.sessions) == (0, 0)

    def test_vpns_are_told_with_their_peers(self, appliances) -> None:
        plain = make.appliance()
        id_ = VpnId(make.fresh("vpn"))
        private, _ = new_pair(Entropy.system())
        _, public = new_pair(Entropy.system())  # another's: nobody is their own peer
        peer = VpnPeerWish(id=VpnPeerId(id_), public_key=public, cidrs=("10.9.0.0/24",))
        where = {"public": plain.public.address, "port": 51820}
        vpn = VpnWish(id=id_, key=private.reveal(), peers=(peer,), **where)
        wish = replace(plain, generation=2, vpns=(vpn,))
        appliances.ensure(wish, [])
        self.runs(appliances, wish.network)
        assert isinstance(appliances, Tunnels)
        (seen,) = appliances.vpns()
        assert (seen.id, [one.id for one in seen.peers]) == (id_, [id_])
        appliances = self.reopened(appliances)
        (seen,) = appliances.vpns()
        assert [one.id for one in seen.peers] == [id_]
        alone = replace(vpn, peers=())
        appliances.ensure(replace(wish, generation=3, vpns=(alone,)), [])
        assert [one.peers for one in appliances.vpns()] == [()]
        appliances.ensure(replace(wish, generation=4, vpns=()), [])
        self.runs(appliances, wish.network)
        assert not appliances.vpns()

    def test_what_can_not_be_a_router_is_refused_before_anything_is_touched(
        self, appliances, network
    ) -> None:
        with pytest.raises(BadInput):
            appliances.ensure(make.appliance(domain="x\ndhcp-script=/bin/sh"), [])
        assert not appliances.appliances()
        assert not network.ports()

    def test_a_broken_appliance_says_so_and_is_repaired(self, appliances) -> None:
        wish = make.appliance()
        appliances.ensure(wish, [])
        self.runs(appliances, wish.network)
        self.break_a_part(appliances, wish.network)
        self.wait_until(
            lambda: not appliances.appliances()[wish.network].running, "the failure to be seen"
        )
        assert appliances.appliances()[wish.network].told
        appliances.ensure(wish, [])
        self.runs(appliances, wish.network)

    def test_appliances_outlive_the_driver_object(self, appliances) -> None:
        wish = make.appliance(generation=4)
        appliances.ensure(wish, [])
        self.runs(appliances, wish.network)
        before = dict(appliances.appliances())
        anew = self.reopened(appliances)
        assert dict(anew.appliances()) == before
        anew.remove(wish.network)
        assert not anew.appliances()
