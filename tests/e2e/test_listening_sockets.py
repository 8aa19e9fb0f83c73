"""Nothing listens that is not written down here, with the reason why it may."""

import socket

import pytest

from arable.agent.peer_port import PORT
from arable.drivers.namespaces import inside
from arable.lab.topology import GATEWAY_PORT
from e2e.customers import Customer
from e2e.lab_cloud import LabCloud
from e2e.listening import APPLIANCE, ROOT, Listening, listening

pytestmark = pytest.mark.real

GATEWAY, METADATA = "10.1.1.1", "169.254.169.254"


def known(cloud: LabCloud) -> dict[Listening, str]:
    api = int(cloud.url.rpartition(":")[2])
    (region,) = cloud.site.place.read().topology.regions
    server = region.server
    return {
        **{
            Listening(host.name, "tcp", str(pod.address(host)), PORT, "arable agent"): (
                "where other hosts ask whether it is there: mutual TLS, hosts alone, one byte for one byte"
            )
            for zone in region.zones
            for pod, host in zone.hosts()
        },
        Listening(ROOT, "tcp", "127.0.0.1", api, "arable server"): (
            "the API, where the operator said"
        ),
        Listening("home", "tcp", server, GATEWAY_PORT, "arable server"): (
            "the agents' gateway: mutual TLS, and hosts alone are let through to it"
        ),
        Listening("internet", "tcp", "0.0.0.0", 80, "outside_server.py"): (
            "somebody on the lab's internet; no part of Arable"
        ),
        Listening(APPLIANCE, "tcp", GATEWAY, 53, "dnsmasq"): "names, for the network's machines",
        Listening(APPLIANCE, "udp", GATEWAY, 53, "dnsmasq"): "names, for the network's machines",
        **{
            Listening(APPLIANCE, protocol, METADATA, 53, "dnsmasq"): (
                "dnsmasq takes all addresses of its interface; the filter lets nobody ask there"
            )
            for protocol in ("tcp", "udp")
        },
        Listening(APPLIANCE, "tcp", METADATA, 80, "metadata_server"): (
            "what machines are told about themselves: a process without rights or network of its own"
        ),
        Listening(APPLIANCE, "udp", "0.0.0.0", 67, "dnsmasq"): (
            "DHCP, whose questions come from nobody's address; the filter lets only guests ask"
        ),
    }


def test_nobody_listens_who_is_not_known_to(cloud: LabCloud, red: Customer, blue: Customer) -> None:
    seen = listening(cloud)
    assert seen - set(known(cloud)) == set()
    assert set(known(cloud)) - seen == set(), "what is written down is there, so the look works"


@pytest.mark.parametrize("place", ["a1", "internet"])
def test_a_stranger_would_be_noticed(cloud: LabCloud, place: str) -> None:
    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", 4711))

    with inside(cloud.netns(place), listen):
        strangers = listening(cloud) - set(known(cloud))
    assert {(one.place, one.protocol, one.port) for one in strangers} == {(place, "tcp", 4711)}
