"""What a rollout wants next: which elements are to be made anew now, whether it is over, and whether it turns back.

`next_step` is all of it, and pure, as `tier_acts.next_acts` is, which does what is wanted here. Nothing is remembered
but how many new elements failed. What is to be done next follows from what the elements are made of, and since when
they serve, so whoever looks may die at any time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from arable.domain.element import Element, ElementEvent, ElementState
from arable.domain.ids import ElementId
from arable.domain.machine import LIVING, MachineState
from arable.domain.rollout import Rollout, RolloutEvent, RolloutState
from arable.domain.tier import Tier
from arable.domain.tier_acts import (
    HOLDING,
    Act,
    ElementSeen,
    Leave,
    MachineNow,
    Note,
    Rolling,
    complete,
    release,
)

_S = ElementState
_ENOUGH = 20  # answers, from which on a share of errors says something
_NOTHING = Rolling()
_MISSING = timedelta(seconds=10)
"""Between looks, when nothing can be done for want of elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is wanted now. `event`: what becomes of the rollout, and `told` why; else `told` is what it waits for.

    `due_at`: when to look again even if nothing happens to any element.
    """

    rolling: Rolling = _NOTHING
    event: RolloutEvent | None = None
    told: str = ""
    due_at: datetime | None = None
    renewed: int = 0


def next_step(tier: Tier, rollout: Rollout, elements: Sequence[ElementSeen], at: datetime) -> Step:
    """What is wanted now of a rollout that is not over, of a tier whose release is what elements should be made of.

    What it wants leaves at least as many serving as there should be, less those that may be missing, and never fewer
    than the tier's least; with those that are made besides there are never more than `surge` too many. While there is a canary
    that has not served for long enough, there are no more new ones than it has.
    """
    if tier.leaving:
        return Step(event=RolloutEvent.DROP, told="its tier is leaving")
    look = _Look.of(tier, rollout, [seen.element for seen in elements], at)
    if rollout.state is RolloutState.PAUSED:
        # Who is too many stays; who is draining is taken back.
        more = min(max(len(elements) - tier.count, 0), look.surge)
        return Step(rolling=Rolling(surge=more), told=rollout.told, renewed=look.renewed)
    rolls = rollout.state is RolloutState.ROLLING
    if rolls and (why := _failed(tier, rollout, elements)):
        return Step(event=RolloutEvent.TURN_BACK, told=why, renewed=look.renewed)
    if look.settled:
        over = complete(tier, look.elements, _NOTHING)
        return Step(event=RolloutEvent.FINISH if over else None, renewed=look.renewed)
    return look.step(at)


@dataclass(frozen=True, slots=True)
class _Look:
    """A tier's elements, as a rollout looks at them."""

    tier: Tier
    elements: Sequence[Element]
    surge: int
    fewer: int
    bake: timedelta
    old: Sequence[Element]
    fresh: Sequence[Element]  # of the tier's release
    proven: Sequence[Element]  # those of them that served for long enough
    canary: int = 0  # so many new ones at most, until they have served for long enough; 0: it is over, or there is none

    @classmethod
    def of(cls, tier: Tier, rollout: Rollout, elements: Sequence[Element], at: datetime) -> "_Look":
        # What comes back has served before.
        back = rollout.state is RolloutState.BACK
        bake = timedelta(seconds=0 if back else rollout.policy.bake_seconds)
        surge = min(rollout.policy.surge, tier.count)
        made = [each for each in elements if each.state is not _S.WAITING]
        fresh = [each for each in made if release(each) == tier.release]
        canary = 0 if back else rollout.policy.canaries(tier.count)
        watched = max(bake, timedelta(seconds=rollout.policy.canary_seconds))
        old = [each for each in made if release(each) != tier.release]
        if not old or len(_proven(fresh, at, watched)) >= canary:
            canary = 0
        if canary:
            bake = watched
            # Who is too many and was made before it came to this stays.
            more = len(elements) - tier.count
            surge = max(min(surge, canary), min(surge, more))
        return cls(
            tier=tier,
            elements=elements,
            surge=surge,
            fewer=rollout.policy.unavailable,
            bake=bake,
            old=old,
            fresh=fresh,
            proven=_proven(fresh, at, bake),
            canary=canary,
        )

    @property
    def settled(self) -> bool:
        """All that stay are as they should be; whoever is too many goes, which are the highest numbers."""
        stay = sorted(self.elements, key=_number)[: self.tier.count]
        return len(stay) == self.tier.count and all(each in self.proven for each in stay)

    @property
    def renewed(self) -> int:
        """How many are as they should be; those that are too many come first, and are not counted."""
        return max(0, len(self.proven) - max(0, len(self.elements) - self.tier.count))

    def step(self, at: datetime) -> Step:
        going = [each.number for each in self.old if each.state not in HOLDING]
        young = [each for each in self.fresh if each not in self.proven]
        waiting = [each for each in self.elements if each.state is _S.WAITING]
        picked: list[int] = []
        if not young and not any(each.tries for each in waiting):
            absent = max(self.tier.count + self.surge - len(self.elements), 0)
            picked = self._picked(len(going) + len(waiting) + absent)
        told, due_at = "", None
        if picked:
            due_at = at + timedelta(seconds=1)
        elif young and all(each.state is _S.SERVING for each in young):
            due_at = max(each.since for each in young) + self.bake
            if self.canary:
                told = f"its canary, {len(self.fresh)} of {self.tier.count}, is watched for {self.bake.total_seconds():.0f} s"
        elif not (young or going or waiting or self._missing):
            told = f"none may be missing: at least {self._floor} have to serve"
            due_at = at + _MISSING
        rolling = Rolling(renew=frozenset([*going, *picked]), surge=self.surge)
        return Step(rolling=rolling, told=told, due_at=due_at, renewed=self.renewed)

    @property
    def _floor(self) -> int:
        """So many serve at least, if that is up to us."""
        count = self.tier.count
        return max(count - self.fewer, min(self.tier.least, count), 0)

    @property
    def _missing(self) -> int:
        """How many are to be made that nobody has begun with."""
        return max(self.tier.count + self.surge - len(self.elements), 0)

    def _picked(self, away: int) -> list[int]:
        """Those to be made anew next, when `away` are on their way: first those that serve nobody."""
        room = self.surge + self.fewer - away
        if self.canary:
            room = min(room, self.canary - len(self.fresh) - away)
        serving = sum(each.state is _S.SERVING for each in self.elements)
        spare = max(min(serving, self.tier.count + self.surge) - self._floor, 0)
        there = sorted((each for each in self.old if each.state in HOLDING), key=_number)
        idle = [each.number for each in there if each.state is not _S.SERVING][: max(room, 0)]
        busy = [each.number for each in there if each.state is _S.SERVING]
        return idle + busy[: max(min(room - len(idle), spare), 0)]


