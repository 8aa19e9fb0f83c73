"""What a farm has made by its document, it alone changes: by hand it would come back, or be in its way (0022)."""

from arable.domain.access import EVERYTHING, Rank
from arable.domain.errors import Conflict
from arable.domain.grid import PeerState
from arable.domain.ids import FarmId
from arable.services.call import Call
from arable.store import accounts, farm_documents, farm_regions, grid

FARM = "farm"
"""By what a caller comes who acts for a farm itself (`Caller.via`)."""


def check_free(call: Call, id_: str) -> None:
    """Raises `Conflict` for a thing that belongs to a farm's document. Whoever calls has found it in the caller's sight."""
    if call.caller.via != FARM and (owner := farm_documents.owner_of(call.tx, id_)):
        raise Conflict(
            f"this is of {owner}, which alone changes it; change the farm (`arable farm apply`), or its tier"
        )


def check_home(call: Call, farm: FarmId) -> None:
    """Raises `Conflict` for a part of another region's farm: that one changes it."""
    if call.caller.via == FARM:
        return
    known = farm_regions.homes(call.tx, [farm]).get(farm)
    if known is not None:
        raise Conflict(
            f"this is the part here of the farm {known.home} of {known.region}, which alone changes it; "
            f"change it there (`arable farm apply`)"
        )


def check_may_go(call: Call, farm: FarmId) -> None:
    """The same for letting it go, unless its home can't say so any more: it left the grid, or may not act here.

    Operators may in any case: a home whose store was set back may know nothing of it. One that does says it anew.
    """
    if call.caller.rank >= Rank.OPERATOR:
        return
    known = farm_regions.homes(call.tx, [farm]).get(farm)
    if known is None:
        return
    peers = {each.name: each.state for each in grid.peers(call.tx)}
    account = accounts.get(call.tx, EVERYTHING, known.account)
    if peers.get(known.region, PeerState.GONE) is not PeerState.GONE and (
        known.region in account.federated
    ):
        check_home(call, farm)
