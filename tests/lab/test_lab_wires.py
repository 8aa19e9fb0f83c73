"""Who reaches whom in a lab: the management networks through the router, guest VLANs along the trunks."""

import json

import pytest
from lab_traffic import arrivals, frame, listening, reaches, send, wiretap

from arable.lab import fail, look
from arable.lab.plan import OUTSIDE
from arable.lab.power import Site
from arable.lab.topology import GATEWAY_PORT

pytestmark = pytest.mark.real

SERVER = "172.31.255.10"
A1, A2, B1, B2 = "172.30.1.11", "172.30.1.12", "172.30.2.11", "172.30.2.12"
HERE, THERE, ELSEWHERE = "a1", "b1", "a2"


@pytest.mark.parametrize(("host", "address"), [("a1", A1), ("a2", A2), ("b1", B1), ("b2", B2)])
def test_a_host_reaches_the_gateway_of_its_server_under_its_own_address(
    two_pods: Site, host: str, address: str
) -> None:
    with listening(two_pods, "home", GATEWAY_PORT, SERVER):
        assert reaches(two_pods, host, SERVER, GATEWAY_PORT) == address


def test_a_host_reaches_no_other_port_of_its_server(two_pods: Site) -> None:
    with listening(two_pods, "home", 22, SERVER):
        assert reaches(two_pods, "home", SERVER, 22)
        assert not reaches(two_pods, "a1", SERVER, 22)


def test_hosts_reach_each_other_within_a_pod_and_across_pods(two_pods: Site) -> None:
    with listening(two_pods, "a2", 16509), listening(two_pods, "b1", 16509):
        assert reaches(two_pods, "a1", A2, 16509) == A1
        assert reaches(two_pods, "a1", B1, 16509) == A1


def test_pods_meet_only_in_the_router(two_pods: Site) -> None:
    with (
        wiretap(two_pods, "b1", "up0") as far,
        wiretap(two_pods, "pod-a", "up0") as trunk,
    ):
        send(two_pods, "a1", "up0", frame("untagged"))
        send(two_pods, "a1", "up0", frame("last", vlan=100))
        assert (0, "untagged") in arrivals(trunk, "last")
        assert arrivals(far, "last") == [(100, "last")]


def test_nobody_reaches_a_host_from_the_servers_side(two_pods: Site) -> None:
    with listening(two_pods, "a1", 22):
        assert reaches(two_pods, "a2", A1, 22)
        assert not reaches(two_pods, "home", A1, 22)


@pytest.mark.parametrize(
    ("device", "address"), [("home", SERVER), ("a1", A1), ("zone1", "172.30.1.1")]
)
def test_nobody_reaches_management_from_the_internet(
    two_pods: Site, device: str, address: str
) -> None:
    with listening(two_pods, device, GATEWAY_PORT):
        assert not reaches(two_pods, "internet", address, GATEWAY_PORT)


def test_the_router_takes_no_connections(two_pods: Site) -> None:
    with listening(two_pods, "zone1", 22):
        assert not reaches(two_pods, "a1", "172.30.1.1", 22)


def test_a_frame_with_a_guests_tag_gets_through_to_the_other_pod(two_pods: Site) -> None:
    with (
        wiretap(two_pods, THERE, "up0") as far,
        wiretap(two_pods, ELSEWHERE, "up0") as near,
    ):
        send(two_pods, HERE, "up0", frame("hello", vlan=150))
        assert arrivals(far, "hello") == [(150, "hello")]
        assert arrivals(near, "hello") == [(150, "hello")]


@pytest.mark.parametrize("vlan", [99, 200, 899, 4093, 4094])
def test_a_frame_with_a_tag_outside_the_range_does_not(two_pods: Site, vlan: int) -> None:
    with wiretap(two_pods, THERE, "up0") as far:
        send(two_pods, HERE, "up0", frame("smuggled", vlan=vlan))
        send(two_pods, HERE, "up0", frame("last", vlan=101))
        assert arrivals(far, "last") == [(101, "last")]


def test_the_public_vlan_ends_in_the_internet_and_guests_vlans_do_not(two_pods: Site) -> None:
    with wiretap(two_pods, "internet", "zone1") as outside:
        send(two_pods, HERE, "up0", frame("private", vlan=150))
        send(two_pods, HERE, "up0", frame("untagged"))
        send(two_pods, HERE, "up0", frame("public", vlan=900))
        assert arrivals(outside, "public") == [(0, "public")]


def test_the_outside_server_tells_who_asks(two_pods: Site) -> None:
    page = look.fetch(two_pods, f"http://{OUTSIDE}/some/where")
    assert page.status == 200
    assert json.loads(page.text) == {"caller": OUTSIDE, "path": "/some/where"}


def test_a_cut_uplink_takes_a_host_off_the_net_and_mending_brings_it_back(two_pods: Site) -> None:
    with listening(two_pods, "home", GATEWAY_PORT, SERVER):
        for _ in range(2):
            fail.cut(two_pods, "a1")
        try:
            assert not reaches(two_pods, "a1", SERVER, GATEWAY_PORT)
            assert reaches(two_pods, "a2", SERVER, GATEWAY_PORT)
            assert [link.name for link in look.lab(two_pods).links if link.cut] == ["a1"]
        finally:
            for _ in range(2):
                fail.mend(two_pods, "a1")
        assert reaches(two_pods, "a1", SERVER, GATEWAY_PORT, patience=30)
    assert not any(link.cut for link in look.lab(two_pods).links)


def test_a_cut_between_zone_and_servers_heals_with_its_routes(two_pods: Site) -> None:
    with listening(two_pods, "home", GATEWAY_PORT, SERVER), listening(two_pods, "b1", 16509):
        fail.cut(two_pods, "zone1")
        try:
            assert not reaches(two_pods, "b1", SERVER, GATEWAY_PORT)
            assert reaches(two_pods, "a1", B1, 16509)
        finally:
            fail.mend(two_pods, "zone1")
        assert reaches(two_pods, "b1", SERVER, GATEWAY_PORT, patience=30) == B1


def test_a_cut_pod_keeps_talking_within_itself(two_pods: Site) -> None:
    with listening(two_pods, "a2", 16509), listening(two_pods, "b1", 16509):
        fail.cut(two_pods, "pod-a")
        try:
            assert reaches(two_pods, "a1", A2, 16509)
            assert not reaches(two_pods, "a1", B1, 16509)
        finally:
            fail.mend(two_pods, "pod-a")
        assert reaches(two_pods, "a1", B1, 16509, patience=30)


def test_a_cut_from_the_internet_stops_the_public_vlan_and_nothing_else(two_pods: Site) -> None:
    with listening(two_pods, "home", GATEWAY_PORT, SERVER):
        fail.cut(two_pods, "zone1.public")
        try:
            with wiretap(two_pods, THERE, "up0") as far:
                send(two_pods, HERE, "up0", frame("still", vlan=900))
                assert arrivals(far, "still") == [(900, "still")]
            assert reaches(two_pods, "a1", SERVER, GATEWAY_PORT)
        finally:
            fail.mend(two_pods, "zone1.public")
        with wiretap(two_pods, "internet", "zone1") as outside:
            send(two_pods, HERE, "up0", frame("again", vlan=900))
            assert arrivals(outside, "again") == [(0, "again")]
