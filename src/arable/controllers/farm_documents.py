"""Farms become what their documents say, as far as tiers do not: what a document no longer says goes when nothing needs it.

The change that was asked for is done when every tier is as it should be and nothing is left to go. A farm that was
deleted goes with the last of what it made. That is asked of `Hands` in a round of its own, which holds nothing of a farm
before the account's limits: whoever asks for something of several kinds takes them in that order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from arable.domain.errors import CloudError, Conflict
from arable.domain.event import Event
from arable.domain.farm import Farm, FarmDocument, FarmState
from arable.domain.farm_part import FarmPart, PartState
from arable.domain.ids import FarmId, OperationId, SegmentId
from arable.domain.tier_acts import complete, enough
from arable.store import (
    events,
    farm_documents,
    farm_regions,
    farms,
    holdings,
    operations,
    rollouts,
    tiers,
)
from arable.store.database import Tx

MOST = 100
SECONDS = 2


class Hands(Protocol):
    """What can be asked for a farm."""

    def clear(self, tx: Tx, farm: Farm) -> bool:
        """Let go what its document no longer says; whether nothing of that is left. Raises what is refused."""


def wanting(tx: Tx, holder: SegmentId, at: datetime) -> Sequence[FarmId]:  # noqa: ARG001
    """Its farms whose documents were changed, and are not yet as they say."""
    return holdings.wanting_documents(tx, holder, MOST)


def attend(hands: Hands, tx: Tx, at: datetime, wanted: Iterable[FarmId]) -> int:
    """One round for these farms; how many are as their documents say from now on."""
    done = 0
    wanted = list(wanted)
    new = _new(tx, wanted)
    for farm in farms.by_account(tx, [each for each in wanted if each not in new]):
        told = ""
        cleared = False
        try:
            with tx.begin_nested():
                cleared = hands.clear(tx, farm)
        except CloudError as error:
            told = error.public
        document = farm_documents.of(tx, [farm.id]).get(farm.id)
        elsewhere = farm_regions.of(tx, [farm.id]).get(farm.id, [])
        told = told or _elsewhere(elsewhere)
        if document is None:  # it is gone
            done += 1
        elif document.state is FarmState.READY and (refused := _refused(elsewhere)):
            _fail(tx, document, refused, at)
        elif (
            cleared
            and all(part.settled for part in elsewhere)
            and document.state is FarmState.READY
            and _complete(tx, farm.id, document.operation)
        ):
            _end(tx, farm, document, at)
            done += 1
        elif told != document.told:
            farm_documents.note(tx, replace(document, told=told))
    return done


def _new(tx: Tx, wanted: Sequence[FarmId]) -> set[FarmId]:
    """Those that still lack elements of their first document: nothing is to be let go, nor is anything done.

    Asked of all together. Each of the others is held with all that it has, which is too much for every look at a farm
    that is just being made.
    """
    first = {
        id_
        for id_, document in farm_documents.of(tx, wanted).items()
        if document.generation == 1 and document.state is FarmState.READY and not document.told
    }
    found = tiers.of_farms(tx, first)
    serving = tiers.serving(tx, [tier.id for of in found.values() for tier in of])
    return {farm for farm, of in found.items() if any(serving.get(t.id, 0) < t.count for t in of)}


def _complete(tx: Tx, farm: FarmId, operation: OperationId | None) -> bool:
    of_farm = tiers.of_farms(tx, [farm]).get(farm, [])
    ids = [tier.id for tier in of_farm]
    elements, rolling = tiers.elements(tx, ids), rollouts.under_way(tx, ids)
    for tier in of_farm:
        mine, rollout = elements.get(tier.id, []), rolling.get(tier.id)
        if rollout is None:
            if not complete(tier, mine):
                return False
        elif rollout.operation in (None, operation) or not enough(tier, mine):
            return False  # what was published in the meantime is nobody's to wait for
    return True


def _elsewhere(parts: Sequence[FarmPart]) -> str:
    """For which other regions it waits."""
    waits = [
        f"waits for {part.region}" + (f": {part.told}" if part.told else "")
        for part in parts
        if not part.settled
    ]
    return "; ".join(waits)


def _refused(parts: Sequence[FarmPart]) -> str:
    """What a region says that won't have its part as the document says now; it is asked again all the same."""
    return "; ".join(
        f"{part.region} refuses its part: {part.told}"
        for part in parts
        if part.state is PartState.REFUSED and not part.gone
    )


def _fail(tx: Tx, document: FarmDocument, told: str, at: datetime) -> None:
    """Nobody waits for the change any more. The farm goes on: what was refused may be allowed one day."""
    if document.operation is not None:
        operations.fail(tx, document.operation, at, Conflict(told))
    if document.operation is not None or told != document.told:
        farm_documents.note(tx, replace(document, operation=None, told=told))


def _end(tx: Tx, farm: Farm, document: FarmDocument, at: datetime) -> None:
    """The change that was asked for is done."""
    if document.operation is not None:
        operations.finish(tx, document.operation, at)
    if document.operation is not None and not rollouts.failed_with(tx, document.operation):
        text = f"{farm.name}: is as its document says"
        told = Event(at=at, account=farm.account, kind="farm.ready", subject=farm.id, text=text)
        events.add_many(tx, [told])
    farm_documents.note(tx, replace(document, attention=False, operation=None, told=""))
