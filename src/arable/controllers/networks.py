"""Deleted networks go when nothing of them is left on any host, and their VLANs may be taken again (rule 3).

So do VLANs on which routers of a farm met that have nothing to do with each other any more.
"""

from datetime import datetime

from arable.controllers import endings
from arable.domain.ids import AccountId
from arable.store import quotas, routing, vlans
from arable.store.database import Tx

MOST = 200


def collect(tx: Tx, at: datetime) -> int:
    """One round; how many networks and links went."""
    links = vlans.free_links(tx)
    rows = routing.leaving_networks(tx, MOST)
    held: dict[AccountId, int] = {}
    for row in rows:
        running = routing.operations_on(tx, [row.id])
        routing.remove_network(tx, row, at)
        endings.settle(tx, [(operation, None) for operation in running], at)
        held[row.account] = held.get(row.account, 0) + 1
    quotas.give_many(
        tx, [(account, {"networks": count}) for account, count in sorted(held.items())]
    )
    return len(rows) + links