def _proven(fresh: Sequence[Element], at: datetime, bake: timedelta) -> list[Element]:
    return [each for each in fresh if each.state is _S.SERVING and at - each.since >= bake]


def _number(element: Element) -> int:
    return element.number


def _failed(tier: Tier, rollout: Rollout, elements: Sequence[ElementSeen]) -> str:
    """Why it turns back; empty: it does not."""
    count, may = rollout.failures, rollout.policy.failures
    if count > may:
        return f"{count} of its new elements failed, {may} may: {rollout.told}"
    new = _errors(tier, elements, new=True)
    if new is None:
        return ""
    old = _errors(tier, elements, new=False) or 0.0
    if new <= old + rollout.policy.errors_percent:
        return ""
    return f"{new:.0f} % of what its new elements answer are errors, of others {old:.0f} %"


def _errors(tier: Tier, elements: Sequence[ElementSeen], *, new: bool) -> float | None:
    """How many in a hundred answers are errors; None: too few to tell."""
    members = [
        member
        for seen in elements
        if seen.element.state is not _S.WAITING and (release(seen.element) == tier.release) is new
        for member in seen.members
    ]
    answers = sum(member.answers for member in members)
    if answers < _ENOUGH:
        return None
    return 100.0 * sum(member.errors for member in members) / answers


def failures(
    rollout: Rollout, elements: Sequence[ElementSeen], acts: Sequence[Act], at: datetime
) -> Iterator[tuple[ElementId, str]]:
    """The new elements that failed by what these acts say, and why: what is to be held against the new release.

    One that stops, or is ill, before it has served for long enough is one of them. One without room, whose host is lost
    or whose machine somebody destroyed is not.
    """
    if rollout.state is not RolloutState.ROLLING:
        return
    policy = rollout.policy
    bake = timedelta(
        seconds=max(policy.bake_seconds, policy.canary_seconds if policy.canary else 0)
    )
    known = {seen.element.id: seen for seen in elements}
    for act in acts:
        if not isinstance(act, Leave | Note):
            continue
        seen = known[act.element]
        element = seen.element
        if (
            release(element) != rollout.goal
            or element.state not in HOLDING
            or _excused(seen.machine)
        ):
            continue
        early = element.state is _S.PROVING or at - element.since < bake
        fails = act.event is ElementEvent.FAIL
        if fails or (early and act.event in (ElementEvent.SEE_ILL, ElementEvent.SEE_OFF)):
            yield element.id, act.told


def _excused(machine: MachineNow | None) -> bool:
    """What befell it is not for what it is made of."""
    if machine is None or machine.host_lost or machine.wish not in LIVING:
        return True
    return not machine.ran and machine.state in (MachineState.WAITING, MachineState.STOPPED)
