"""Farms become what their documents say, as far as tiers do not: what a document no longer says goes when nothing needs it.

The change that was asked for is done when every tier is as it should be and nothing is left to go. A farm that was
deleted goes with the last of what it made. That is asked of `Hands` in a round of its own, which holds nothing of a farm
before the account's limits: whoever asks for something of several kinds takes them in that order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from arable.domain.element import Element
from arable.domain.errors import CloudError, Conflict
from arable.domain.event import Event
from arable.domain.farm import Farm, FarmDocument, FarmState
from arable.domain.farm_part import FarmPart, PartState
from arable.domain.ids import FarmId, OperationId, SegmentId, TierId
from arable.domain.rollout import Rollout
from arable.domain.tier import Tier
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
    lacking, alone = _first(tx, wanted)
    others = [each for each in wanted if each not in lacking and each not in alone]
    for farm in farms.by_account(tx, others):
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
            and _complete(_Tiers.of(tx, [farm.id]), farm.id, document.operation)
        ):
            _end(tx, farm, document, at)
            done += 1
        elif told != document.told:
            farm_documents.note(tx, replace(document, told=told))
    # After those for which limits are held: whoever holds an account's limits may wait for one of these documents.
    return done + _end_first(tx, alone, at)


@dataclass(frozen=True, slots=True)
class _Tiers:
    """Tiers of some farms, with their elements and what is rolled out."""

    of_farm: Mapping[FarmId, Sequence[Tier]]
    elements: Mapping[TierId, Sequence[Element]]
    rolling: Mapping[TierId, Rollout]

    @classmethod
    def of(cls, tx: Tx, ids: Sequence[FarmId]) -> "_Tiers":
        found = tiers.of_farms(tx, ids)
        every = [tier.id for of in found.values() for tier in of]
        return cls(found, tiers.elements(tx, every), rollouts.under_way(tx, every))


def _first(tx: Tx, wanted: Sequence[FarmId]) -> tuple[set[FarmId], list[FarmId]]:
    """Of those with their first document: which still lack elements, and which don't, and are nowhere else.

    Of neither is anything to be let go. Asked of all together; each of the others is held with all that it has, which is
    too much for every look at a farm that is just being made.
    """
    first = [id_ for id_, each in farm_documents.of(tx, wanted).items() if _is_first(each)]
    found = tiers.of_farms(tx, first)
    serving = tiers.serving(tx, [tier.id for of in found.values() for tier in of])
    lacking = {
        farm for farm, of in found.items() if any(serving.get(t.id, 0) < t.count for t in of)
    }
    there = [id_ for id_ in first if id_ not in lacking]
    elsewhere = farm_regions.of(tx, there)
    return lacking, [id_ for id_ in there if id_ not in elsewhere]


def _is_first(document: FarmDocument) -> bool:
    return document.generation == 1 and document.state is FarmState.READY and not document.told


def _end_first(tx: Tx, alone: Sequence[FarmId], at: datetime) -> int:
    """Those of these that have all that their first document says; how many."""
    if not alone:
        return 0
    held = farm_documents.held_of(tx, alone)
    held = {id_: each for id_, each in held.items() if _is_first(each)}  # changed just now: later
    known = _Tiers.of(tx, list(held))
    done = [each for each in held if _complete(known, each, held[each].operation)]
    for farm in farms.by_account(tx, done):
        _end(tx, farm, held[farm.id], at)
    return len(done)


def _complete(known: _Tiers, farm: FarmId, operation: OperationId | None) -> bool:
    for tier in known.of_farm.get(farm, ()):
        mine, rollout = known.elements.get(tier.id, ()), known.rolling.get(tier.id)
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
