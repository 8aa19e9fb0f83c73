"""Zones, pods and public ranges as an operator meets them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest

from arable.domain.errors import BadInput, CloudError, Conflict, Forbidden, NotFound, Stale
from arable.services import pods, public_ranges, zones
from arable.services.call import Call
from arable.wire.pods import PodChange, PodIn, PodQuery
from arable.wire.public_ranges import PublicRangeIn, PublicRangeQuery
from arable.wire.zones import VlanRange, ZoneChange, ZoneIn, ZoneQuery


def zone_in(**but) -> ZoneIn:
    return ZoneIn(**{"name": "east", "vlans": VlanRange(first=100, last=109)} | but)


def pod_in(**but) -> PodIn:
    return PodIn(**{"zone": "here", "name": "a", "cidr": "10.20.1.0/24"} | but)


def range_in(**but) -> PublicRangeIn:
    usual = {
        "zone": "here",
        "cidr": "203.0.113.0/24",
        "gateway": "203.0.113.1",
        "first": "203.0.113.10",
        "last": "203.0.113.19",
        "vlan": 901,
    }
    return PublicRangeIn(**usual | but)


def test_a_zone_comes_with_its_vlans(infra):
    made = infra.ask(zones.create, zone_in(resolvers=("9.9.9.9",)))
    assert made == infra.ask(zones.get, made.id)
    assert made.vlans == (VlanRange(first=100, last=109),)
    assert infra.ask(zones.capacity_of, made.id).vlans.free == 10


def test_vlans_are_added_but_never_twice(infra):
    made = infra.ask(zones.create, zone_in())
    for first, last in ((105, 120), (90, 100), (1, 4), (4090, 4095), (50, 49)):
        error = infra.refused(zones.add_vlans, made.id, VlanRange(first=first, last=last))
        assert error.field == "first"
    after = infra.ask(zones.add_vlans, made.id, VlanRange(first=110, last=119))
    assert after.vlans == (VlanRange(first=100, last=119),)
    after = infra.ask(zones.add_vlans, made.id, VlanRange(first=4000, last=4094))
    assert [(run.first, run.last) for run in after.vlans] == [(100, 119), (4000, 4094)]
    assert after.generation == made.generation + 2


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ({"name": "here"}, "name"),
        ({"vlans": VlanRange(first=200, last=199)}, "vlans"),
        ({"resolvers": ("9.9.9.9", "dns.example")}, "resolvers.1"),
        ({"guest_cidr": "10.1.1.1/24"}, "guest_cidr"),
        ({"guest_cidr": "10.1.1.0/30"}, "guest_cidr"),
    ],
)
def test_a_zone_that_makes_no_sense_is_refused_and_leaves_nothing(lone_infra, but, field):
    error = lone_infra.refused(zones.create, zone_in(**but))
    assert error.field == field


def test_a_zone_changes_only_in_what_is_said(infra):
    before = infra.ask(zones.create, zone_in())
    after = infra.ask(zones.update, before.id, ZoneChange(enabled=False, dns_domain="lan"))
    assert (after.enabled, after.dns_domain, after.generation) == (False, "lan", 2)
    assert (
        msgspec.structs.replace(after, enabled=True, dns_domain="internal", generation=1) == before
    )


def test_a_change_of_what_was_changed_meanwhile_is_refused(infra):
    made = infra.ask(zones.create, zone_in())
    infra.ask(zones.update, made.id, ZoneChange(enabled=False), expects=1)
    error = infra.refused(zones.update, made.id, ZoneChange(enabled=True), expects=1)
    assert isinstance(error, Stale)


def test_a_zone_can_be_renamed_but_not_to_another_ones_name(lone_infra):
    made = lone_infra.ask(zones.create, zone_in())
    assert lone_infra.ask(zones.update, made.id, ZoneChange(name="west")).name == "west"
    assert lone_infra.refused(zones.update, made.id, ZoneChange(name="here")).field == "name"


def test_a_zone_is_deleted_only_when_it_is_empty(infra):
    made = infra.ask(zones.create, zone_in())
    pod = infra.ask(pods.create, pod_in(zone="east"))
    assert "pods" in infra.refused(zones.delete, made.id).public
    infra.ask(pods.delete, pod.id)
    more = infra.ask(public_ranges.create, range_in(zone="east"))
    assert "public ranges" in infra.refused(zones.delete, made.id).public
    infra.ask(public_ranges.delete, more.id)
    infra.ask(zones.delete, made.id)
    assert isinstance(infra.refused(zones.get, made.id), NotFound)
    assert infra.cloud.rows("select * from vlan where zone = :z", z=made.id) == []


def test_zones_are_listed_page_by_page(infra):
    infra.ask(zones.update, "zone-here", ZoneChange(name="zone"))
    for name in "abcde":
        infra.around.clock.wait(timedelta(milliseconds=5))
        infra.ask(zones.create, zone_in(name=name))
    names, after = [], None
    for _ in range(3):
        page = infra.ask(zones.page, ZoneQuery(limit=2, after=after))
        names += [zone.name for zone in page.items]
        after = page.next
    assert after is None
    assert names == ["a", "b", "c", "d", "e", "zone"]
    assert [zone.name for zone in infra.ask(zones.page, ZoneQuery(name="c")).items] == ["c"]


def test_customers_see_where_they_can_be_but_no_vlans(infra):
    customer = infra.cloud.account("acme")
    (seen,) = infra.ask(zones.page, ZoneQuery(), by=customer).items
    assert (seen.name, seen.vlans) == ("here", None)
    for use_case, *args in (
        (zones.create, zone_in()),
        (zones.capacity_of, seen.id),
        (zones.add_vlans, seen.id, VlanRange(first=300, last=301)),
        (zones.update, seen.id, ZoneChange(enabled=False)),
        (zones.delete, seen.id),
        (pods.create, pod_in()),
        (pods.page, PodQuery()),
        (public_ranges.create, range_in()),
        (public_ranges.page, PublicRangeQuery()),
    ):
        assert isinstance(infra.refused(use_case, *args, by=customer), Forbidden)


def test_pods_of_a_zone_never_overlap(infra):
    infra.ask(pods.create, pod_in(gateway="10.20.1.1"))
    for cidr in ("10.20.1.0/24", "10.20.0.0/16", "10.20.1.128/25"):
        error = infra.refused(pods.create, pod_in(name="b", cidr=cidr))
        assert isinstance(error, Conflict)
        assert error.field == "cidr"
    infra.ask(zones.create, zone_in())
    infra.ask(pods.create, pod_in(zone="east"))  # another zone, another layer 2
    assert infra.refused(pods.create, pod_in(cidr="10.21.0.0/24")).field == "name"


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ({"cidr": "10.20.1.1/24"}, "cidr"),
        ({"cidr": "10.20.1.0/31"}, "cidr"),
        ({"cidr": "198.51.100.128/25"}, "cidr"),  # in a public range
        ({"gateway": "10.20.2.1"}, "gateway"),
        ({"gateway": "10.20.1.255"}, "gateway"),
        ({"zone": "nowhere"}, "zone"),
    ],
)
def test_a_pod_that_makes_no_sense_is_refused(lone_infra, but, field):
    assert lone_infra.refused(pods.create, pod_in(**but)).field == field


def test_a_pod_is_named_by_id_or_by_a_name_that_is_clear(lone_infra):
    pod = lone_infra.pod()
    assert lone_infra.token(pod)
    assert lone_infra.token("a")
    lone_infra.ask(zones.create, zone_in())
    lone_infra.ask(pods.create, pod_in(zone="east"))
    with pytest.raises(BadInput, match="give its id"):
        lone_infra.token("a")


def test_a_pod_with_a_host_stays(infra):
    pod = infra.pod()
    infra.host()
    assert "hosts" in infra.refused(pods.delete, pod).public
    changed = infra.ask(pods.update, pod, PodChange(enabled=False, name="b"))
    assert (changed.enabled, changed.name, changed.generation) == (False, "b", 2)


def test_a_public_range_makes_its_addresses(infra):
    made = infra.ask(public_ranges.create, range_in())
    assert (made.addresses.total, made.addresses.free) == (10, 10)
    found = infra.cloud.rows(
        "select address, account from address where range = :r order by number", r=made.id
    )
    assert found == [(f"203.0.113.{at}", None) for at in range(10, 20)]
    assert made == infra.ask(public_ranges.get, made.id)


def test_a_public_range_stays_clear_of_pods_and_guest_vlans(infra):
    infra.pod(cidr="203.0.113.128/25")
    assert infra.refused(public_ranges.create, range_in()).field == "cidr"
    free = {"cidr": "203.0.113.0/25"}
    assert infra.refused(public_ranges.create, range_in(**free, vlan=100)).field == "vlan"
    infra.ask(public_ranges.create, range_in(**free, vlan=90))
    zone = infra.ask(zones.page, ZoneQuery()).items[0].id
    error = infra.refused(zones.add_vlans, zone, VlanRange(first=80, last=99))
    assert "VLAN 90" in error.public


def test_a_public_range_with_a_taken_address_stays(infra):
    made = infra.ask(public_ranges.create, range_in())
    infra.cloud.run("update address set account = 'account-root' where address = '203.0.113.12'")
    assert infra.ask(public_ranges.get, made.id).addresses.free == 9
    assert isinstance(infra.refused(public_ranges.delete, made.id), Conflict)
    assert infra.ask(public_ranges.get, made.id).addresses.total == 10
    infra.cloud.run("update address set account = null")
    infra.ask(public_ranges.delete, made.id)
    assert isinstance(infra.refused(public_ranges.delete, made.id), NotFound)
    assert infra.cloud.rows("select 1 from address where range = :r", r=made.id) == []


def test_of_many_who_add_the_same_range_at_once_one_succeeds(infra):
    asks = [range_in(first=f"203.0.113.{10 + at}") for at in range(8)]  # each overlaps with each

    def attempt(ask) -> bool:
        try:
            with infra.cloud.database.write() as tx:
                public_ranges.create(Call(tx, infra.o, infra.around), ask)
        except CloudError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(attempt, asks))
    assert done.count(True) == 1
    assert len(infra.ask(public_ranges.page, PublicRangeQuery()).items) == 2
