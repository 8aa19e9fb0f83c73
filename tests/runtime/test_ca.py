"""The authority's promises, and who gets through a real TLS handshake over loopback and who does not."""

import socket
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.errors import BadInput, Conflict, Corrupt, Forbidden, NotFound
from arable.runtime import ca
from arable.runtime.ca import Authority, IdentityKind
from arable.runtime.clock import RealClock, VirtualClock
from arable.runtime.entropy import Entropy

HOST, SERVER = IdentityKind.HOST, IdentityKind.SERVER
LOOPBACK = ("localhost", "127.0.0.1")


@pytest.fixture
def entropy() -> Entropy:
    return Entropy("ca")


@pytest.fixture
def authority(tmp_path: Path, entropy: Entropy) -> Authority:
    return Authority.create(tmp_path / "ca", RealClock(), entropy)


@dataclass
class Identity:
    certificate: Path
    key: Path


def identity(
    folder: Path,
    authority: Authority,
    kind: IdentityKind,
    name: str = "host-a",
    names: tuple[str, ...] | None = None,
    hours: int = 1,
) -> Identity:
    """A key and its certificate, as files."""
    request = ca.new_request("whoever")
    if names is None:
        names = LOOPBACK if kind is SERVER else ()
    made = Identity(folder / f"{kind}-{name}.pem", folder / f"{kind}-{name}.key")
    certificate = authority.sign(request.request, name, kind, hours, names)
    ca.keep(made.certificate, certificate, Entropy.system())
    ca.keep(made.key, request.key, Entropy.system())
    return made


@dataclass
class Answer:
    """What each side came to know: `refused` of a side that gave up, `peer` that the server saw."""

    client_refused: ssl.SSLError | OSError | None = None
    server_refused: ssl.SSLError | OSError | None = None
    peer: ca.Peer | None = None
    version: str | None = ""

    @property
    def talked(self) -> bool:
        return self.client_refused is None and self.server_refused is None


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> Answer:
    """A connection over loopback, a word each way."""
    answer = Answer()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)

        def serve() -> None:
            plain, _ = listening.accept()
            plain.settimeout(60)
            try:
                with server.wrap_socket(plain, server_side=True) as safe:
                    answer.peer = ca.peer(safe.getpeercert(binary_form=True))
                    answer.version = safe.version()
                    safe.sendall(safe.recv(5))
            except (ssl.SSLError, OSError) as error:
                answer.server_refused = error
            finally:
                plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname(), timeout=60) as plain,
                client.wrap_socket(plain, server_hostname=name) as safe,
            ):
                safe.sendall(b"hello")
                assert safe.recv(5) == b"hello"
        except (ssl.SSLError, OSError, AssertionError) as error:
            answer.client_refused = error if isinstance(error, OSError) else OSError("hung up")
        thread.join()
    return answer


def servers(folder: Path, authority: Authority, **but: object) -> ssl.SSLContext:
    mine = identity(folder, authority, SERVER, "server-1")
    return ca.server_context(mine.certificate, mine.key, authority.pem, **but)


def test_a_host_and_a_server_of_one_authority_talk_and_know_each_other(tmp_path, authority) -> None:
    mine = identity(tmp_path, authority, HOST, "host-a")
    answer = shake_hands(
        servers(tmp_path, authority), ca.client_context(authority.pem, mine.certificate, mine.key)
    )
    assert answer.talked
    assert answer.version == "TLSv1.3"
    assert answer.peer is not None
    assert (answer.peer.common_name, answer.peer.kind) == ("host-a", HOST)


def test_an_address_is_as_good_a_server_name_as_a_dns_name(tmp_path, authority) -> None:
    mine = identity(tmp_path, authority, HOST)
    client = ca.client_context(authority.pem, mine.certificate, mine.key)
    assert shake_hands(servers(tmp_path, authority), client, "127.0.0.1").talked


def test_a_client_without_a_certificate_is_turned_away(tmp_path, authority) -> None:
    answer = shake_hands(servers(tmp_path, authority), ca.client_context(authority.pem))
    assert answer.client_refused
    assert "certificate" in str(answer.server_refused)


def test_a_joining_host_without_a_certificate_gets_in_and_is_known_to_be_nobody(
    tmp_path, authority
) -> None:
    server = servers(tmp_path, authority, joining=True)
    answer = shake_hands(server, ca.client_context(authority.pem))
    assert answer.talked
    assert answer.peer is None


