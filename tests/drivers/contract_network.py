"""What every network driver must do, judged on each of them. What frames do is judged by the real drivers' own tests."""

from dataclasses import replace

import pytest

from arable.domain.errors import BadInput
from arable.domain.ids import NicId
from arable.drivers.network.protocol import Network, Reach
from drivers import make_drivers as make


class NetworkContract:
    """Promises of `drivers/network/protocol.py`."""

    @pytest.fixture
    def network(self) -> Network:
        raise AssertionError("a subclass says which driver is judged")

    def reopened(self, network: Network) -> Network:
        """Another driver object for the same host, as after a restart of the agent."""
        raise AssertionError("a subclass says how a driver is made anew")

    @pytest.mark.parametrize("kind", [make.tap, make.veth])
    def test_a_port_is_listed_as_it_was_asked_for(self, network, kind) -> None:
        port = kind(vlan=101)
        network.ensure(port)
        assert dict(network.ports()) == {port.nic: port}
        assert network.vlans() == {101}

    @pytest.mark.parametrize("kind", [make.tap, make.veth])
    def test_a_port_may_be_of_a_vni(self, network, kind) -> None:
        first, second = kind(vlan=70_001), kind(vlan=70_001, mac="02:00:0a:01:01:0b")
        other = make.tap(vlan=101)
        for port in (first, other, second, first):
            network.ensure(port)
        assert dict(network.ports()) == {port.nic: port for port in (first, other, second)}
        assert network.vlans() == {70_001, 101}
        network.remove(first.nic)
        assert network.vlans() == {70_001, 101}
        network.remove(second.nic)
        assert network.vlans() == {101}
        network.remove(other.nic)
        assert network.vlans() == frozenset()

    def test_a_port_goes_from_a_vlan_to_a_vni_and_back(self, network) -> None:
        port = make.tap(vlan=101)
        for vlan in (101, 70_001, 70_002, 101):
            network.ensure(replace(port, vlan=vlan))
            assert dict(network.ports()) == {port.nic: replace(port, vlan=vlan)}
            assert network.vlans() == {vlan}

    def test_where_a_vni_is_can_be_told_before_its_first_port_and_outlives_its_last(
        self, network
    ) -> None:
        reach = Reach(70_001, frozenset({"10.9.0.1", "10.9.0.2"}), 1400)
        other = Reach(70_002, frozenset({"10.9.0.2"}), 1450)
        port = make.tap(vlan=70_001)
        for _ in range(2):
            network.reach(reach)
            network.reach(other)
        assert dict(network.reaches()) == {70_001: reach, 70_002: other}
        assert network.vlans() == frozenset()
        network.ensure(port)
        assert network.reaches()[70_001] == reach
        fewer = Reach(70_001, frozenset({"10.9.0.3"}), 1400)
        network.reach(fewer)
        assert dict(self.reopened(network).reaches()) == {70_001: fewer, 70_002: other}
        assert dict(network.ports()) == {port.nic: port}
        network.remove(port.nic)
        assert network.reaches()[70_001] == fewer
        for _ in range(2):
            network.unreach(70_001)
            network.unreach(70_002)
            assert not network.reaches()

    def test_only_vnis_reach_elsewhere(self, network) -> None:
        with pytest.raises(BadInput):
            network.reach(Reach(101, frozenset({"10.9.0.1"})))
        assert not network.reaches()

    @pytest.mark.parametrize("kind", [make.tap, make.veth])
    def test_saying_it_twice_changes_nothing(self, network, kind) -> None:
        port = kind()
        for _ in range(2):
            network.ensure(port)
        assert dict(network.ports()) == {port.nic: port}

    @pytest.mark.parametrize(
        "change",
        [
            {"rate_kbps": 5_000},
            {"rate_kbps": 0},
            {"address": "10.1.1.77"},
            {"mac": "02:00:0a:01:01:4d"},
            {"ipv6": "2001:db8:100:7:0:aff:fe01:10a"},
        ],
        ids=str,
    )
    def test_a_port_can_change(self, network, change) -> None:
        port = make.tap()
        network.ensure(port)
        changed = replace(port, **change)
        network.ensure(changed)
        assert dict(network.ports()) == {port.nic: changed}

    def test_a_port_keeps_its_ipv6_until_it_is_taken_away(self, network) -> None:
        port = make.tap(ipv6="2001:db8:100:7:0:aff:fe01:10a")
        network.ensure(port)
        assert dict(self.reopened(network).ports()) == {port.nic: port}
        network.ensure(replace(port, ipv6=""))
        assert dict(network.ports()) == {port.nic: replace(port, ipv6="")}

    def test_a_port_that_moves_to_another_vlan_leaves_nothing_in_the_old_one(self, network) -> None:
        port = make.tap(vlan=101)
        network.ensure(port)
        moved = replace(port, vlan=102)
        network.ensure(moved)
        assert dict(network.ports()) == {port.nic: moved}
        assert network.vlans() == {102}

    @pytest.mark.parametrize("kind", [make.tap, make.veth])
    def test_a_removed_port_is_gone_with_its_vlan(self, network, kind) -> None:
        port = kind()
        network.ensure(port)
        for _ in range(2):
            network.remove(port.nic)
            assert not network.ports()
            assert network.vlans() == frozenset()

    def test_an_absent_port_is_nothing_to_remove(self, network) -> None:
        network.remove(NicId(make.fresh("nic")))
        assert not network.ports()

    def test_a_vlan_stays_until_its_last_port_goes(self, network) -> None:
        first, second = make.tap(vlan=101), make.veth(vlan=101)
        network.ensure(first)
        network.ensure(second)
        network.remove(first.nic)
        assert network.vlans() == {101}
        network.remove(second.nic)
        assert network.vlans() == frozenset()

    def test_two_networks_may_use_the_same_addresses(self, network) -> None:
        ports = [make.tap(vlan=101), make.tap(vlan=102)]
        for port in ports:
            network.ensure(port)
        assert dict(network.ports()) == {port.nic: port for port in ports}
        assert network.vlans() == {101, 102}

    @pytest.mark.parametrize("vlan", [0, 4095, -1])
    def test_a_vlan_that_can_not_be_is_refused(self, network, vlan) -> None:
        with pytest.raises(BadInput):
            network.ensure(make.tap(vlan=vlan))
        assert not network.ports()

    def test_a_device_name_that_the_kernel_would_cut_is_refused(self, network) -> None:
        with pytest.raises(BadInput):
            network.ensure(make.tap(device="sixteenletters-x"))
        assert not network.ports()

    def test_ports_outlive_the_driver_object(self, network) -> None:
        ports = [make.tap(vlan=101), make.veth(vlan=102)]
        for port in ports:
            network.ensure(port)
        anew = self.reopened(network)
        assert dict(anew.ports()) == {port.nic: port for port in ports}
        assert anew.vlans() == {101, 102}
        for port in ports:
            anew.remove(port.nic)
        assert not anew.ports()
