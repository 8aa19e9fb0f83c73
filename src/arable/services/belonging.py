"""What a farm has made by its document, it alone changes: by hand it would come back, or be in its way (0022)."""

from arable.domain.errors import Conflict
from arable.services.call import Call
from arable.store import farm_documents

FARM = "farm"
"""By what a caller comes who acts for a farm itself (`Caller.via`)."""


def check_free(call: Call, id_: str) -> None:
    """Raises `Conflict` for a thing that belongs to a farm's document. Whoever calls has found it in the caller's sight."""
    if call.caller.via != FARM and (owner := farm_documents.owner_of(call.tx, id_)):
        raise Conflict(
            f"this is of {owner}, which alone changes it; change the farm (`arable farm apply`), or its tier"
        )
