"""Networks with VNIs: who has which, and what hosts are told of each other."""

import msgspec
import pytest
from make_cloud import Cloud, make_cloud
from test_customer_races import all_at_once, doing
from test_landing import attend, routed, with_hosts

from arable.controllers import appliances
from arable.controllers import networks as leaving
from arable.controllers import tunnels as controller
from arable.domain.errors import BadInput, Conflict, NoRoom
from arable.domain.ids import HostId, ZoneId
from arable.domain.manifest import ApplianceWish
from arable.domain.tunnel import TunnelWish
from arable.domain.zone import Tags
from arable.services import networks, zones
from arable.store import reservations, sights, tunnels, wishes
from arable.store import zones as zone_rows
from arable.wire.networks import NetworkIn
from arable.wire.zones import VlanRange, VniRange, ZoneChange, ZoneIn

VNIS = VniRange(first=70_000, last=70_009)


@pytest.fixture
def operator(cloud):
    return cloud.account("operator", role="operator")


def in_vxlan(cloud: Cloud, vnis: int = 10) -> Cloud:
    """Its zone has VNIs instead of VLANs, and three hosts with addresses for tunnels."""
    cloud.run("delete from vlan")
    cloud.run("update zone set isolation = 'vxlan', underlay_mtu = 1530")
    with cloud.database.write() as tx:
        zone_rows.add_tags(tx, ZoneId("zone-here"), Tags(70_000, 69_999 + vnis))
    with_hosts(cloud, "a", "b", "c")
    for number, name in enumerate("abc", 1):
        cloud.run("update host set tunnel_address = :a where id = :h", a=f"172.30.0.{number}", h=f"host-{name}")  # fmt: skip
    return cloud


@pytest.fixture
def two(cloud):
    """A customer's network on two of three hosts, as far as is noted."""
    in_vxlan(cloud)
    me = cloud.account("me")
    made = cloud.do(me, networks.create, NetworkIn(name="web", cidr="10.7.0.0/24"))
    present(cloud, made.id, "a", "b")
    return me, made.id


def present(cloud: Cloud, network: str, *names: str) -> None:
    with cloud.database.write() as tx:
        wishes.note_presence(tx, [(network, HostId(f"host-{name}")) for name in names])


def rounds(cloud: Cloud) -> int:
    with cloud.database.write() as tx:
        return controller.attend(tx, cloud.around.clock.now())


def told(cloud: Cloud) -> dict[str, TunnelWish]:
    rows = cloud.rows(
        "select host, body from manifest_item where kind = 'tunnel' and body is not null"
    )
    return {
        host.removeprefix("host-"): msgspec.json.decode(body, type=TunnelWish)
        for host, body in rows
    }


def ends(cloud: Cloud) -> dict[str, tuple[str, ...]]:
    return {
        host: tuple(address.rpartition(".")[2] for address in wish.hosts)
        for host, wish in told(cloud).items()
    }


# --- zones


def test_a_zone_has_vlans_or_vnis(cloud, operator):
    made = cloud.do(operator, zones.create, ZoneIn(name="wide", vnis=VNIS, underlay_mtu=9000))
    assert (made.isolation, made.vlans, made.vnis) == ("vxlan", None, (VNIS,))
    assert made.underlay_mtu == 9000
    more = VniRange(first=70_010, last=71_000)
    assert cloud.do(operator, zones.add_vnis, made.id, more).vnis == (
        VniRange(first=70_000, last=71_000),
    )
    assert cloud.do(operator, zones.capacity_of, made.id).vlans.free == 1_001
    narrow = cloud.do(
        operator, zones.create, ZoneIn(name="narrow", vlans=VlanRange(first=9, last=9))
    )
    assert (narrow.isolation, narrow.vnis) == ("vlan", None)
    refused = [
        (zones.create, (ZoneIn(name="x"),), BadInput),
        (zones.create, (ZoneIn(name="x", vlans=VlanRange(first=9, last=9), vnis=VNIS),), BadInput),
        (zones.create, (ZoneIn(name="x", vnis=VniRange(first=5000, last=4999)),), BadInput),
        (zones.create, (ZoneIn(name="x", vnis=VniRange(first=5000, last=70_536)),), BadInput),
        (zones.add_vnis, (made.id, VniRange(first=70_005, last=70_020)), Conflict),
        (zones.add_vnis, (narrow.id, VNIS), Conflict),
        (zones.add_vlans, (made.id, VlanRange(first=9, last=9)), Conflict),
    ]
    for verb, asked, kind in refused:
        assert isinstance(cloud.refused(operator, verb, *asked), kind), asked


