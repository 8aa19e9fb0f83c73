"""Arable's own certificate authority, and what is made from it: identities of servers and hosts, TLS on both sides.

A host is who its certificate says: the common name is the host's id, the extended key usage says whether it is a
server's or a host's, and neither can stand in for the other. Nothing that a request carries (subject, extensions)
is taken over: the authority says who somebody is, the request only brings the public key. Host certificates live
for at most a day, so there are no revocation lists: a host that was removed is refused by its id at once, and its
certificate is worthless soon after. (Only the one for its disks' connections lives longer, and is nobody's identity:
see `IdentityKind.DISKS`.) One that was let in anew has certificates of the next epoch, which is written in
them, and those of the epochs before are refused. Keys are made by OpenSSL, from the operating system's chance.

The private key and the certificate are one file, linked to its name when it is complete: an authority is either
whole or not there, however often its creation was killed.
"""

import hmac
import ipaddress
import os
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from arable.domain.errors import BadInput, Conflict, Corrupt, Forbidden, NotFound
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.runtime.full_disk import or_no_room
from arable.runtime.secret import Secret

HOST_HOURS = 24
"""The longest life of a host's certificate."""
DISKS_HOURS = 2 * 365 * 24
"""The longest life of a certificate for disks' connections: a guest should be started or moved once in that time."""
FIRST_EPOCH = 1
"""Of whoever joined once. It is not written into a certificate; each later one is."""

_FILE = "authority.pem"
_LIFE = timedelta(days=3650)
_SKEW = timedelta(minutes=5)  # clocks of hosts may be this far behind
_REQUEST_LIMIT = 16 * 1024  # characters; a P-256 request has about 500
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_FOREVER = datetime.max.replace(tzinfo=UTC)


class IdentityKind(StrEnum):
    """What a certificate allows its holder to be."""

    SERVER = "server"
    PEER = "peer"
    """A management server, as a client of another one: what it listens with does not serve to ask with."""
    HOST = "host"
    DISKS = "disks"
    """Either end of connections between a machine's disks and its host, and a storage host's lease service.

    QEMU reads it once, when a guest starts, and shows it again whenever a connection was lost, perhaps after months:
    so it outlives a host's certificate by far. It opens nothing by itself: a storage host lets in whoever has the
    lease of a disk now, by this name.
    """
    REGION = "region"
    """Either end of connections between regions: a region's grid port, and whoever asks other regions for it.

    Signed by the grid's own authority, never by a region's. The name is the region's, wherever it answers.
    """
    GRID = "grid"
    """The grid manager, at either end of connections with regions."""


_AMONG_SERVERS = x509.ObjectIdentifier("2.25.314812426662464062687967658622034963984")
_AMONG_REGIONS = x509.ObjectIdentifier("2.25.97418402385146270913420357412209137645")
_OF_THE_GRID = x509.ObjectIdentifier("2.25.223059467711843102938475610293847561029")
_BOTH_ENDS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_USAGE = {
    IdentityKind.SERVER: (ExtendedKeyUsageOID.SERVER_AUTH,),
    IdentityKind.PEER: (ExtendedKeyUsageOID.CLIENT_AUTH, _AMONG_SERVERS),
    IdentityKind.HOST: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    IdentityKind.DISKS: _BOTH_ENDS,
    IdentityKind.REGION: (*_BOTH_ENDS, _AMONG_REGIONS),
    IdentityKind.GRID: (*_BOTH_ENDS, _OF_THE_GRID),
}
_KNOWN_BY_NAME = (IdentityKind.DISKS, IdentityKind.REGION, IdentityKind.GRID)
"""Clients of these check the name that they expect, whatever the address."""


