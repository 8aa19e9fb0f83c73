"""What is to be done next for a tier, so that there are as many elements as there should be.

`next_acts` is all of it, and pure: what is known goes in, the next acts come out. Whoever does them may die at any time;
the next look finds what is left to do. An act is an ask that a customer could make by hand (docs/decisions/0022).

Acts keep an order, so that no request fails: a machine is a member before it runs, and is led to when its router has
seen it well; it gets nothing new (weight 0) before it is a member no more, is no member at its routers before it is
stopped. What stays with the element is its next machine's when this one is gone.

Who is kept ready is a member with weight 0: its routers look at it as at all others, and it serves as soon as they have
heard of another weight. Who serves and who is kept ready is chosen anew in each look (`_reserve`).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from arable.domain.element import Element, ElementEvent, ElementState
from arable.domain.ids import BalancerId, ElementId
from arable.domain.machine import LIVING, MachineState, MachineWish
from arable.domain.tier import Release, Tier

_S, _E = ElementState, ElementEvent
HOLDING = (_S.MAKING, _S.PROVING, _S.SERVING, _S.STANDBY)
"""States of elements that are to serve, now, soon or when they are needed."""
RESTING = (_S.SERVING, _S.STANDBY)
"""States in which nothing is under way."""
_FIRST = 5.0  # seconds before what was refused, or failed again, is tried again; then twice as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long is waited, in seconds."""

    ready: float = 600.0  # for a new element to serve, before it has failed
    heal: float = 30.0  # for one that is ill, before it is replaced
    drain: float = 60.0  # for those who are at a leaving one, before they are cut off
    stop: float = 60.0  # for its guest to shut down, before its plug is pulled
    longest: float = 300.0  # pause after refusals


