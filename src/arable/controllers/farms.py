"""Farms whose holder is nobody, or can't act, get one: the master's most frequent act, done when a farm is nudged."""

import logging
from collections.abc import Iterable
from datetime import datetime

from arable.cluster import assignment
from arable.cluster.members import live
from arable.cluster.times import Times
from arable.domain.segment import Holding
from arable.store import holdings, leases, segments
from arable.store.database import Tx

log = logging.getLogger(__name__)

MOST = 2000
_SLOW = Times().scaled(6)


def attend(tx: Tx, at: datetime) -> int:
    """One round; how many farms got a holder. Members may beat slower than usual, so others will do if need be."""
    now = leases.now(tx, at)
    return adopt(tx, now, Times()) or adopt(tx, now, _SLOW)


def adopt(tx: Tx, now: datetime, times: Times) -> int:
    """Give farms without a holder to live members; how many."""
    orphans = holdings.orphans(tx, MOST)
    if not orphans:
        return 0
    members = [each.id for each in live(segments.members(tx), now, times)]
    loads = assignment.weights(holdings.every(tx), members)
    return give(tx, orphans, assignment.placed(orphans, loads))


def give(tx: Tx, held: Iterable[Holding], moves: Iterable[assignment.Move]) -> int:
    """Carry moves out, each only if the farm is still where it was; how many were."""
    holders = {each.farm: each.holder for each in held}
    given = holdings.give(tx, [(m.farm, holders[m.farm], m.to) for m in moves])
    if given:
        log.info("%d farms have a new holder", given)
    return given
