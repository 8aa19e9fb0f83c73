"""What the two ends of a connection are called, and by what they know each other."""

import base64
import hmac
from pathlib import Path

from arable.domain.ids import HostId
from arable.drivers.storage.durable import new_file, put_in_place
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

_AUTHORITY = "iqn.2026-11.internal.arable"
_KEY_BYTES = 32
_SECRET_LETTERS = 24  # 120 bits; more than some initiators' 16 is no trouble to QEMU's


def target(export: str) -> str:
    """Of a volume's target in an epoch (`export_name`)."""
    return f"{_AUTHORITY}:{export}"


def initiator(host: HostId, storage_zone: str = "") -> str:
    """Of a host that runs machines, for those of that storage zone. It also is what that calls itself to CHAP."""
    return f"{_AUTHORITY}:{host}.{storage_zone}" if storage_zone else f"{_AUTHORITY}:{host}"


class Secrets:
    """The secret of each target, for its holder: made from the name and a key, so that nobody has to remember it."""

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        path = folder / "secrets.key"
        if not path.exists():
            put_in_place(new_file(folder / "secrets.new", entropy.octets(_KEY_BYTES)), path)
        self._key = path.read_bytes()

    def of(self, export: str) -> Secret:
        """Another epoch's is another one, and says nothing about it."""
        made = hmac.digest(self._key, export.encode(), "sha256")
        return Secret(base64.b32encode(made).decode().lower()[:_SECRET_LETTERS])