def test_a_zones_vnis_go_to_one_network_each(database):
    cloud = in_vxlan(make_cloud(database), vnis=20)
    mine = [cloud.account(f"me-{n}") for n in range(5)]
    asks = [
        doing(cloud, me, networks.create, NetworkIn(name=f"n{n}", cidr=f"10.{n}.0.0/24"))
        for me in mine
        for n in range(2, 8)
    ]
    answers = all_at_once(database, asks)
    assert sum(isinstance(answer, NoRoom) for answer in answers) == 10
    taken = cloud.rows("select vlan from network order by vlan")
    assert taken == [(vni,) for vni in range(70_000, 70_020)]


def test_guests_are_told_what_fits_into_a_tunnel(cloud, operator):
    in_vxlan(cloud)
    me = cloud.account("me")
    routed(cloud, me)
    cloud.run("update network set attention = true")

    def mtus() -> set[int]:
        with cloud.database.write() as tx:
            appliances.attend(tx, cloud.around.clock.now())
        rows = cloud.rows("select body from manifest_item where kind = 'appliance'")
        return {msgspec.json.decode(body, type=ApplianceWish).mtu for (body,) in rows}

    assert mtus() == {1480}
    cloud.do(operator, zones.update, "zone-here", ZoneChange(underlay_mtu=1500))
    assert mtus() == {1450}
    cloud.do(operator, zones.update, "zone-here", ZoneChange(underlay_mtu=9000))
    assert mtus() == {1500}


# --- what hosts are told


def test_hosts_that_have_a_network_are_told_of_each_other_and_no_others(two, cloud):
    _, network = two
    assert rounds(cloud) == 1
    assert ends(cloud) == {"a": ("2",), "b": ("1",)}
    wish = told(cloud)["a"]
    assert (wish.network, wish.vni, wish.mtu) == (network, 70_000, 1480)
    assert rounds(cloud) == 0
    present(cloud, network, "b", "c")
    assert rounds(cloud) == 1
    assert ends(cloud) == {"a": ("2", "3"), "b": ("1", "3"), "c": ("1", "2")}
    before = cloud.rows("select host, id, generation from manifest_item order by host, id")
    present(cloud, network, "a", "b", "c")
    assert rounds(cloud) == 0
    assert cloud.rows("select host, id, generation from manifest_item order by host, id") == before


def test_a_host_that_has_nothing_of_it_any_more_is_forgotten_by_all(two, cloud):
    _, network = two
    present(cloud, network, "c")
    rounds(cloud)
    said(cloud, "b", ())
    assert rounds(cloud) == 1
    assert ends(cloud) == {"a": ("3",), "c": ("1",)}


def said(cloud: Cloud, name: str, vlans: tuple[int, ...]) -> None:
    host = HostId(f"host-{name}")
    ((generation,),) = cloud.rows("select manifest_generation from host where id = :h", h=host)
    with cloud.database.write() as tx:
        sights.forget_presence(tx, {host: (generation, vlans)})


