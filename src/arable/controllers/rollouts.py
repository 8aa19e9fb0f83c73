"""Rollouts go on, end and turn back; and tiers that follow what was published get theirs.

It is a part of the tiers' round (`controllers/tiers`): what it decides by `domain/rollout_acts` is which numbers may be
made anew, which the round's acts then do. All that it remembers is in the rollout's row, written in the round's
transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from arable.controllers.owner import Owner
from arable.domain.element import Element
from arable.domain.errors import CloudError, Conflict
from arable.domain.event import Event
from arable.domain.ids import BalancerId, ElementId, TierId
from arable.domain.rollout import Cause, Rollout, RolloutEvent, RolloutState
from arable.domain.rollout_acts import Step, failures, next_step
from arable.domain.tier import Follows, Release, Tier
from arable.domain.tier_acts import Act, ElementSeen, Rolling
from arable.store import blueprints, elements, events, images, operations, rollouts
from arable.store.database import Tx

_AGAIN = timedelta(seconds=30)
"""How often one is looked at whatever happens, and after something was refused."""
_S, _E = RolloutState, RolloutEvent


class Hands(Protocol):
    """What can be asked for a farm."""

    def begin_rollout(self, tx: Tx, owner: Owner, tier: Tier, goal: Release) -> Tier:
        """What the tier follows was published. The tier from then on, which is as it was if that was refused."""

    def set_check(self, tx: Tx, owner: Owner, balancer: BalancerId, tier: Tier) -> None:
        """Its members are looked at as the tier's version says."""


def look(
    hands: Hands,
    tx: Tx,
    at: datetime,
    tiers: Sequence[Tier],
    seen: Mapping[TierId, Sequence[ElementSeen]],
) -> "Rolled":
    """What is wanted of these tiers (held by whoever calls) in this round."""
    found = rollouts.under_way(tx, [tier.id for tier in tiers])
    rolled = Rolled(hands, tx, at)
    for tier in tiers:
        now = tier
        rollout = found.get(tier.id)
        if rollout is not None:
            now, rollout = rolled.step(tier, rollout, seen[tier.id])
        if rollout is None and tier.automatic and not tier.leaving:
            now = rolled.follow(now, seen[tier.id])
        rolled.tiers.append(now)
    return rolled


