"""VLAN and address ranges: whatever is asked for, no tag and no address is ever in two of them."""

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.errors import BadInput, CloudError, Conflict
from arable.domain.ids import RangeId, ZoneId
from arable.domain.public_range import MOST_ADDRESSES, PublicRange, check_beside, check_range
from arable.domain.subnet import network
from arable.domain.zone import Tags, check_tags

NOW = datetime(2030, 1, 1, tzinfo=UTC)
tags = st.builds(Tags, st.integers(-1, 4097), st.integers(-1, 4097))


def made(**but) -> PublicRange:
    usual = {
        "cidr": "198.51.100.0/24",
        "gateway": "198.51.100.1",
        "first": "198.51.100.10",
        "last": "198.51.100.20",
    }
    return PublicRange(id=RangeId("range-a"), zone=ZoneId("zone-a"), created_at=NOW, **usual | but)


@settings(deadline=None)
@given(st.lists(tags, max_size=12))
def test_vlan_ranges_that_are_let_in_never_share_a_tag(asked):
    there: list[Tags] = []
    for each in asked:
        try:
            check_tags(each, there, "vlans")
        except CloudError:
            continue
        there.append(each)
    every = [tag for each in there for tag in range(each.first, each.last + 1)]
    assert len(every) == len(set(every))
    assert all(2 <= tag <= 4094 for tag in every)
    assert all(len(each) > 0 for each in there)


@settings(deadline=None)
@given(st.lists(tags, max_size=12))
def test_a_vlan_range_is_refused_only_for_a_reason(asked):
    there: list[Tags] = []
    for each in asked:
        sensible = 2 <= each.first <= each.last <= 4094
        taken = {tag for one in there for tag in range(one.first, one.last + 1)}
        free = not taken & set(range(each.first, each.last + 1))
        try:
            check_tags(each, there, "vlans")
        except BadInput:
            assert not sensible
        except Conflict:
            assert sensible
            assert not free
        else:
            assert sensible
            assert free
            there.append(each)


@st.composite
def ranges(draw) -> PublicRange:
    prefix = draw(st.integers(22, 31))
    address = (198 << 24 | 51 << 16) + draw(st.integers(0, 2047))
    subnet = IPv4Network((address, prefix), strict=False)
    one = st.integers(int(subnet[0]) - 1, int(subnet[-1]) + 1).map(lambda n: str(IPv4Address(n)))
    return made(
        cidr=str(subnet),
        gateway=draw(one),
        first=draw(one),
        last=draw(one),
        vlan=draw(st.integers(0, 1)),
    )


@settings(deadline=None, max_examples=300)
@given(st.lists(ranges(), max_size=10))
def test_public_ranges_that_are_let_in_never_share_an_address(asked):
    there: list[PublicRange] = []
    for each in asked:
        try:
            check_range(each)
            check_beside(each, there)
        except CloudError:
            continue
        there.append(each)
    every = [number for each in there for number in each.addresses()]
    assert len(every) == len(set(every))
    for each in there:
        subnet = IPv4Network(each.cidr)
        assert int(IPv4Address(each.gateway)) not in every, "somebody could be given the gateway"
        for number in each.addresses():
            assert IPv4Address(number) in subnet
            assert number not in (int(subnet.network_address), int(subnet.broadcast_address))


@pytest.mark.parametrize(
    ("but", "field"),
    [
        ({"cidr": "198.51.100.1/24"}, "cidr"),
        ({"cidr": "198.51.100.0"}, "cidr"),
        ({"cidr": "::/64"}, "cidr"),
        ({"cidr": "127.0.0.0/8"}, "cidr"),
        ({"cidr": "0.0.0.0/0"}, "cidr"),
        ({"cidr": "224.0.0.0/4"}, "cidr"),
        ({"cidr": "198.51.100.0/31"}, "cidr"),
        ({"gateway": "198.51.101.1"}, "gateway"),
        ({"gateway": "198.51.100.0"}, "gateway"),
        ({"gateway": "198.51.100.15"}, "gateway"),
        ({"first": "198.51.99.255"}, "first"),
        ({"last": "198.51.100.255"}, "last"),
        ({"first": "198.51.100.21"}, "last"),
        ({"last": "x"}, "last"),
    ],
)
def test_a_public_range_that_makes_no_sense_is_refused_by_field(but, field):
    with pytest.raises(BadInput) as error:
        check_range(made(**but))
    assert error.value.field == field


def test_a_public_range_is_not_larger_than_can_be_kept():
    wide = {"cidr": "198.48.0.0/12", "gateway": "198.48.0.1", "first": "198.48.1.0"}
    exact = str(IPv4Address("198.48.1.0") + MOST_ADDRESSES - 1)
    check_range(made(**wide, last=exact))
    with pytest.raises(BadInput, match="at most"):
        check_range(made(**wide, last=str(IPv4Address(exact) + 1)))


def test_two_ranges_of_one_subnet_have_its_gateway_and_vlan_in_common():
    there = [made()]
    check_beside(made(first="198.51.100.30", last="198.51.100.40"), there)
    other = {"first": "198.51.100.30", "last": "198.51.100.40"}
    for but, field in (({"gateway": "198.51.100.2"}, "gateway"), ({"vlan": 9}, "vlan")):
        with pytest.raises(Conflict) as error:
            check_beside(made(**other, **but), there)
        assert error.value.field == field


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", " 10.0.0.0/8", "10.0.0.0/255.0.0.0x", "a", ""]
)
def test_what_is_no_subnet_is_refused(text):
    with pytest.raises(BadInput):
        network(text, "cidr")
