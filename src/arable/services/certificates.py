"""Customers' certificates for TLS: taken apart, and written anew as what they are. Nothing else of a text gets further."""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from arable.domain.errors import BadInput
from arable.runtime.secret import Secret

_LEAST_BITS = 2048
_MOST = 10
"""Certificates of a chain."""


def checked(certificate: str, key: Secret, now: datetime) -> tuple[str, Secret]:
    """The chain and its key in PEM of ours; raises `BadInput` for what no client would accept."""
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
    except ValueError as error:
        raise BadInput("these are no certificates in PEM", field="certificate") from error
    if len(chain) > _MOST:
        raise BadInput(f"more than {_MOST} certificates", field="certificate")
    if chain[0].not_valid_after_utc <= now:
        raise BadInput("the certificate's time is over", field="certificate")
    try:
        own = load_pem_private_key(key.reveal().encode(), password=None)
    except TypeError as error:
        raise BadInput("the key is closed by a passphrase", field="private_key") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInput("this is no private key in PEM", field="private_key") from error
    if not isinstance(own, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise BadInput("neither RSA nor an elliptic curve", field="private_key")
    if isinstance(own, rsa.RSAPrivateKey) and own.key_size < _LEAST_BITS:
        raise BadInput(f"less than {_LEAST_BITS} bits", field="private_key")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        raise BadInput("this key is not the first certificate's", field="private_key")
    text = "".join(each.public_bytes(Encoding.PEM).decode() for each in chain)
    pem = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text, Secret(pem.decode())


def until(certificate: str) -> datetime:
    """When a certificate that was checked before ends."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