@dataclass(slots=True)
class Rolled:
    """The rollouts of one round: tiers as they are by now, and what rollouts want of them."""

    hands: Hands
    tx: Tx
    at: datetime
    tiers: list[Tier] = field(default_factory=list)
    wants: dict[TierId, Rolling] = field(default_factory=dict)
    _under_way: dict[TierId, Rollout] = field(default_factory=dict)

    def step(
        self, tier: Tier, rollout: Rollout, seen: Sequence[ElementSeen]
    ) -> tuple[Tier, Rollout | None]:
        """One rollout goes on. The tier from then on, and the rollout unless it is over."""
        step = next_step(tier, rollout, seen, self.at)
        if step.event is _E.TURN_BACK:
            rollout = rollout.after(
                _E.TURN_BACK, self.at, cause=Cause.FAILURES, told=step.told, renewed=0
            )
            tier = rollouts.turn_back(self.tx, tier, rollout)
            self._tell(tier, rollout, "rollout.turned-back", f"is turned back: {step.told}")
            step = next_step(tier, rollout, seen, self.at)
        refused = ""
        if step.event is _E.FINISH and rollout.state is _S.ROLLING:
            refused = self._look_anew(tier)
        if step.event is not None and not refused:
            self._end(tier, rollout, step)
            return tier, None
        self.wants[tier.id] = step.rolling
        self._under_way[tier.id] = self._noted(tier, rollout, step, refused)
        return tier, rollout

    def _noted(self, tier: Tier, rollout: Rollout, step: Step, refused: str) -> Rollout:
        """How far it is, written if that is news."""
        told = refused or step.told or (rollout.told if self._speaks(rollout) else "")
        due_at = rollout.due_at
        if refused:
            due_at = self.at + _AGAIN
        elif rollout.state is _S.PAUSED:
            due_at = None
        elif step.due_at is not None:
            due_at = step.due_at
        elif due_at is None or due_at <= self.at:
            due_at = self.at + _AGAIN
        renewed = step.renewed
        if (told, due_at, renewed) == (rollout.told, rollout.due_at, rollout.renewed):
            return rollout
        now = rollout.changed(told=told, due_at=due_at, renewed=renewed)
        rollouts.save(self.tx, now)
        if renewed != rollout.renewed:
            self._advance(tier, now, f"{renewed} of {tier.count} elements {_done(now)}")
        elif told and told != rollout.told:
            self._advance(tier, now, told)
        return now

    @staticmethod
    def _speaks(rollout: Rollout) -> bool:
        """Whether what it was told is why it is as it is, and no longer of what it waited for."""
        return rollout.state is not _S.ROLLING or bool(rollout.failures)

    def _look_anew(self, tier: Tier) -> str:
        """All elements are of the new version: its check holds from now on. Why not, if that is refused."""
        owner = Owner.of(self.tx, tier)
        try:
            with self.tx.begin_nested():
                for door in elements.there(self.tx, tier.body.doors):
                    self.hands.set_check(self.tx, owner, door.balancer, tier)
        except CloudError as error:
            return error.public
        return ""

    def _end(self, tier: Tier, rollout: Rollout, step: Step) -> None:
        event = step.event or _E.FINISH
        why = {"told": step.told} if step.told else {}
        now = rollout.after(event, self.at, due_at=None, renewed=step.renewed, **why)
        rollouts.save(self.tx, now)
        if now.state is _S.DONE:
            self._tell(tier, now, "rollout.done", f"all {tier.count} elements were renewed")
        else:
            self._tell(tier, now, "rollout.failed", f"is of the release before: {now.told}")
        if now.operation is None:
            return
        wanted = now.state is _S.DONE or (now.cause is Cause.HAND and event is _E.FINISH)
        error = None if wanted else Conflict(f"{tier.name} was turned back: {now.told}")
        if event is _E.DROP:
            error = Conflict(f"superseded: {now.told}")
        self._advance(tier, now, f"{step.renewed} of {tier.count} elements {_done(now)}")
        operations.settle_many(self.tx, {now.operation: (1, error)}, self.at)

    def count_failures(
        self,
        tier: Tier,
        seen: Sequence[ElementSeen],
        acts: Sequence[Act],
        after: Mapping[ElementId, Element],
    ) -> None:
        """Keep how often new elements failed in this round; what was refused to be done has not happened."""
        rollout = self._under_way.get(tier.id)
        if rollout is None:
            return
        before = {each.element.id: each.element for each in seen}
        failed = [
            f"{tier.name}-{before[id_].number}: {told}"
            for id_, told in failures(rollout, seen, acts, self.at)
            if id_ in after and after[id_].state is not before[id_].state
        ]
        if failed:
            count = rollout.failures + len(failed)
            now = rollout.changed(failures=count, told=failed[-1], due_at=self.at)
            rollouts.save(self.tx, now)

    # --- what is published

    def follow(self, tier: Tier, seen: Sequence[ElementSeen]) -> Tier:
        """Begin with the newest of what it follows, unless that failed before. The tier from then on."""
        goal = newest(self.tx, tier)
        if goal == tier.release or goal in rollouts.failed(self.tx, tier.id):
            return tier
        now = self.hands.begin_rollout(self.tx, Owner.of(self.tx, tier), tier, goal)
        begun = rollouts.under_way(self.tx, [tier.id]).get(tier.id)
        if begun is not None:
            now, _ = self.step(now, begun, seen)
        return now

    # --- words

    def _advance(self, tier: Tier, rollout: Rollout, text: str) -> None:
        if rollout.operation is not None:
            operations.advance(self.tx, rollout.operation, f"{tier.name}: {text}", self.at)

    def _tell(self, tier: Tier, rollout: Rollout, kind: str, text: str) -> None:
        farm, _ = elements.names(self.tx, [tier.farm])[tier.farm]
        event = Event(
            at=self.at,
            account=tier.account,
            kind=kind,
            subject=rollout.id,
            text=f"{farm}-{tier.name}: {text}",
            data={"tier": tier.id, "farm": tier.farm},
        )
        events.add_many(self.tx, [event])


def newest(tx: Tx, tier: Tier) -> Release:
    """The newest that a tier follows; what it does not follow stays."""
    number = tier.blueprint_number
    if tier.body.newest:
        number = next(iter(blueprints.versions(tx, [tier.blueprint])[tier.blueprint]))
    image = blueprints.version(tx, tier.blueprint, number).body.image
    follows = tier.body.follows
    if follows is Follows.PINNED or (follows is Follows.ASKED and image == tier.image):
        return Release(number, tier.image_version)
    try:
        return Release(number, images.version(tx, image).number)
    except CloudError:  # it has none any more
        return tier.release


def _done(rollout: Rollout) -> str:
    return "renewed" if rollout.state in (_S.ROLLING, _S.PAUSED, _S.DONE) else "as before again"
