"""Ed25519: a region's signatures, which any other can judge by the public key."""

import base64
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from arable.domain.errors import Corrupt
from arable.runtime.secret import Secret


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new one; both as text."""

    private: Secret
    public: str


def new_pair() -> KeyPair:
    """Drawn from the operating system."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return KeyPair(
        Secret(base64.b64encode(private.private_bytes_raw()).decode()),
        base64.b64encode(public).decode(),
    )


def signature(private: Secret, data: bytes) -> bytes:
    """64 bytes. Raises `Corrupt` for what is no private key."""
    try:
        key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(private.reveal()))
    except ValueError as error:
        raise Corrupt("this is no private key") from error
    return key.sign(data)


def is_right(public: str, data: bytes, signed: bytes) -> bool:
    """Whether whoever has the private key signed these bytes."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(signed, data)
    except (ValueError, InvalidSignature):
        return False
    return True
