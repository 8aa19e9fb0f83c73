"""What every appliance runtime must do, judged on each of them. What packets do is judged by the real runtimes' own tests."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from arable.domain.ids import NetworkId
from arable.drivers.appliance.protocol import Appliances
from arable.drivers.network.protocol import Network
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

    def reopened(self, appliances: Appliances) -> Appliances:
        """Another driver object for the same host, as after a restart of the agent."""
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

    def test_a_way_out_can_come_and_go(self, appliances, network) -> None:
        wish = make.appliance(vlan=101)
        appliances.ensure(replace(wish, public=None), [])
        appliances.ensure(replace(wish, generation=2), [])
        self.runs(appliances, wish.network)
        assert network.vlans() == {101, wish.public.vlan}
        appliances.ensure(replace(wish, generation=3, public=None), [])
        self.runs(appliances, wish.network)
        assert network.vlans() == {101}

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
        anew = self.reopened(appliances)
        assert dict(anew.appliances()) == dict(appliances.appliances())
        anew.remove(wish.network)
        assert not anew.appliances()
