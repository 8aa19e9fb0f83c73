"""Names of databases that only this cloud's own servers can have drawn.

A server that hears of a later database than its own stops, for good (`processes/succession.py`). It hears of it from
hosts, and a single host must not be able to stop a cloud by inventing one. So a name ends with a proof by the
authority's key, which hosts don't have. The first name of a cloud needs none: nothing is earlier.
"""

import hashlib
import hmac

from arable.domain.incarnation import KIND
from arable.runtime.ca import Authority
from arable.runtime.entropy import Ids

_PURPOSE = "arable names of databases 1"
_PROOF = 16  # hex digits


def drawn(authority: Authority, ids: Ids, after: str = "") -> str:
    """The name of a database that takes the place of the one called `after` now.

    It is the later of the two also where the clock by which that one was named was ahead of ours: hosts would not
    listen to it otherwise.
    """
    name = ids.new(KIND, after=after)
    return f"{name}-{_proof(authority, name)}"


def is_genuine(authority: Authority, name: str) -> bool:
    """Whether a server of this cloud drew it."""
    said, _, proof = name.rpartition("-")
    return hmac.compare_digest(proof.encode(), _proof(authority, said).encode())


def _proof(authority: Authority, name: str) -> str:
    key = authority.key_for(_PURPOSE)
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:_PROOF]
