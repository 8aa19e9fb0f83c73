"""In whose name controllers ask for what a farm needs."""

from dataclasses import dataclass

from arable.domain.ids import AccountId, FarmId, ZoneId
from arable.domain.tier import Tier
from arable.store import elements
from arable.store.database import Tx


@dataclass(frozen=True, slots=True)
class Owner:
    """A farm, and whose it is."""

    account: AccountId
    farm: FarmId
    farm_name: str
    zone: ZoneId
    zone_name: str

    @classmethod
    def of(cls, tx: Tx, tier: Tier) -> "Owner":
        """A tier's."""
        farm, zone = elements.names(tx, [tier.farm])[tier.farm]
        return cls(tier.account, tier.farm, farm, tier.zone, zone)
