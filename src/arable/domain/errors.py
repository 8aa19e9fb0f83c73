"""What can go wrong in a way that a caller would treat differently. Anything else is a bug.

`public` is shown to the user and says what is wrong and what to do; `detail` is for operators' logs only.
`field` names the part of the request that is at fault, as a dotted path (`nics.0.address`), where there is one.
Transport codes are a table at the edge (`api/problems.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any


class CloudError(Exception):
    """Something we foresaw. `why` holds further facts for the user: refusals per host, the limit that was hit."""

    def __init__(
        self,
        public: str,
        *,
        field: str = "",
        detail: str = "",
        why: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> None:
        super().__init__(public)
        self.public = public
        self.field = field
        self.detail = detail
        self.why = why


class BadInput(CloudError):
    """The request can never succeed as written."""


class Unauthenticated(CloudError):
    """Nobody we know, or a credential that no longer counts."""


class Forbidden(CloudError):
    """We know who asks, and may not do it."""


class NotFound(CloudError):
    """No such thing, or none that this caller may know of: both read the same."""


class Conflict(CloudError):
    """The thing is in a state, or has a neighbour, that does not allow this now."""


class Stale(Conflict):
    """The caller's condition (If-Match) no longer holds; read again and decide anew."""


class WrongOffset(Conflict):
    """More bytes are here than the caller believes, or fewer; `why` has the right `offset`: go on from there."""


class InUse(Conflict):
    """Somebody else has it in hand just now; the same call may succeed when they are done."""


class LimitExceeded(CloudError):
    """The account's own limit; an operator can raise it."""


class NoRoom(CloudError):
    """The cloud has not enough of something (capacity, VLANs, addresses)."""


class TooLarge(BadInput):
    """The body is larger than this call takes."""


class TooOften(CloudError):
    """Asked more often than anybody may; `why` says after how many seconds to ask again."""


class Unavailable(CloudError):
    """Something we depend on does not answer; the same call may succeed later."""


class Corrupt(CloudError):
    """Bytes are not what their digest says; they must not be used (rule 7)."""