@dataclass(frozen=True, slots=True)
class Request:
    """A fresh private key, and the signing request that goes with it. Both PEM."""

    key: Secret
    request: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as their verified certificate says."""

    common_name: str
    kind: IdentityKind
    fingerprint: str
    until: datetime
    epoch: int = FIRST_EPOCH


class Authority:
    """Signs. Whoever holds this can be anybody: it stays in the management server's process."""

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._entropy = entropy

    @classmethod
    def create(
        cls, directory: Path, clock: Clock, entropy: Entropy, *, name: str = "Arable authority"
    ) -> Self:
        """A new authority, kept in `directory`. Raises `Conflict` when there already is one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        made = (
            _builder(
                subject,
                subject,
                key.public_key(),
                now=clock.now(),
                life=_LIFE,
                entropy=entropy,
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(_own_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _link_new(directory / _FILE, _key_pem(key) + _pem(made).encode(), entropy)
        return cls(made, key, clock, entropy)

    @classmethod
    def load(cls, directory: Path, clock: Clock, entropy: Entropy) -> Self:
        """The authority kept in `directory`. Raises `NotFound`, or `BadInput` when others could read its key."""
        path = directory / _FILE
        try:
            if path.stat().st_mode & 0o077:
                raise BadInput(f"{path} can be read by others; it must have mode 0600")
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"there is no authority in {directory}") from error
        try:
            key = serialization.load_pem_private_key(data, password=None)
            certificate = x509.load_pem_x509_certificate(data)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Corrupt(f"{path} is not an authority", detail=str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            key.public_key() != certificate.public_key()
        ):
            raise Corrupt(f"{path}: key and certificate don't belong together")
        return cls(certificate, key, clock, entropy)

    @classmethod
    def open(cls, directory: Path, clock: Clock, entropy: Entropy) -> Self:
        """The one kept in `directory`, made on first use; two processes that start at once get the same."""
        try:
            return cls.load(directory, clock, entropy)
        except NotFound:
            try:
                return cls.create(directory, clock, entropy)
            except Conflict:
                return cls.load(directory, clock, entropy)

    @property
    def pem(self) -> str:
        """The authority's certificate: what everybody may and must know."""
        return _pem(self._certificate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate (DER), in hex: what a join token pins."""
        return _fingerprint(self._certificate)

    @property
    def until(self) -> datetime:
        """When its own certificate ends, and all that it signed with it."""
        return self._certificate.not_valid_after_utc

    def key_for(self, purpose: str) -> bytes:
        """32 bytes for that purpose alone, the same for whoever holds this authority, and of no use to find its key."""
        own = self._key.private_numbers().private_value.to_bytes(32)
        return HKDF(hashes.SHA256(), 32, None, purpose.encode()).derive(own)

    def signature(self, data: bytes) -> bytes:
        """By the authority itself, over what says what it is for (`signed_by`)."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def sign(
        self,
        request: str,
        common_name: str,
        kind: IdentityKind,
        hours: int,
        names: Iterable[str] = (),
        *,
        epoch: int = FIRST_EPOCH,
    ) -> str:
        """A certificate (PEM) for the key in `request` (PEM). `names`: DNS names and addresses of a server.

        Raises `BadInput` for a request, name or life that is not allowed.
        """
        names = tuple(names)
        if hours < 1 or (kind is IdentityKind.HOST and hours > HOST_HOURS):
            raise BadInput(f"a host's certificate lives 1 to {HOST_HOURS} hours", field="hours")
        if kind is IdentityKind.DISKS and hours > DISKS_HOURS:
            raise BadInput(
                f"a certificate for disks lives at most {DISKS_HOURS} hours", field="hours"
            )
        if kind is IdentityKind.SERVER and not names:
            raise BadInput("a server's certificate needs names", field="names")
        if kind is not IdentityKind.SERVER and names:
            raise BadInput("a host's certificate has no further names", field="names")
        if not _NAME.fullmatch(common_name):
            raise BadInput("not a name for a certificate", field="common_name")
        builder = (
            _builder(
                _subject(common_name, epoch),
                self._certificate.subject,
                _public_key(request),
                now=self._clock.now(),
                life=timedelta(hours=hours),
                entropy=self._entropy,
                not_after=self._certificate.not_valid_after_utc,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGE[kind]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if kind in _KNOWN_BY_NAME:
            names = (common_name,)
        if names:
            alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return _pem(builder.sign(self._key, hashes.SHA256()))


def signed_by(authority: str, data: bytes, signature: bytes) -> bool:
    """Whether the authority with that certificate (PEM) signed these bytes."""
    try:
        key = x509.load_pem_x509_certificate(authority.encode()).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def new_request(common_name: str) -> Request:
    """A fresh key for oneself, and the request to have it certified."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(common_name))
        .sign(key, hashes.SHA256())
    )
    text = made.public_bytes(serialization.Encoding.PEM).decode()
    return Request(Secret(_key_pem(key).decode()), text)


def keep(path: Path, text: str | Secret, entropy: Entropy) -> None:
    """Write a key or certificate to `path`, complete or not at all, readable by its owner alone. Raises `NoRoom`."""
    data = text.reveal() if isinstance(text, Secret) else text
    with or_no_room():
        made = _write_beside(path, data.encode(), entropy)
    made.replace(path)


def pinned(authority: str, fingerprint: str) -> str:
    """`authority` (PEM) if it is the one that `fingerprint` names; raises `Forbidden` otherwise.

    How a host that knows only its join token comes to trust its management server.
    """
    try:
        found = _fingerprint(x509.load_pem_x509_certificate(authority.encode()))
    except ValueError as error:
        raise Forbidden("the server did not show a certificate authority") from error
    if not hmac.compare_digest(found, fingerprint.lower()):
        raise Forbidden("the server belongs to another cloud than the join token")
    return authority


def fingerprint_of(authority: str) -> str:
    """SHA-256 of a certificate (PEM), in hex."""
    return _fingerprint(x509.load_pem_x509_certificate(authority.encode()))


def until(certificate: str) -> datetime:
    """When the certificate's life ends."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def should_renew(certificate: str, clock: Clock) -> bool:
    """Whether less than half of the certificate's life is left."""
    found = x509.load_pem_x509_certificate(certificate.encode())
    life = found.not_valid_after_utc - found.not_valid_before_utc
    return clock.now() >= found.not_valid_after_utc - life / 2


def server_context(
    certificate: Path, key: Path, authority: str, *, joining: bool = False
) -> ssl.SSLContext:
    """TLS for a server. Clients must show a host's certificate of `authority` (PEM).

    With `joining`, one may also come without any (a certificate that is shown must still be good): for the port
    where hosts join. Each route there must then ask `peer()` who is there.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _trust_only(context, authority)
    context.verify_mode = ssl.CERT_OPTIONAL if joining else ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    return context


def client_context(
    authority: str, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """TLS for a client: the server must show a server's certificate of `authority` (PEM) with its name in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust_only(context, authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


def blind_context() -> ssl.SSLContext:
    """TLS that trusts anybody: only for asking a server for its authority before `pinned()` judges it.

    Nothing secret may be sent through it, and nothing else that comes out of it may be believed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def peer(der: bytes | None) -> Peer | None:
    """Who showed this certificate (`getpeercert(binary_form=True)` of a finished handshake); None for nobody.

    The handshake has verified it; this only reads it. Raises `Forbidden` for one that is not of our making.
    """
    if not der:
        return None
    certificate = x509.load_der_x509_certificate(der)
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        kind = next(kind for kind, uses in _USAGE.items() if tuple(usage) == uses)
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        epoch = _epoch(certificate.subject)
    except (x509.ExtensionNotFound, StopIteration, ValueError) as error:
        raise Forbidden("not a certificate of a server or a host") from error
    until = certificate.not_valid_after_utc
    return Peer(str(name.value), kind, _fingerprint(certificate), until, epoch)


def _trust_only(context: ssl.SSLContext, authority: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    life: timedelta,
    entropy: Entropy,
    not_after: datetime = _FOREVER,
) -> x509.CertificateBuilder:
    """`life` counts all of it: what is given for clocks that are behind is taken from its end."""
    begin = now - min(_SKEW, life / 2)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(entropy.random.getrandbits(158) + 1)
        .not_valid_before(begin)
        .not_valid_after(min(begin + life, not_after))
    )


def _public_key(request: str) -> ec.EllipticCurvePublicKey:
    if len(request) > _REQUEST_LIMIT:
        raise BadInput("the signing request is too long", field="request")
    try:
        parsed = x509.load_pem_x509_csr(request.encode())
        key = parsed.public_key()
        proven = parsed.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise BadInput("not a certificate signing request (PEM)", field="request") from error
    if not proven:
        raise BadInput("the request is not signed by its own key", field="request")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise BadInput("the key must be of the curve P-256 or P-384", field="request")
    return key


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if len(name) > 253 or not all(_NAME.fullmatch(label) for label in name.split(".")):
            raise BadInput("neither a DNS name nor an address", field="names") from None
        return x509.DNSName(name)


def _subject(common_name: str, epoch: int = FIRST_EPOCH) -> x509.Name:
    named = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if epoch != FIRST_EPOCH:
        named.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, str(epoch)))
    return x509.Name(named)


def _epoch(subject: x509.Name) -> int:
    """Raises `ValueError` for what no subject of ours says."""
    told = subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    if not told:
        return FIRST_EPOCH
    (number,) = told
    return int(number.value)


def _own_key(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _write_beside(path: Path, data: bytes, entropy: Entropy) -> Path:
    """A complete file beside `path`, on the disk, for its owner alone."""
    made = path.with_name(f".{path.name}.{entropy.letters(12)}")
    opened = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        made.unlink()
        raise
    return made


def _link_new(path: Path, data: bytes, entropy: Entropy) -> None:
    made = _write_beside(path, data, entropy)
    try:
        os.link(made, path)
    except FileExistsError as error:
        raise Conflict(f"{path} is there already") from error
    finally:
        made.unlink()
