"""Secrets that have to be kept and used again, as they stand in the store: encrypted, bound to what they are for.

The key comes from the authority, which is a file of the management servers and no part of the database: whoever has a
copy of the database alone has nothing.
"""

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from arable.domain.errors import Corrupt
from arable.runtime.ca import Authority
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

_NONCE = 12  # bytes, as AES-GCM wants them
_PURPOSE = "arable sealed secrets 1"


def seal(authority: Authority, entropy: Entropy, secret: Secret, about: str) -> str:
    """`secret` as text that may be stored. `about` is whose it is: it opens for nothing else."""
    nonce = entropy.octets(_NONCE)
    closed = _cipher(authority).encrypt(nonce, secret.reveal().encode(), about.encode())
    return base64.b64encode(nonce + closed).decode()


def unseal(authority: Authority, sealed: str, about: str) -> Secret:
    """The secret again; raises `Corrupt` when it was sealed by another authority, or for something else."""
    try:
        raw = base64.b64decode(sealed, validate=True)
        opened = _cipher(authority).decrypt(raw[:_NONCE], raw[_NONCE:], about.encode())
    except (ValueError, InvalidTag) as error:
        raise Corrupt("this secret was sealed by another authority; set it anew") from error
    return Secret(opened.decode())


def _cipher(authority: Authority) -> AESGCM:
    return AESGCM(authority.key_for(_PURPOSE))
