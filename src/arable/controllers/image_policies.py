"""Brings what policies of other regions want here: each region reads what it was told, and does its own part.

So it is done whoever can be reached at that moment, as far as what is told is known: nobody commands, nobody waits.
"""

import logging
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from arable.domain.errors import CloudError
from arable.domain.image_policy import means, wanted
from arable.domain.settings import IMAGE_POLICIES
from arable.store import grid, grid_members, image_policies, settings
from arable.store.database import Tx

log = logging.getLogger(__name__)

SECONDS = 60
TOPIC = grid.TOPIC
MOST = 20
"""Transfers that are begun in one round."""
AGAIN = timedelta(hours=1)
"""After which a version that could not be brought is tried anew."""


class Hands(Protocol):
    """How a version is brought (`services/image_policies.py`; controllers know no services)."""

    def bring(self, tx: Tx, region: str, account: str, image: str, number: int, /) -> bool:
        """Have it brought. Raises what it is refused for."""


class Lacked(NamedTuple):
    """A version that should be here, as a region said."""

    region: str
    account: str
    image: str
    number: int


def attend(hands: Hands, tx: Tx, at: datetime) -> int:
    """One round; how many transfers were begun."""
    link = grid_members.link(tx)
    if link is None or settings.get(tx, IMAGE_POLICIES) == "ignore":
        return 0
    count = 0
    for each in lacked(tx, link.region, at):
        try:
            with tx.begin_nested():
                count += hands.bring(tx, *each)
        except CloudError as error:
            log.warning(
                "%s/%d should be here, says %s: %s",
                *(each.image, each.number, each.region, error.public),
            )
        if count == MOST:
            break
    return count


def lacked(tx: Tx, own: str, at: datetime) -> list[Lacked]:
    """Versions that policies want in this region and that are neither here nor on their way."""
    told = image_policies.told(tx)
    labels = image_policies.labels(tx, own)
    meant = [
        (region, body)
        for region, bodies in sorted(told.items())
        if region != own
        for body in bodies
        if means(body["at"], body["labels"], own, labels)
    ]
    if not meant:
        return []
    there = grid.numbers(tx, {body["image"] for _region, body in meant})
    here = image_policies.here(tx, {body["image"] for _region, body in meant})
    found = []
    for region, body in meant:
        key = (body["account"], body["image"])
        owner = image_policies.owner(tx, body["account"])
        for number in wanted(there.get(key, ()), body["versions"], body["upto"]):
            now = here.get((owner, body["image"], number))
            if now is not None and (now.failed_at is None or at - now.failed_at < AGAIN):
                continue
            found.append(Lacked(region, *key, number))
    return found
