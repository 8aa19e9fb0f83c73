"""What tiers bear, kept for those who ask: one row a tier, written over."""

from collections.abc import Sequence
from datetime import datetime

from arable.domain.ids import TierId
from arable.domain.scaling import Load
from arable.domain.tier import Tier
from arable.store import scalings, tier_loads
from arable.store.database import Tx


def gather(tx: Tx, tiers: Sequence[Tier], at: datetime) -> dict[TierId, Load]:
    """What each of these tiers bears now, and keep it; those of which nothing is known left out."""
    found = tier_loads.known(tx, tiers, at)
    scalings.put_loads(tx, found)
    return found
