"""The VLANs of zones: one row each, so that taking one is a compare-and-set (rule 3)."""

from functools import cache

from sqlalchemy import TextClause, text

from arable.domain.errors import NoRoom
from arable.domain.ids import NetworkId, ZoneId
from arable.store.database import Tx


def take(tx: Tx, zone: ZoneId, network: NetworkId) -> int:
    """The lowest free VLAN of the zone, from now on this network's. Two who take at once get two, or one waits."""
    found = tx.execute(_take(tx.dialect.name), {"zone": zone, "network": network}).scalar()
    if found is None:
        raise NoRoom(
            "this zone has no VLAN left for another network: use one that is there, "
            "or ask the operator for a wider range of guest VLANs"
        )
    return int(found)


@cache
def _take(dialect: str) -> TextClause:
    lock = "" if dialect == "sqlite" else "for update skip locked"
    return text(
        f"""
        update vlan set network = :network where zone = :zone and tag = (
            select tag from vlan where zone = :zone and network is null and not leaving
            order by tag limit 1 {lock}
        ) returning tag
        """  # noqa: S608 - a word of ours
    )
