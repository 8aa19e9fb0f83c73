"""Addresses of IPv6 are those that guests make themselves, and prefixes never meet."""

from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.errors import BadInput, Conflict
from arable.domain.guest_ipv6 import (
    Ipv6Range,
    address_of,
    check_beside,
    check_range,
    gateway_of,
    link_local,
    subnet,
    subnets,
)
from arable.domain.ids import Ipv6RangeId, ZoneId

macs = st.integers(0, 2**48 - 1).map(lambda n: n.to_bytes(6, "big").hex(":"))
ranges = st.tuples(st.integers(0x2000 << 48, (0x4000 << 48) - 1), st.integers(32, 63)).map(
    lambda pair: str(IPv6Network((pair[0] << 64, pair[1]), strict=False))
)


def range_(cidr: str, gateway: str = "") -> Ipv6Range:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Ipv6Range(
        id=Ipv6RangeId("prefix-a"),
        zone=ZoneId("zone-a"),
        cidr=cidr,
        gateway=gateway,
        created_at=at,
    )


def test_the_example_of_the_rfc():
    assert link_local("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"  # RFC 4291, appendix A
    assert address_of("2001:db8:100:7::/64", "02:00:0a:01:01:0a") == "2001:db8:100:7:0:aff:fe01:10a"


@given(ranges, macs, macs, st.data())
def test_an_address_says_of_which_network_and_port_it_is(cidr, one, other, data):
    a, b = (data.draw(st.integers(1, subnets(cidr) - 1)) for _ in range(2))
    here, there = subnet(cidr, a), subnet(cidr, b)
    assert (here == there) == (a == b)
    assert IPv6Network(here).subnet_of(IPv6Network(cidr))
    assert IPv6Network(here).overlaps(IPv6Network(there)) == (a == b)
    address = IPv6Address(address_of(here, one))
    assert address in IPv6Network(here)
    assert str(address) != gateway_of(here)
    assert (address == IPv6Address(address_of(here, other))) == (one == other)
    middle = int(address) >> 24 & 0xFFFF
    assert middle == 0xFFFE
    assert int(address) & 2**64 - 1 == int(IPv6Address(link_local(one))) & 2**64 - 1


@pytest.mark.parametrize(
    ("cidr", "gateway", "field"),
    [
        ("2001:db8:100::1/48", "", "cidr"),
        ("2001:db8::/31", "", "cidr"),
        ("2001:db8::/64", "", "cidr"),
        ("10.0.0.0/8", "", "cidr"),
        ("fe80::/48", "", "cidr"),
        ("ff00::/48", "", "cidr"),
        ("::/48", "", "cidr"),
        ("2001:db8:100::/48", "2001:db8:100::", "gateway"),
        ("2001:db8:100::/48", "2001:db8:100:1::1", "gateway"),
        ("2001:db8:100::/48", "10.0.0.1", "gateway"),
        ("2001:db8:100::/48", "2001:db8:200::1", "gateway"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(cidr, gateway, field):
    with pytest.raises(BadInput) as caught:
        check_range(range_(cidr, gateway))
    assert caught.value.field == field


@pytest.mark.parametrize("gateway", ["", "2001:db8:100::1", "2001:0DB8:100::00fe", "fe80::1"])
def test_a_range_is_kept_in_its_usual_form(gateway):
    kept = check_range(range_("2001:0db8:0100::/48", gateway))
    assert kept.cidr == "2001:db8:100::/48"
    assert kept.gateway == (str(IPv6Address(gateway)) if gateway else "")
    assert kept.networks == 65_535


def test_ranges_do_not_overlap():
    with pytest.raises(Conflict):
        check_beside(range_("2001:db8:100::/56"), [range_("2001:db8:100::/48")])
    check_beside(range_("2001:db8:101::/48"), [range_("2001:db8:100::/48")])
