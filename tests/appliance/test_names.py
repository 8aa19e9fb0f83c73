"""Names beside those of machines: they are in the network's domain, and lead to it or to a neighbour."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import make_wishes as make
from arable.appliance.dnsmasq import hosts
from arable.appliance.router import leases, router
from arable.domain.balancer import NameWish
from arable.domain.errors import BadInput

APP = NameWish(name="app.shop", address="10.1.2.1")


def test_names_are_told_in_full_beside_those_of_machines() -> None:
    near = NameWish(name="Cache.shop", address="10.1.1.1")
    made = router(make.wish(link=make.link(), names=(near, APP)))
    told = hosts(made, leases(made, [make.lease()])).splitlines()
    assert told[1:] == ["10.1.2.1 app.shop.farm.internal", "10.1.1.1 cache.shop.farm.internal"]


@pytest.mark.parametrize("address", ["10.1.3.1", "203.0.113.10", "169.254.64.1", "10.1.1.255", ""])
def test_a_name_leads_nowhere_else(address) -> None:
    with pytest.raises(BadInput) as refused:
        router(make.wish(link=make.link(), names=(NameWish(name="app.shop", address=address),)))
    assert refused.value.field == "names.0.address"


def test_without_the_link_nothing_is_called_at_a_neighbour() -> None:
    with pytest.raises(BadInput):
        router(make.wish(names=(APP,)))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["name", "address"]), make.HOSTILE | st.text())
def test_no_field_of_a_name_adds_a_line(field, text) -> None:
    said = {"name": "app.shop", "address": "10.1.2.1"} | {field: text}
    try:
        made = router(make.wish(link=make.link(), names=(NameWish(**said),)))
    except BadInput:
        return
    (line,) = hosts(made, ()).splitlines()
    address, name = line.split(" ")
    assert address == str(made.names[0].address)
    assert name == f"{made.names[0].name}.farm.internal"
    assert name.isascii()


def test_a_name_leads_to_a_site_but_not_among_the_clients_of_remote_access() -> None:
    both = (make.vpn(), make.access())
    far = NameWish(name="origin.shop", address="172.21.0.1")
    (named,) = router(make.wish(vpns=both, names=(far,))).names
    assert str(named.address) == "172.21.0.1"
    with pytest.raises(BadInput):
        router(make.wish(vpns=both, names=(NameWish(name="origin.shop", address="172.22.0.2"),)))