@pytest.mark.parametrize("joining", [False, True])
def test_a_host_of_another_authority_is_turned_away(tmp_path, authority, entropy, joining) -> None:
    other = Authority.create(tmp_path / "other", RealClock(), entropy.child("other"))
    stranger = identity(tmp_path, other, HOST)
    answer = shake_hands(
        servers(tmp_path, authority, joining=joining),
        ca.client_context(authority.pem, stranger.certificate, stranger.key),
    )
    assert not answer.talked
    assert "verify failed" in str(answer.server_refused)


def test_an_authority_with_the_same_name_but_another_key_is_another_authority(
    tmp_path, authority, entropy
) -> None:
    other = Authority.create(tmp_path / "other", RealClock(), entropy.child("other"))
    assert x509.load_pem_x509_certificate(other.pem.encode()).subject == (
        x509.load_pem_x509_certificate(authority.pem.encode()).subject
    )
    mine = identity(tmp_path, authority, HOST)
    client = ca.client_context(authority.pem, mine.certificate, mine.key)
    assert "verify failed" in str(shake_hands(servers(tmp_path, other), client).client_refused)


@pytest.mark.parametrize("joining", [False, True])
def test_an_expired_host_is_turned_away(tmp_path, authority, entropy, joining) -> None:
    yesterday = VirtualClock(RealClock().now() - timedelta(hours=25))
    then = Authority.load(tmp_path / "ca", yesterday, entropy)
    late = identity(tmp_path, then, HOST, hours=24)
    answer = shake_hands(
        servers(tmp_path, authority, joining=joining),
        ca.client_context(authority.pem, late.certificate, late.key),
    )
    assert not answer.talked
    assert "expired" in str(answer.server_refused)


def test_a_host_of_tomorrow_is_turned_away(tmp_path, authority, entropy) -> None:
    tomorrow = VirtualClock(RealClock().now() + timedelta(hours=25))
    then = Authority.load(tmp_path / "ca", tomorrow, entropy)
    early = identity(tmp_path, then, HOST)
    client = ca.client_context(authority.pem, early.certificate, early.key)
    answer = shake_hands(servers(tmp_path, authority), client)
    assert "not yet valid" in str(answer.server_refused)


@pytest.mark.parametrize("joining", [False, True])
def test_a_server_can_not_pass_as_a_host(tmp_path, authority, joining) -> None:
    mine = identity(tmp_path, authority, SERVER, "host-a")
    answer = shake_hands(
        servers(tmp_path, authority, joining=joining),
        ca.client_context(authority.pem, mine.certificate, mine.key),
    )
    assert not answer.talked
    assert "purpose" in str(answer.server_refused)


def test_a_host_can_not_pass_as_a_server(tmp_path, authority) -> None:
    fake = identity(tmp_path, authority, HOST, "localhost")
    server = ca.server_context(fake.certificate, fake.key, authority.pem)
    mine = identity(tmp_path, authority, HOST)
    client = ca.client_context(authority.pem, mine.certificate, mine.key)
    assert "purpose" in str(shake_hands(server, client).client_refused)


def test_a_server_with_another_name_is_not_believed(tmp_path, authority) -> None:
    mine = identity(tmp_path, authority, HOST)
    client = ca.client_context(authority.pem, mine.certificate, mine.key)
    answer = shake_hands(servers(tmp_path, authority), client, "elsewhere")
    assert "not valid for 'elsewhere'" in str(answer.client_refused)


def test_a_common_name_alone_does_not_name_a_server(tmp_path, authority) -> None:
    fake = identity(tmp_path, authority, SERVER, "localhost", names=("elsewhere",))
    server = ca.server_context(fake.certificate, fake.key, authority.pem)
    mine = identity(tmp_path, authority, HOST)
    client = ca.client_context(authority.pem, mine.certificate, mine.key)
    assert "not valid for 'localhost'" in str(shake_hands(server, client).client_refused)


