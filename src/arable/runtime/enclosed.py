"""A stream of bytes closed by a passphrase, and opened again: for files that hold everything and travel.

The key is drawn out of the passphrase by scrypt, which takes a quarter of a second and 128 MiB for each guess. The
bytes go in pieces, each encrypted and authenticated by AES-256-GCM together with its number, the header and whether it
is the last: nothing can be changed, left out, put elsewhere or cut off without being noticed. A key is used for one
file only, since its salt is drawn anew, so numbers serve as nonces.
"""

import hashlib
import hmac
import struct
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from arable.domain.errors import Corrupt, Forbidden
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

MAGIC = b"arable-enclosed-1\n"
PIECE = 1 << 20

_SALT = 16
_PROOF = 16
_COST = 17  # scrypt's n is two to this power
_MOST_COST = 20
_TAG = 16
_HEAD = struct.Struct(f">{len(MAGIC)}sB{_SALT}s{_PROOF}s")


def is_enclosed(begins: bytes) -> bool:
    """Whether a file that begins with these bytes needs a passphrase."""
    return begins.startswith(MAGIC)


class Enclosing:
    """Write into it what shall be closed; `close` ends it, and leaves the file open."""

    def __init__(self, file: BinaryIO, passphrase: Secret, entropy: Entropy) -> None:
        salt = entropy.octets(_SALT)
        key = _key(passphrase, salt, _COST)
        head = _HEAD.pack(MAGIC, _COST, salt, _proof(key))
        file.write(head)
        self._file = file
        self._pieces = _Pieces(key, head)
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """All of it, always."""
        self._waiting += data
        while len(self._waiting) > PIECE:  # not at once when it is full: it may be the last one
            self._file.write(self._pieces.closed(bytes(self._waiting[:PIECE]), last=False))
            del self._waiting[:PIECE]
        return len(data)

    def close(self) -> None:
        """Say that this was all."""
        self._file.write(self._pieces.closed(bytes(self._waiting), last=True))
        self._waiting.clear()


class Opening:
    """Read from it what was closed. Raises `Forbidden` for another passphrase, `Corrupt` for another file."""

    def __init__(self, file: BinaryIO, passphrase: Secret) -> None:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or not is_enclosed(head):
            raise Corrupt(
                "this is not a file that was closed by a passphrase, or the first bytes of one"
            )
        _magic, cost, salt, proof = _HEAD.unpack(head)
        if not 10 <= cost <= _MOST_COST:
            raise Corrupt("the file was changed: nobody asks for such a passphrase's cost")
        key = _key(passphrase, salt, cost)
        if not hmac.compare_digest(proof, _proof(key)):
            raise Forbidden("this is not the passphrase")
        self._file = file
        self._pieces = _Pieces(key, head)
        self._there = bytearray()
        self._ahead = file.read(PIECE + _TAG)
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """So many bytes; fewer at the end only."""
        while not self._ended and (size < 0 or len(self._there) < size):
            piece, self._ahead = self._ahead, self._file.read(PIECE + _TAG)
            self._ended = not self._ahead
            self._there += self._pieces.opened(piece, last=self._ended)
        end = len(self._there) if size < 0 else size
        taken = bytes(self._there[:end])
        del self._there[:end]
        return taken


class _Pieces:
    """Counts them: the same piece elsewhere is another one."""

    def __init__(self, key: bytes, head: bytes) -> None:
        self._cipher = AESGCM(key)
        self._head = head
        self._number = 0

    def closed(self, piece: bytes, *, last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(), piece, self._about(last=last))

    def opened(self, piece: bytes, *, last: bool) -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(), piece, self._about(last=last))
        except InvalidTag as error:
            raise Corrupt("the file was changed or cut off") from error

    def _nonce(self) -> bytes:
        self._number += 1
        return self._number.to_bytes(12)

    def _about(self, *, last: bool) -> bytes:
        return self._head + (b"\1" if last else b"\0")


def _key(passphrase: Secret, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt, 32, n=1 << cost, r=8, p=1).derive(passphrase.reveal().encode())


def _proof(key: bytes) -> bytes:
    """Tells a wrong passphrase from a damaged file; no help to find the right one that the file itself is not."""
    return hmac.new(key, b"arable enclosed: the key", hashlib.sha256).digest()[:_PROOF]
