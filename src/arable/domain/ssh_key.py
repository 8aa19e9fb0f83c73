"""An account's SSH keys: public keys with a name, for machines to let their owners in."""

from dataclasses import dataclass
from datetime import datetime

from arable.domain.ids import AccountId, SshKeyId

MOST = 200
"""Of one account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshKey:
    """The public half; the private one is nowhere in the cloud. `line` is as `authorized_keys` has it."""

    id: SshKeyId
    account: AccountId
    name: str
    kind: str
    bits: int
    fingerprint: str
    line: str
    created_at: datetime