class RouterNow(StrEnum):
    """What is known of a balancer's router."""

    ABSENT = "absent"  # it leads nobody anywhere
    SILENT = "silent"  # it may run; what it said last may be old
    HEARD = "heard"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberNow:
    """An element at one of the balancers that lead to its tier: what the row says, and what the router said last."""

    balancer: BalancerId
    wanted: int | None = None  # the row's weight, 0 while it drains; None: it is no member
    router: RouterNow = RouterNow.ABSENT
    settled: bool = False  # the router has all that it was told
    named: bool = False  # the router knows such a member
    weight: int | None = None  # as the router has it; None: not named, or not said
    sessions: int = 0  # that end at it now, said in one look with the weight
    answers: int = 0  # so far
    errors: int = 0  # among them
    well: bool | None = None  # its check; None: not looked at yet
    at: datetime | None = None  # when the router said so

    def idle(self, since: datetime) -> bool:
        """Nobody is led to it any more, and nobody is at it; what was said before it drained (`since`) does not count."""
        if self.router is not RouterNow.HEARD:
            return self.router is RouterNow.ABSENT
        if self.wanted is None:
            return self.out
        fresh = self.at is not None and self.at >= since
        return fresh and self.weight == 0 and self.sessions == 0

    @property
    def out(self) -> bool:
        """Its router does not know it any more."""
        if self.router is not RouterNow.HEARD:
            return self.router is RouterNow.ABSENT
        return self.wanted is None and self.settled and not self.named


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineNow:
    """An element's machine."""

    state: MachineState
    wish: MachineWish
    ran: bool = False  # ever
    force: bool = False  # its plug is being pulled
    host_lost: bool = False
    recovers: bool = False  # it is brought back elsewhere when its host is lost

    @property
    def off(self) -> bool:
        """It does not run, and does not come to by itself."""
        return self.state in (
            MachineState.STOPPED,
            MachineState.ERROR,
            MachineState.DESTROYED,
            MachineState.EXPUNGING,
            MachineState.GONE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementSeen:
    """What is known of an element now. No machine: the row of the one that it had is gone, or it has none."""

    element: Element
    machine: MachineNow | None = None
    members: tuple[MemberNow, ...] = ()  # one for each balancer that leads to the tier
    holds: bool = (
        False  # its next machine needs what this one has until it is gone: its address, or volumes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """What a rollout wants now: numbers that are to be made anew, and how many elements more than usual."""

    renew: frozenset[int] = frozenset()
    surge: int = 0


@dataclass(frozen=True, slots=True)
class Make:
    """Deploy machines for these numbers, and have them join the tier's balancers; those of `reserve` with weight 0."""

    numbers: tuple[int, ...]
    release: Release
    reserve: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Join:
    """It is to be a member of all its balancers, with its whole weight."""

    element: ElementId


@dataclass(frozen=True, slots=True)
class Hold:
    """It is to be a member of all its balancers, and to get nobody: it is kept ready."""

    element: ElementId


@dataclass(frozen=True, slots=True)
class Promote:
    """It was kept ready, and is needed."""

    element: ElementId


@dataclass(frozen=True, slots=True)
class Drain:
    """Lead nobody new to it."""

    element: ElementId


@dataclass(frozen=True, slots=True)
class TakeBack:
    """It is wanted after all."""

    element: ElementId


@dataclass(frozen=True, slots=True)
class Leave:
    """It is a member no more: nobody is at it (`SEE_IDLE`), those who are were waited for, or it failed."""

    element: ElementId
    event: ElementEvent
    told: str = ""
    cut_off: int = 0  # sessions


@dataclass(frozen=True, slots=True)
class Start:
    """Its guest has shut itself down."""

    element: ElementId


@dataclass(frozen=True, slots=True)
class Drop:
    """Its machine is to be erased; with `force` it is not waited for the guest."""

    element: ElementId
    force: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """It was seen, and nothing has to be asked for."""

    element: ElementId
    event: ElementEvent
    told: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """It keeps its machine, although somebody asked for another one."""

    element: ElementId
    told: str


@dataclass(frozen=True, slots=True)
class Dismiss:
    """There is no such element any more."""

    element: ElementId


Act = Make | Join | Hold | Promote | Drain | TakeBack | Leave | Start | Drop | Note | Keep | Dismiss


def pause(tries: int, longest: float) -> timedelta:
    """How long to wait after so many refusals or failures in a row."""
    return timedelta(seconds=min(_FIRST * 2.0 ** min(max(tries - 1, 0), 20), longest))


def wanted(tier: Tier, rolling: Rolling | None = None) -> int:
    """How many elements should serve now."""
    return 0 if tier.leaving else tier.count + (rolling.surge if rolling is not None else 0)


def held(tier: Tier, rolling: Rolling | None = None) -> int:
    """How many elements there should be now: with those that are kept ready.

    While there is a rollout there are none of these: what serves nobody proves nothing, and they would be of both releases.
    """
    ready = (
        0 if tier.leaving or rolling is not None else min(tier.body.standby, tier.most - tier.count)
    )
    return wanted(tier, rolling) + max(ready, 0)


def complete(tier: Tier, elements: Collection[Element], rolling: Rolling | None = None) -> bool:
    """As many serve, and are kept ready, as there should be, and there is nothing else."""
    want, serving = wanted(tier, rolling), sum(each.state is _S.SERVING for each in elements)
    rests = all(each.state in RESTING for each in elements)
    return rests and serving == want and len(elements) == held(tier, rolling)


def enough(tier: Tier, elements: Collection[Element]) -> bool:
    """As many serve as there should be, whatever else there is."""
    return sum(each.state is _S.SERVING for each in elements) >= wanted(tier)


def at_rest(tier: Tier, elements: Collection[Element]) -> bool:
    """It is complete, and all are of the tier's release: nothing is left to do for a rollout either."""
    return complete(tier, elements) and all(release(each) == tier.release for each in elements)


def release(element: Element) -> Release:
    """What its machine was made of."""
    return Release(element.blueprint_number, element.image_version)


def next_acts(
    tier: Tier,
    elements: Sequence[ElementSeen],
    rollout: Rolling | None,
    at: datetime,
    pace: Pace = Pace(),
) -> list[Act]:
    """What is to be done now: at most one act for an element, those that take away before those that make.

    By its own acts there are never fewer serving than `least`, or than served before if those were fewer.
    """
    rolling = rollout or Rolling()
    want, total = wanted(tier, rollout), held(tier, rollout)
    unwanted = _unwanted(tier, elements, want, total)
    renewed = {
        seen.element.id
        for seen in elements
        if seen.element.replaced
        or (seen.element.number in rolling.renew and release(seen.element) != tier.release)
    }
    there = [seen for seen in elements if seen.element.id not in unwanted]
    reserve = _reserve(there, want, renewed)
    spare = _spare(tier, elements)
    acts: list[Act] = []
    make: list[int] = []
    for seen in sorted(elements, key=lambda seen: seen.element.number):
        element = seen.element
        goes, ready = element.id in unwanted, element.id in reserve
        if element.state is _S.WAITING:
            if goes:
                acts.append(Dismiss(element.id))
            elif element.since + _rest(element, pace) <= at:
                make.append(element.number)
            continue
        ends = goes or element.id in renewed
        act = _sight(seen, at, pace, ready=ready, ends=ends)
        if act is None and not goes and element.replaced and never_spared(tier, element, total):
            act = Keep(element.id, NEVER_SPARED)
        if act is None and _steps_back(element, ends=ends, ready=ready):
            forced = element.by_force and element.replaced
            if element.state is not _S.SERVING or spare > 0 or forced:
                spare -= element.state is _S.SERVING
                act = Drain(element.id)
        elif act is None and element.state is _S.DRAINING and not ends and not ready:
            act = TakeBack(element.id)
        act = act or _ask(seen, at, pace, ready=ready)
        if act is not None:
            acts.append(act)
    fresh = list(_fresh(elements, total - len(elements)))
    make += fresh
    if make and not tier.leaving and (tier.again_at is None or tier.again_at <= at):
        spares = {seen.element.number for seen in there if seen.element.id in reserve}
        spares.update(fresh[max(want - (len(there) - len(reserve)), 0) :])
        acts.append(Make(tuple(make), tier.release, frozenset(spares.intersection(make))))
    return acts


def _steps_back(element: Element, *, ends: bool, ready: bool) -> bool:
    """Whether it is to get nobody new: it is not to be there, or is kept ready and still serves."""
    return element.state in HOLDING and (ends or (ready and element.state is _S.SERVING))


# Who goes first when there are too many: those that are going already, farthest first, then those that serve nobody.
_GOES = (
    *(_S.LEAVING, _S.DROPPING, _S.WAITING, _S.DRAINING),
    *(_S.MAKING, _S.PROVING, _S.STANDBY, _S.SERVING),
)
# Who serves first when some are kept ready: whoever does, then who could at once.
_FIRST_OF_ALL = (
    *(_S.SERVING, _S.PROVING, _S.STANDBY, _S.DRAINING),
    *(_S.MAKING, _S.WAITING, _S.LEAVING, _S.DROPPING),
)


def _reserve(
    there: Sequence[ElementSeen], want: int, renewed: Collection[ElementId]
) -> set[ElementId]:
    """Those of the elements that stay which are kept ready, when there are more of them than should serve.

    One whose check fails, or that gets another machine, is stood in for by one that is ready.
    """

    def key(seen: ElementSeen) -> tuple[bool, int, bool, int]:
        element, led_to = seen.element, _led_to(seen)
        unsure = element.state is _S.PROVING and not (led_to and _well(seen))
        order = _FIRST_OF_ALL.index(_S.MAKING if unsure else element.state)
        return element.id in renewed, order, not led_to, element.number

    return {seen.element.id for seen in sorted(there, key=key)[want:]}


def _well(seen: ElementSeen) -> bool:
    """All its routers say so."""
    return all(each.well and each.router is RouterNow.HEARD for each in seen.members)


def _led_to(seen: ElementSeen) -> bool:
    """It is a member of all its balancers, and not to get nobody."""
    return all(each.wanted for each in seen.members)


def _held(seen: ElementSeen) -> bool:
    """It is a member of all its balancers, and to get nobody."""
    return all(each.wanted == 0 for each in seen.members)


def _unwanted(tier: Tier, elements: Sequence[ElementSeen], want: int, total: int) -> set[ElementId]:
    """Those above the number wanted. Nothing is remembered of it: who goes already is chosen again."""
    serving = sum(seen.element.state is _S.SERVING for seen in elements)

    def key(element: Element) -> tuple[int, bool, bool, int]:
        # Of more than should serve one goes, not one that is ready in its place.
        state = _S.STANDBY if element.state is _S.SERVING and serving > want else element.state
        current = release(element) == tier.release
        return _GOES.index(state), element.state is _S.STANDBY, current, -element.number

    going = sorted((seen.element for seen in elements), key=key)
    return {element.id for element in going[: max(0, len(going) - total)]}


NEVER_SPARED = "fewer would serve than always should"


def never_spared(tier: Tier, element: Element, want: int) -> bool:
    """Whether it can't do without this one, of so many, for as long as another machine takes; not unless by force."""
    if tier.leaving or element.by_force or element.state is not _S.SERVING:
        return False
    return max(want - 1, 0) < bound(tier)


def bound(tier: Tier) -> int:
    """With fewer that serve none is taken away: so many there always should be, or what was asked for if that is less."""
    return 0 if tier.leaving else min(tier.least, tier.count)


def _spare(tier: Tier, elements: Sequence[ElementSeen]) -> int:
    """How many that serve may be drained now."""
    serving = sum(seen.element.state is _S.SERVING for seen in elements)
    return serving - bound(tier)


def _fresh(elements: Sequence[ElementSeen], missing: int) -> Iterator[int]:
    """The lowest numbers that nobody has."""
    taken = {seen.element.number for seen in elements}
    number = 0
    while missing > 0:
        number += 1
        if number not in taken:
            missing -= 1
            yield number


def _rest(element: Element, pace: Pace) -> timedelta:
    """How long one is left alone that has failed more than once in a row."""
    return pause(element.tries - 1, pace.longest) if element.tries > 1 else timedelta()


def _sight(seen: ElementSeen, at: datetime, pace: Pace, *, ready: bool, ends: bool) -> Act | None:
    """What was seen of it that it has not been told. `ready`: it is to be kept ready; `ends`: its machine is to go."""
    match seen.element.state:
        case _S.MAKING:
            return _making(seen, at, pace)
        case _S.PROVING:
            return _broken(seen) or _proving(seen, at, pace, ready=ready)
        case _S.SERVING:
            return _broken(seen) or _serving(seen)
        case _S.STANDBY:
            needed = None if ready or ends else Promote(seen.element.id)
            return _broken(seen) or _serving(seen) or needed
        case _S.DRAINING:
            return _draining(seen, at, pace, stays=ready and not ends)
        case _S.LEAVING:
            if all(member.out for member in seen.members):
                return Note(seen.element.id, _E.SEE_OUT)
        case _S.DROPPING:
            if _dropped(seen):
                return Note(seen.element.id, _E.SEE_DROPPED)
    return None


def _broken(seen: ElementSeen) -> Act | None:
    """It will not come back by itself."""
    id_, machine = seen.element.id, seen.machine
    if machine is None or machine.wish not in LIVING:
        return Leave(id_, _E.FAIL, "its machine was destroyed")
    if machine.state is MachineState.ERROR:
        return Leave(id_, _E.FAIL, "its machine could not be started")
    if machine.host_lost and not machine.recovers:
        return Leave(id_, _E.FAIL, "its host is lost")
    return None


def _making(seen: ElementSeen, at: datetime, pace: Pace) -> Act | None:
    element, machine = seen.element, seen.machine
    if machine is None:
        return Note(element.id, _E.REFUSE, "there was no room for its machine")
    if broken := _broken(seen):
        return broken
    if machine.off and not machine.ran:
        return Leave(element.id, _E.FAIL, "there was no room for its machine")
    if machine.state is MachineState.RUNNING and not machine.host_lost:
        return Note(element.id, _E.SEE_RUN)
    if _since(element, at) >= pace.ready:
        return Leave(
            element.id, _E.FAIL, f"its machine did not run within {pace.ready:.0f} seconds"
        )
    return None


def _proving(seen: ElementSeen, at: datetime, pace: Pace, *, ready: bool) -> Act | None:
    element = seen.element
    if _away(seen):
        return Note(element.id, _E.SEE_OFF, "its machine does not run")
    if _well(seen):
        if ready:
            return Note(element.id, _E.SEE_READY) if _held(seen) else None
        # A router that has it with weight 0 has not heard yet that it is needed.
        led_to = _led_to(seen) and all(member.weight != 0 for member in seen.members)
        return Note(element.id, _E.SEE_WELL) if led_to else None
    if any(member.router is not RouterNow.HEARD for member in seen.members):
        return None  # nobody looks at it, which says nothing about it
    limit = pace.ready if element.tries else pace.heal
    if _since(element, at) < limit:
        return None
    return Leave(element.id, _E.FAIL, f"it was not seen well for {limit:.0f} seconds")


def _serving(seen: ElementSeen) -> Act | None:
    element = seen.element
    if _away(seen):
        return Note(element.id, _E.SEE_OFF, "its machine does not run")
    if any(m.well is False and m.router is RouterNow.HEARD for m in seen.members):
        return Note(element.id, _E.SEE_ILL, "its check fails")
    return None


def _draining(seen: ElementSeen, at: datetime, pace: Pace, *, stays: bool) -> Act | None:
    element, machine = seen.element, seen.machine
    broken = _broken(seen)
    if broken is not None or (machine is not None and machine.off):
        return broken or Leave(element.id, _E.FAIL, "its machine was stopped")
    if all(member.idle(element.since) for member in seen.members):
        return Note(element.id, _E.REST) if stays else Leave(element.id, _E.SEE_IDLE)
    if _since(element, at) >= pace.drain and not stays:
        left = sum(member.sessions for member in seen.members)
        return Leave(element.id, _E.SEE_IDLE, f"{left} sessions were cut off", left)
    return None


def patience(element: Element, pace: Pace) -> datetime | None:
    """Until when it may stay as it is, if nothing happens; None: for good."""
    match element.state:
        case _S.MAKING:
            seconds = pace.ready
        case _S.PROVING:
            seconds = pace.ready if element.tries else pace.heal
        case _S.DRAINING:
            seconds = pace.drain
        case _S.DROPPING:
            seconds = pace.stop
        case _S.WAITING:
            return element.since + _rest(element, pace)
        case _:
            return None
    return element.since + timedelta(seconds=seconds)


def _away(seen: ElementSeen) -> bool:
    machine = seen.machine
    return machine is not None and (machine.state is not MachineState.RUNNING or machine.host_lost)


def _dropped(seen: ElementSeen) -> bool:
    """Its machine is gone; or is only left to be erased, which nobody has to wait for."""
    machine = seen.machine
    if machine is None:
        return True
    erased = machine.wish is MachineWish.GONE and (machine.off or machine.host_lost)
    return erased and not seen.holds


def _ask(seen: ElementSeen, at: datetime, pace: Pace, *, ready: bool) -> Act | None:
    """What has to be asked for in its state."""
    element, machine = seen.element, seen.machine
    if machine is None:
        return None
    if element.state in HOLDING:
        if ready and element.state is not _S.SERVING and not _held(seen):
            return Hold(element.id)
        if not ready and not _led_to(seen):
            return Join(element.id)
        if machine.state is MachineState.STOPPED:
            return Start(element.id)
        return None
    if element.state is not _S.DROPPING:
        return None
    late = _since(element, at) >= pace.stop and not machine.force
    if machine.wish is MachineWish.GONE:
        return Drop(element.id, force=True) if late and not machine.off else None
    return Drop(element.id, force=late and not machine.off)


def _since(element: Element, at: datetime) -> float:
    return (at - element.since).total_seconds()