def test_a_vni_is_free_when_no_host_has_it_and_none_is_told_of_it(two, cloud):
    me, network = two
    rounds(cloud)
    cloud.do(me, networks.delete, network)

    def gone() -> bool:
        with cloud.database.write() as tx:
            leaving.collect(tx, cloud.around.clock.now())
        return not cloud.rows("select 1 from network")

    said(cloud, "a", (70_000,))
    said(cloud, "b", ())
    assert not gone()
    said(cloud, "a", ())
    assert not gone()  # both are told of it still
    rounds(cloud)
    assert not ends(cloud)
    assert gone()
    other = cloud.account("other")
    made = cloud.do(other, networks.create, NetworkIn(name="new", cidr="10.7.0.0/24"))
    assert cloud.rows("select vlan from network where id = :n", n=made.id) == [(70_000,)]


def test_a_host_whose_tunnels_end_elsewhere_is_found_there(two, cloud):
    rounds(cloud)
    cloud.run("update host set tunnel_address = '172.30.0.99' where id = 'host-a'")
    with cloud.database.write() as tx:
        tunnels.note_hosts(tx, [HostId("host-a")])
    assert rounds(cloud) == 1
    assert ends(cloud) == {"a": ("2",), "b": ("99",)}


def test_a_changed_underlay_is_told(two, cloud, operator):
    rounds(cloud)
    cloud.do(operator, zones.update, "zone-here", ZoneChange(underlay_mtu=9000))
    assert rounds(cloud) == 1
    assert {wish.mtu for wish in told(cloud).values()} == {1500}


def test_a_zone_with_vlans_has_no_tunnels(cloud):
    with_hosts(cloud, "a", "b")
    me = cloud.account("me")
    made = cloud.do(me, networks.create, NetworkIn(name="web", cidr="10.7.0.0/24"))
    present(cloud, made.id, "a", "b")
    assert rounds(cloud) == 0
    assert not told(cloud)


def test_a_machine_goes_only_where_tunnels_end(cloud):
    in_vxlan(cloud)
    cloud.run("update host set tunnel_address = ''")
    me = cloud.account("me")
    routed(cloud, me)
    early = cloud.deploy(me, name="early").operation
    attend(cloud)
    ((state, error),) = cloud.rows("select state, error from operation where id = :o", o=early)
    assert state == "failed"
    assert "no address for tunnels" in str(error)
    cloud.run("update host set tunnel_address = '172.30.0.2' where id = 'host-b'")
    for number in range(4):
        cloud.deploy(me, name=f"web-{number}")
    attend(cloud)
    assert cloud.rows("select distinct host from machine where host is not null") == [("host-b",)]
    assert rounds(cloud) == 1
    assert ends(cloud) == {"b": ()}


# --- two at once


@pytest.fixture
def shared(postgresql):
    """As `two`, where several work at a time."""
    with postgresql.one() as database:
        cloud = in_vxlan(make_cloud(database))
        made = cloud.do(cloud.account("me"), networks.create, NetworkIn(name="web", cidr="10.7.0.0/24"))  # fmt: skip
        present(cloud, made.id, "a", "b")
        yield cloud, made.id


def test_a_host_that_comes_while_others_are_told_is_told_as_well(shared):
    cloud, network = shared
    with cloud.database.write() as placing:
        wishes.note_presence(placing, [(network, HostId("host-c"))])
        assert rounds(cloud) > 0
        assert ends(cloud) == {"a": ("2",), "b": ("1",)}
    assert rounds(cloud) > 0
    assert ends(cloud) == {"a": ("2", "3"), "b": ("1", "3"), "c": ("1", "2")}


def test_nothing_is_forgotten_of_a_host_where_somebody_places_at_that_moment(shared):
    cloud, network = shared
    here = cloud.rows("select host from network_presence where network = :n", n=network)
    assert ("host-a",) in here
    with cloud.database.write() as placing:
        reservations.hold(placing, [HostId("host-a")])
        with cloud.database.write() as reporting:
            sights.forget_presence(reporting, {HostId(f"host-{n}"): (99, ()) for n in "ab"})
    left = cloud.rows("select host from network_presence where network = :n", n=network)
    assert left == [("host-a",)]
    with cloud.database.write() as reporting:
        sights.forget_presence(reporting, {HostId("host-a"): (99, ())})
    assert cloud.rows("select host from network_presence where network = :n", n=network) == []