def test_a_host_can_not_certify_others(tmp_path, authority, entropy) -> None:
    # The host signs a certificate with its own key, and shows its own as the one in between.
    own = ca.new_request("host-a")
    own_pem = authority.sign(own.request, "host-a", HOST, 1)
    forger = Authority(
        x509.load_pem_x509_certificate(own_pem.encode()),
        serialization.load_pem_private_key(own.key.reveal().encode(), None),
        RealClock(),
        entropy,
    )
    forged = identity(tmp_path, forger, HOST, "host-b")
    chain = tmp_path / "chain.pem"
    chain.write_text(forged.certificate.read_text() + own_pem)
    client = ca.client_context(authority.pem, chain, forged.key)
    answer = shake_hands(servers(tmp_path, authority), client)
    assert "verify failed" in str(answer.server_refused)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(tmp_path, authority, version) -> None:
    mine = identity(tmp_path, authority, HOST)
    client = ca.client_context(authority.pem, mine.certificate, mine.key)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        client.minimum_version = version
    with pytest.warns(DeprecationWarning, match="TLS"):
        client.maximum_version = version
    assert not shake_hands(servers(tmp_path, authority), client).talked


def test_a_host_finds_its_cloud_by_the_fingerprint_alone(tmp_path, authority) -> None:
    assert shake_hands(servers(tmp_path, authority, joining=True), ca.blind_context()).talked
    assert ca.pinned(authority.pem, authority.fingerprint.upper()) == authority.pem


def test_another_cloud_is_not_the_pinned_one(tmp_path, authority, entropy) -> None:
    other = Authority.create(tmp_path / "other", RealClock(), entropy.child("other"))
    with pytest.raises(Forbidden):
        ca.pinned(other.pem, authority.fingerprint)
    with pytest.raises(Forbidden):
        ca.pinned("nonsense", authority.fingerprint)


def test_the_fingerprint_is_the_sha256_of_the_certificate(authority) -> None:
    certificate = x509.load_pem_x509_certificate(authority.pem.encode())
    assert authority.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()


def test_an_authority_survives_its_process_and_keeps_its_key_to_itself(
    tmp_path, authority, entropy
) -> None:
    again = Authority.load(tmp_path / "ca", RealClock(), entropy)
    assert again.pem == authority.pem
    (file,) = (tmp_path / "ca").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_authority_is_never_replaced(tmp_path, authority, entropy) -> None:
    with pytest.raises(Conflict):
        Authority.create(tmp_path / "ca", RealClock(), entropy)
    assert Authority.load(tmp_path / "ca", RealClock(), entropy).pem == authority.pem


def test_servers_that_start_at_once_share_one_authority(tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = pool.map(
            lambda n: Authority.open(tmp_path / "ca", RealClock(), Entropy(str(n))).pem, range(16)
        )
        assert len(set(opened)) == 1
    assert len(list((tmp_path / "ca").iterdir())) == 1


def test_a_missing_authority_is_said_to_be_missing(tmp_path, entropy) -> None:
    with pytest.raises(NotFound):
        Authority.load(tmp_path, RealClock(), entropy)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_an_authority_that_others_can_read_is_not_used(tmp_path, authority, entropy, mode) -> None:
    (tmp_path / "ca/authority.pem").chmod(mode)
    with pytest.raises(BadInput, match="0600"):
        Authority.load(tmp_path / "ca", RealClock(), entropy)


def test_a_damaged_authority_is_not_used(tmp_path, authority, entropy) -> None:
    file = tmp_path / "ca/authority.pem"
    whole = file.read_text()
    other = Authority.create(tmp_path / "other", RealClock(), entropy)
    end = "-----END PRIVATE KEY-----\n"
    for damaged in ("", whole[:100], whole.partition(end)[0] + end + other.pem):
        file.write_text(damaged)
        with pytest.raises(Corrupt):
            Authority.load(tmp_path / "ca", RealClock(), entropy)


@given(hours=st.integers(-10, 100), days=st.integers(0, 2000))
@settings(deadline=None, max_examples=50)
def test_a_host_is_certified_for_a_day_at_most(tmp_path_factory, hours, days) -> None:
    folder = tmp_path_factory.mktemp("ca")
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)
    authority = Authority.create(folder, VirtualClock(now), Entropy("e"))
    request = ca.new_request("x").request
    if not 1 <= hours <= 24:
        with pytest.raises(BadInput):
            authority.sign(request, "host-a", HOST, hours)
        return
    made = x509.load_pem_x509_certificate(authority.sign(request, "host-a", HOST, hours).encode())
    begin, end = made.not_valid_before_utc, made.not_valid_after_utc
    assert begin <= now < end
    assert end - begin <= timedelta(hours=hours, seconds=1)


