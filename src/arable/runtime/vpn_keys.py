"""Keys of WireGuard: Curve25519, as 32 bytes in base64."""

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret


def new_pair(entropy: Entropy) -> tuple[Secret, str]:
    """A private key, and the public one that goes with it."""
    octets = hashlib.sha256(entropy.secret(64).encode()).digest()  # 330 bits of chance in, 256 out
    private = Secret(base64.b64encode(octets).decode())
    return private, public_of(private)


def public_of(private: Secret) -> str:
    """The public key of a private one."""
    made = X25519PrivateKey.from_private_bytes(base64.b64decode(private.reveal()))
    return base64.b64encode(made.public_key().public_bytes_raw()).decode()
