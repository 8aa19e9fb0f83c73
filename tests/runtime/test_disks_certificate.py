"""A certificate for disks: both ends of one kind of connection, and nobody anywhere else."""

import ssl
from datetime import timedelta

import pytest
from cryptography import x509

from arable.domain.errors import BadInput
from arable.runtime import ca
from arable.runtime.ca import DISKS_HOURS, Authority, IdentityKind
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy

DISKS = IdentityKind.DISKS


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority.create(tmp_path / "ca", RealClock(), Entropy("disks"))


def signed(authority: Authority, hours: int = DISKS_HOURS, **but) -> str:
    return authority.sign(ca.new_request("x").request, "host-a", DISKS, hours, **but)


def test_it_says_who_it_is_as_a_name_and_as_a_server(authority) -> None:
    pem = signed(authority)
    found = ca.peer(ssl.PEM_cert_to_DER_cert(pem))
    assert found is not None
    assert (found.common_name, found.kind) == ("host-a", DISKS)
    names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["host-a"]


def test_it_is_no_other_kind(authority) -> None:
    kinds = set()
    for kind in IdentityKind:
        names = ("localhost",) if kind is IdentityKind.SERVER else ()
        pem = authority.sign(ca.new_request("x").request, "host-a", kind, 1, names)
        found = ca.peer(ssl.PEM_cert_to_DER_cert(pem))
        assert found is not None
        assert found.kind is kind
        kinds.add(kind)
    assert len(kinds) == len(IdentityKind)


def test_its_life_has_an_end_and_no_further_names_are_taken(authority) -> None:
    clock = RealClock()
    assert ca.until(signed(authority)) <= clock.now() + timedelta(hours=DISKS_HOURS)
    with pytest.raises(BadInput):
        signed(authority, DISKS_HOURS + 1)
    with pytest.raises(BadInput):
        signed(authority, names=("server.example.org",))
