"""Who is at the other end is what the certificate says, if that is a host in its time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from arable.api.gateway.identity import host_of, server_of
from arable.domain.errors import Forbidden, Unauthenticated
from arable.runtime.ca import IdentityKind, Peer
from arable.runtime.clock import VirtualClock

CLOCK = VirtualClock()
HOST = Peer("host-a", IdentityKind.HOST, "00", CLOCK.now() + timedelta(hours=1))


def test_a_host_is_who_its_certificate_names():
    assert host_of(HOST, CLOCK) == "host-a"


@pytest.mark.parametrize(
    ("peer", "error"),
    [
        (None, Unauthenticated),
        (replace(HOST, kind=IdentityKind.SERVER), Forbidden),
        (replace(HOST, until=CLOCK.now()), Unauthenticated),
        (replace(HOST, common_name="user-a"), Forbidden),
        (replace(HOST, common_name="host-"), Forbidden),
        (replace(HOST, common_name="host-a' or '1'='1"), Forbidden),
        (replace(HOST, common_name=""), Forbidden),
    ],
)
def test_nobody_else_is_a_host(peer, error):
    with pytest.raises(error):
        host_of(peer, CLOCK)


SERVER = replace(HOST, common_name="server-a", kind=IdentityKind.PEER)


def test_a_server_is_who_its_certificate_for_asking_names():
    assert server_of(SERVER, CLOCK) == "server-a"


@pytest.mark.parametrize(
    ("peer", "error"),
    [
        (None, Unauthenticated),
        (HOST, Forbidden),
        (replace(SERVER, kind=IdentityKind.SERVER), Forbidden),
        (replace(SERVER, kind=IdentityKind.DISKS), Forbidden),
        (replace(SERVER, until=CLOCK.now()), Unauthenticated),
    ],
)
def test_nobody_else_is_a_server(peer, error):
    with pytest.raises(error):
        server_of(peer, CLOCK)
    with pytest.raises((Unauthenticated, Forbidden)):
        host_of(SERVER, CLOCK)