def test_no_certificate_outlives_the_authority(tmp_path, authority, entropy) -> None:
    late = VirtualClock(RealClock().now() + timedelta(days=3645))
    then = Authority.load(tmp_path / "ca", late, entropy)
    certificate = then.sign(ca.new_request("x").request, "server", SERVER, 24 * 365, ["a"])
    ends = x509.load_pem_x509_certificate(authority.pem.encode()).not_valid_after_utc
    assert x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc == ends


def test_the_request_does_not_say_who_somebody_is(authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "host-b")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("server")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    made = x509.load_pem_x509_certificate(authority.sign(greedy, "host-a", HOST, 1).encode())
    assert made.subject.rfc4514_string() == "CN=host-a"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_request_that_its_own_key_did_not_sign_is_refused(authority) -> None:
    request = x509.load_pem_x509_csr(ca.new_request("a").request.encode())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    at = der.index(request.public_key().public_numbers().x.to_bytes(32, "big"))
    other = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    der[at : at + 64] = other.x.to_bytes(32, "big") + other.y.to_bytes(32, "big")
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(BadInput, match="own key"):
        authority.sign(forged.decode(), "host-a", HOST, 1)


def test_a_key_of_another_kind_is_refused(authority) -> None:
    for key in (
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP224R1()),
    ):
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        with pytest.raises(BadInput, match="P-256"):
            authority.sign(request.decode(), "host-a", HOST, 1)


@given(junk=st.text(max_size=300), at=st.integers(0, 400))
@settings(deadline=None, max_examples=200)
def test_nonsense_is_a_bad_request_and_never_an_accident(tmp_path_factory, junk, at) -> None:
    authority = Authority.open(
        tmp_path_factory.getbasetemp() / "junk-ca", RealClock(), Entropy("j")
    )
    good = ca.new_request("a").request
    for text in (junk, good[:at] + junk + good[at:], good * 100):
        with suppress(BadInput):
            authority.sign(text, "host-a", HOST, 1)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "-a", "x" * 65, "a/b", "*", "a\0"])
def test_a_strange_name_is_not_certified(authority, name) -> None:
    request = ca.new_request("a").request
    with pytest.raises(BadInput):
        authority.sign(request, name, HOST, 1)
    with pytest.raises(BadInput):
        authority.sign(request, "server", SERVER, 1, [name])


def test_a_server_needs_names_and_a_host_has_none(authority) -> None:
    request = ca.new_request("a").request
    with pytest.raises(BadInput):
        authority.sign(request, "server", SERVER, 1)
    with pytest.raises(BadInput):
        authority.sign(request, "host-a", HOST, 1, ["localhost"])


def test_serial_numbers_differ(authority) -> None:
    request = ca.new_request("a").request
    signed = [authority.sign(request, "host-a", HOST, 1) for _ in range(20)]
    serials = {x509.load_pem_x509_certificate(pem.encode()).serial_number for pem in signed}
    assert len(serials) == 20


@given(st.integers(1, 2**62))
@settings(deadline=None)
def test_a_certificate_says_its_epoch_and_no_request_does(tmp_path_factory, epoch) -> None:
    authority = Authority.create(tmp_path_factory.mktemp("ca"), RealClock(), Entropy("epoch"))
    key = ec.generate_private_key(ec.SECP256R1())
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "9" * 20)]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    pem = authority.sign(greedy, "host-a", HOST, 1, epoch=epoch)
    found = ca.peer(ssl.PEM_cert_to_DER_cert(pem))
    assert (found.common_name, found.epoch) == ("host-a", epoch)


def test_a_certificate_is_renewed_in_its_second_half(tmp_path, entropy) -> None:
    clock = VirtualClock()
    authority = Authority.create(tmp_path, clock, entropy)
    certificate = authority.sign(ca.new_request("a").request, "host-a", HOST, 24)
    clock.wait(timedelta(hours=11))
    assert not ca.should_renew(certificate, clock)
    clock.wait(timedelta(hours=2))
    assert ca.should_renew(certificate, clock)


def test_the_authority_itself_is_nobody(authority) -> None:
    certificate = x509.load_pem_x509_certificate(authority.pem.encode())
    with pytest.raises(Forbidden):
        ca.peer(certificate.public_bytes(serialization.Encoding.DER))


def test_a_kept_key_is_its_owners_alone_and_leaves_nothing_beside_it(tmp_path, entropy) -> None:
    path = tmp_path / "host.key"
    for text in ("one", "two"):
        ca.keep(path, text, entropy)
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
