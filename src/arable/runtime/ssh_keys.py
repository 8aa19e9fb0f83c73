"""SSH keys: public ones checked and shown by their fingerprint, new pairs made.

A public key reaches files in which a line is a permission (`authorized_keys`), so what is kept is never the text that
came in: it is the type and the key as the library has read them, and a comment of one line.
"""

import base64
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import ssh_key_fingerprint

from arable.domain.errors import BadInput
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

LEAST_RSA_BITS = 2048
_LONGEST = 8192
_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key that may log in. `line` is as `authorized_keys` has it, comment included."""

    kind: str  # as OpenSSH calls it: "ssh-ed25519"
    bits: int
    fingerprint: str  # "SHA256:..." as `ssh-keygen -l` shows it
    line: str


def public_key(text: str, field: str = "public_key") -> PublicKey:
    """The key in one line as `ssh-keygen` writes it. Raises `BadInput` that says what is wrong with it."""
    parts = text.strip().split(None, 2)
    if len(text) > _LONGEST or _UNPRINTED.search(text.strip()) or len(parts) < 2:
        raise BadInput("not a public key: it is one line, TYPE KEY COMMENT", field=field)
    kind, comment = parts[0], parts[2] if len(parts) > 2 else ""
    if len(comment) > 255:
        raise BadInput("the comment of a key has at most 255 characters", field=field)
    try:
        key = serialization.load_ssh_public_key(" ".join(parts[:2]).encode())
    except UnsupportedAlgorithm as error:
        raise BadInput(
            f"keys of type {kind[:40]} are not taken; make one with `ssh-keygen -t ed25519`",
            field=field,
        ) from error
    except ValueError as error:
        raise BadInput("not a public key that can be read", field=field) from error
    match key:
        case ed25519.Ed25519PublicKey():
            bits = 256
        case ec.EllipticCurvePublicKey():
            bits = key.curve.key_size
        case rsa.RSAPublicKey():
            bits = key.key_size
            if bits < LEAST_RSA_BITS:
                raise BadInput(
                    f"an RSA key of {bits} bits is too short; {LEAST_RSA_BITS} at least",
                    field=field,
                )
        case _:
            raise BadInput(
                f"keys of type {kind[:40]} are not taken; make one with `ssh-keygen -t ed25519`",
                field=field,
            )
    read = _written(key)
    return PublicKey(
        kind=read.split(" ")[0],
        bits=bits,
        fingerprint=f"SHA256:{_base64(ssh_key_fingerprint(key, SHA256()))}",
        line=f"{read} {comment}".rstrip(),
    )


def new_pair(entropy: Entropy, comment: str) -> tuple[Secret, PublicKey]:
    """A new Ed25519 key: the private half as OpenSSH keeps it in a file, and the public one."""
    seed = hashlib.sha256(entropy.secret(64).encode()).digest()  # 330 bits of chance in, 256 out
    made = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    private = made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return Secret(private.decode()), public_key(f"{_written(made.public_key())} {comment}")


def _written(
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
) -> str:
    openssh = serialization.PublicFormat.OpenSSH
    return key.public_bytes(serialization.Encoding.OpenSSH, openssh).decode()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode().rstrip("=")
