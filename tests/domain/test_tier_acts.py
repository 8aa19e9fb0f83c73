"""What is done next for a tier, whatever its elements are at: it comes to rest, in an order that fails nobody."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arable.domain.element import ELEMENT, Element, ElementEvent, ElementState
from arable.domain.machine import MachineState, MachineWish
from arable.domain.tier import Body, Release, Tier
from arable.domain.tier_acts import (
    HOLDING,
    Dismiss,
    Drain,
    Drop,
    ElementSeen,
    Hold,
    Join,
    Keep,
    Leave,
    MachineNow,
    Make,
    MemberNow,
    Note,
    Pace,
    Promote,
    Rolling,
    RouterNow,
    Start,
    TakeBack,
    at_rest,
    next_acts,
    pause,
    release,
)

S, E, M, W = ElementState, ElementEvent, MachineState, MachineWish
AT = datetime(2030, 1, 1, tzinfo=UTC)
NEW, OLD = Release(1, 2), Release(1, 1)
PACE = Pace()


def tier(**but) -> Tier:
    ids = {"id": "tier-1", "farm": "farm-1", "account": "account-1", "zone": "zone-1"}
    made = {"blueprint": "blueprint-1", "blueprint_number": 1, "image": "image-1"}
    of = {"name": "web", "image_version": 2, "body": Body(networks=()), "created_at": AT}
    return Tier(**ids | made | of | {"least": 0, "most": 9, "count": 2} | but)


def element(number: int, state: S = S.SERVING, made: Release = NEW, **but) -> Element:
    ids = {"id": f"element-{number}", "tier": "tier-1", "farm": "farm-1", "account": "account-1"}
    now = {"number": number, "state": state, "since": AT, "machine": f"machine-{number}"}
    of = {"blueprint_number": made.blueprint, "image_version": made.image}
    return Element(**ids | now | of | but)


RUNS = MachineNow(state=M.RUNNING, wish=W.RUNNING, ran=True)
WELL = MemberNow(
    balancer="balancer-1",
    wanted=1,
    router=RouterNow.HEARD,
    settled=True,
    named=True,
    weight=1,
    well=True,
    at=AT,
)


def seen(of: Element, machine: MachineNow | None = RUNS, *members: MemberNow) -> ElementSeen:
    return ElementSeen(element=of, machine=machine, members=members or (WELL,))


def acts(known: list[ElementSeen], at: float = 0.0, rollout: Rolling | None = None, **but):
    return next_acts(tier(**but), known, rollout, AT + timedelta(seconds=at))


# --- a model of everything around a tier, that tells the truth and takes its time


@dataclass
class Router:
    """It has what it was told once it was looked at; what it says is as old as the last word that was heard."""

    told: dict[str, int] = field(default_factory=dict)  # weights, as rows say
    has: dict[str, int] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    well: set[str] = field(default_factory=set)
    heard: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    at: datetime | None = None
    state: RouterNow = RouterNow.HEARD

    def applies(self) -> None:
        if self.state is RouterNow.HEARD:
            self.has = dict(self.told)

    def says(self, at: datetime) -> None:
        if self.state is RouterNow.HEARD:
            self.at = at
            self.heard = {
                id_: (weight, self.sessions.get(id_, 0), id_ in self.well)
                for id_, weight in self.has.items()
            }

    def now(self, id_: str) -> MemberNow:
        weight, sessions, well = self.heard.get(id_, (None, 0, None))
        return MemberNow(
            balancer="balancer-1",
            wanted=self.told.get(id_),
            router=self.state,
            settled=self.has == self.told,
            named=id_ in self.heard,
            weight=weight,
            sessions=sessions,
            well=well,
            at=self.at,
        )


@dataclass
class Model:
    tier: Tier
    elements: dict[str, Element]
    machines: dict[str, MachineNow]
    router: Router = field(default_factory=Router)
    at: datetime = AT
    crowd: int = 0
    room: int = 99
    rollout: Rolling | None = None
    asked: int = 0

    def sights(self) -> list[ElementSeen]:
        return [
            ElementSeen(
                element=each,
                machine=self.machines.get(each.machine) if each.machine else None,
                members=(self.router.now(each.id),),
            )
            for each in self.elements.values()
        ]

    def serving(self) -> int:
        return sum(each.state is S.SERVING for each in self.elements.values())

    def round(self) -> int:
        found = next_acts(self.tier, self.sights(), self.rollout, self.at)
        named = [act.element for act in found if not isinstance(act, Make)]
        assert len(named) == len(set(named))
        ends = sum(
            isinstance(act, Drain) and self.takes_away(self.elements[act.element]) for act in found
        )
        least = 0 if self.tier.leaving else min(self.tier.least, self.tier.count)
        assert not ends or self.serving() - ends >= least
        for act in found:
            self.do(act)
        return len(found)

    @staticmethod
    def takes_away(each: Element) -> bool:
        """One that serves, and nobody said that it is to go whatever happens."""
        return each.state is S.SERVING and not (each.by_force and each.replaced)

    def event(self, id_: str, event: E, **but) -> None:
        self.elements[id_] = self.elements[id_].after(event, self.at, **but)

    def do(self, act) -> None:
        match act:
            case Make(numbers, made, reserve):
                for number in numbers:
                    self.make(number, made, weight=int(number not in reserve))
            case Join(id_):
                self.router.told[id_] = 1
            case Hold(id_):
                self.router.told[id_] = 0
            case Promote(id_):
                self.router.told[id_] = 1
                self.event(id_, E.PROMOTE)
            case Drain(id_):
                self.router.told[id_] = 0
                self.event(id_, E.DRAIN)
            case TakeBack(id_):
                self.router.told[id_] = 1
                self.event(id_, E.TAKE_BACK)
            case Leave(id_, event):
                if event is E.SEE_IDLE and not act.cut_off:
                    self.nobody_is_led(id_)
                self.router.told.pop(id_, None)
                self.event(id_, event, tries=self.elements[id_].tries + (event is E.FAIL))
            case Start(id_):
                self.turn(id_, state=M.WAITING, wish=W.RUNNING)
            case Drop(id_, force):
                self.no_member(id_)
                off = self.machine(id_).off
                self.turn(id_, state=M.EXPUNGING if off else M.STOPPING, wish=W.GONE, force=force)
            case Keep(id_):
                assert not self.elements[id_].by_force
                self.elements[id_] = self.elements[id_].changed(replaces=None)
            case Note(id_, event):
                each = self.elements[id_]
                if event is E.SEE_WELL:
                    assert self.router.told[id_], "it serves nobody"
                if event in (E.SEE_READY, E.REST):
                    assert self.router.told[id_] == 0, "it is led to"
                good = event in (E.SEE_WELL, E.SEE_READY, E.REST)
                if good and each.replaces and not each.replaced:
                    self.elements[id_] = each.changed(replaces=None, by_force=False)
                if event is E.SEE_DROPPED:
                    self.event(id_, event, machine=None)
                elif event is E.REFUSE:
                    self.event(id_, event, machine=None, tries=self.elements[id_].tries + 1)
                else:
                    self.event(id_, event, **({"tries": 0} if good else {}))
            case Dismiss(id_):
                self.event(id_, E.DISMISS)
                del self.elements[id_]

    def make(self, number: int, made: Release, weight: int = 1) -> None:
        id_ = f"element-{number}"
        there = self.elements.setdefault(id_, element(number, S.WAITING, machine=None))
        self.asked += 1
        machine = f"machine-{number}-{self.asked}"  # never the name of one that went
        self.machines[machine] = MachineNow(state=M.WAITING, wish=W.RUNNING)
        self.router.told[id_] = weight
        self.elements[id_] = there.after(
            E.MAKE,
            self.at,
            machine=machine,
            tries=there.tries + 1,
            blueprint_number=made.blueprint,
            image_version=made.image,
        )

    def nobody_is_led(self, id_: str) -> None:
        """What this is all for: nobody is cut off but those who were waited for long enough."""
        if (self.at - self.elements[id_].since).total_seconds() < PACE.drain:
            assert not self.router.has.get(id_)
            assert not self.router.sessions.get(id_)

    def no_member(self, id_: str) -> None:
        assert id_ not in self.router.told
        assert id_ not in self.router.has

    def machine(self, id_: str) -> MachineNow:
        return self.machines[self.elements[id_].machine]

    def turn(self, id_: str, **but) -> None:
        self.machines[self.elements[id_].machine] = replace(self.machine(id_), **but)

    def moves(self, what: str) -> None:
        """Something around them goes on."""
        match what:
            case "machines":
                for id_, machine in list(self.machines.items()):
                    self.goes_on(id_, machine)
            case "router applies":
                self.router.applies()
            case "router says":
                self.router.says(self.at)
            case "checks":
                self.router.well = {
                    each.id
                    for each in self.elements.values()
                    if each.machine in self.machines
                    and self.machines[each.machine].state is M.RUNNING
                }
            case "people come":
                for id_, weight in self.router.has.items():
                    if weight and id_ in self.router.well and self.crowd:
                        self.router.sessions[id_] = 1
            case "people go":
                self.router.sessions.clear()
            case "replace" | "replace by force":
                for id_, each in list(self.elements.items())[:1]:
                    if each.state in HOLDING and each.machine and not each.replaces:
                        self.elements[id_] = each.changed(
                            replaces=each.machine, by_force=what == "replace by force"
                        )
            case "router is silent":
                self.router.state = RouterNow.SILENT
            case "router speaks":
                self.router.state = RouterNow.HEARD
        self.at += timedelta(seconds=1)

    def goes_on(self, id_: str, machine: MachineNow) -> None:
        match machine.state:
            case M.WAITING if self.running() < self.room:
                self.machines[id_] = replace(machine, state=M.RUNNING, ran=True)
            case M.STOPPING:
                state = M.EXPUNGING if machine.wish is W.GONE else M.STOPPED
                self.machines[id_] = replace(machine, state=state)
            case M.EXPUNGING:
                del self.machines[id_]

    def running(self) -> int:
        return sum(each.state is M.RUNNING for each in self.machines.values())


MOVES = (
    *("router speaks", "machines", "router applies", "router says"),
    *("checks", "people come", "people go"),
)
ANY = (*MOVES, "router is silent", "replace", "replace by force")


@st.composite
def models(draw) -> Model:
    """Any mixture: whatever the table allows an element to be at, with machines and members that go with it or not."""
    count = draw(st.integers(0, 4))
    least = draw(st.integers(0, count))
    ready = Body(networks=(), standby=draw(st.integers(0, 2)))
    most = draw(st.integers(count, 6))
    wish = tier(count=count, least=least, most=most, body=ready, leaving=draw(st.booleans()))
    made = Model(wish, {}, {})
    for number in draw(st.lists(st.integers(1, 6), unique=True, max_size=5)):
        state = draw(st.sampled_from([s for s in S if s is not S.GONE]))
        release = draw(st.sampled_from([NEW, OLD]))
        each = element(number, state, release, tries=draw(st.integers(0, 3)))
        if state is S.WAITING:
            each = replace(each, machine=None)
        else:
            made.machines[each.machine] = draw(machines())
        still = state in (S.DRAINING, S.STANDBY)
        if still or (state in HOLDING and draw(st.booleans())):
            weight = 0 if still else 1
            made.router.told[each.id] = weight
            made.router.has[each.id] = draw(st.sampled_from([0, 1]))
        made.elements[each.id] = each
    made.crowd = draw(st.integers(0, 1))
    return made


@st.composite
def machines(draw) -> MachineNow:
    state = draw(st.sampled_from([M.WAITING, M.RUNNING, M.STOPPING, M.STOPPED, M.ERROR]))
    wish = draw(st.sampled_from([W.RUNNING, W.STOPPED]))
    return MachineNow(state=state, wish=wish, ran=draw(st.booleans()))


def rests(model: Model) -> bool:
    return at_rest(
        model.tier,
        [replace(e, blueprint_number=1, image_version=2) for e in model.elements.values()],
    )


@settings(max_examples=60, deadline=None)
@given(models(), st.lists(st.sampled_from(ANY), max_size=40))
def test_any_mixture_comes_to_rest_whatever_happens_in_what_order(model, first) -> None:
    for what in first:
        model.round()
        model.moves(what)
    for _ in range(120):
        model.round()
        for what in MOVES:
            model.moves(what)
        if rests(model) and not next_acts(model.tier, model.sights(), None, model.at):
            assert not any(each.replaces for each in model.elements.values())
            return
    raise AssertionError(f"never at rest: {model.elements} {model.machines} {model.router}")


@settings(max_examples=60, deadline=None)
@given(models(), st.integers(0, 4), st.lists(st.sampled_from(ANY), min_size=10, max_size=60))
def test_a_tier_that_changes_its_mind_fails_nobody(model, count, moves) -> None:
    """`Model.nobody_is_led`, `no_member` and the floor in `round` are what is asserted."""
    for at, what in enumerate(moves):
        if at == len(moves) // 2:
            model.tier = replace(model.tier, count=count, least=min(count, model.tier.least))
        model.round()
        model.moves(what)


@settings(max_examples=200)
@given(
    st.sampled_from([s for s in S if s is not S.GONE]),
    st.one_of(st.none(), machines()),
    st.lists(
        st.builds(
            MemberNow,
            balancer=st.just("balancer-1"),
            wanted=st.sampled_from([None, 0, 1]),
            router=st.sampled_from(list(RouterNow)),
            settled=st.booleans(),
            named=st.booleans(),
            weight=st.sampled_from([None, 0, 1]),
            sessions=st.integers(0, 2),
            well=st.sampled_from([None, False, True]),
        ),
        max_size=2,
    ),
    st.integers(0, 1000),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_nothing_is_done_that_the_table_does_not_allow(
    state, machine, members, at, count, standby
) -> None:
    each = ElementSeen(element=element(1, state), machine=machine, members=tuple(members))
    ready = Body(networks=(), standby=standby)
    tells = {Drain: E.DRAIN, TakeBack: E.TAKE_BACK, Dismiss: E.DISMISS, Make: E.MAKE}
    tells |= {Promote: E.PROMOTE}
    for act in acts([each], at, count=count, body=ready):
        if isinstance(act, Make) and state is not S.WAITING:
            assert 1 not in act.numbers
            continue
        event = getattr(act, "event", tells.get(type(act)))
        assert event is None or ELEMENT.allows(state, event)
        if isinstance(act, Leave) and act.event is E.SEE_IDLE:
            assert at >= PACE.drain or all(member.idle(AT) for member in members)
        if isinstance(act, Note) and act.event is E.REST:
            assert all(member.idle(AT) for member in members)
        if isinstance(act, Drop):
            assert state is S.DROPPING


def test_every_state_can_be_left_but_the_last() -> None:
    for state in S:
        assert (state in ELEMENT.final) == (not list(ELEMENT.events(state)))


# --- one by one


def test_a_new_tier_makes_the_lowest_numbers_at_once() -> None:
    assert acts([], count=3) == [Make((1, 2, 3), NEW)]
    assert acts([seen(element(2))], count=3) == [Make((1, 3), NEW)]


def test_nothing_is_made_until_the_pause_after_a_refusal_is_over() -> None:
    later = AT + timedelta(seconds=5)
    assert acts([], at=4, again_at=later) == []
    assert acts([], at=5, again_at=later) == [Make((1, 2), NEW)]
    assert [pause(tries, 300).total_seconds() for tries in (1, 2, 3, 20)] == [5, 10, 20, 300]


def test_the_highest_number_goes_first_but_after_those_that_serve_nobody_and_old_releases() -> None:
    serving = [seen(element(1)), seen(element(2)), seen(element(3))]
    assert acts(serving) == [Drain("element-3")]
    old = [seen(element(1, made=OLD)), *serving[1:]]
    assert acts(old) == [Drain("element-1")]
    ill = [seen(element(1, S.PROVING), RUNS, replace(WELL, well=False)), *serving[1:]]
    assert acts(ill) == [Drain("element-1")]


def test_one_that_is_wanted_again_is_taken_back_and_proves_itself() -> None:
    draining = seen(element(2, S.DRAINING), RUNS, replace(WELL, wanted=0, sessions=1))
    assert acts([seen(element(1)), draining]) == [TakeBack("element-2")]
    assert acts([seen(element(1)), draining], count=1) == []


def test_a_report_from_before_the_drain_is_not_believed() -> None:
    before = replace(WELL, wanted=0, weight=1, sessions=0)
    assert acts([seen(element(1, S.DRAINING), RUNS, before)], count=0) == []
    earlier = replace(before, weight=0, at=AT - timedelta(seconds=1))  # of another time it drained
    assert acts([seen(element(1, S.DRAINING), RUNS, earlier)], count=0) == []
    now = replace(before, weight=0)
    assert acts([seen(element(1, S.DRAINING), RUNS, now)], count=0) == [
        Leave("element-1", E.SEE_IDLE)
    ]


def test_those_who_stay_too_long_are_cut_off_and_counted() -> None:
    stays = seen(element(1, S.DRAINING), RUNS, replace(WELL, wanted=0, weight=0, sessions=3))
    assert acts([stays], 59, count=0) == []
    (act,) = acts([stays], 60, count=0)
    assert (act.event, act.cut_off) == (E.SEE_IDLE, 3)


def test_of_a_silent_router_nothing_new_is_known() -> None:
    silent = replace(WELL, wanted=0, weight=0, sessions=0, router=RouterNow.SILENT)
    assert acts([seen(element(1, S.DRAINING), RUNS, silent)], count=0) == []
    ill = replace(WELL, well=False, router=RouterNow.SILENT)
    assert acts([seen(element(1), RUNS, ill)], 9999, count=1) == []
    assert acts([seen(element(1, S.PROVING), RUNS, ill)], 9999, count=1) == []
    left = replace(silent, wanted=None)
    assert acts([seen(element(1, S.LEAVING), RUNS, left)], 9999, count=1) == []


def test_without_a_router_nobody_is_led_anywhere() -> None:
    absent = MemberNow(balancer="balancer-1", wanted=0)
    assert acts([seen(element(1, S.DRAINING), RUNS, absent)], count=0) == [
        Leave("element-1", E.SEE_IDLE)
    ]
    assert acts([seen(element(1, S.LEAVING), RUNS, absent)], count=0) == [
        Note("element-1", E.SEE_OUT)
    ]
    assert acts([seen(element(1), RUNS, replace(absent, wanted=1))], 9999, count=1) == []


def test_an_ill_one_is_replaced_after_a_while_and_a_new_one_after_longer() -> None:
    ill = replace(WELL, well=False)
    assert acts([seen(element(1), RUNS, ill)], count=1) == [
        Note("element-1", E.SEE_ILL, "its check fails")
    ]
    served, fresh = element(1, S.PROVING), element(1, S.PROVING, tries=1)
    assert acts([seen(served, RUNS, ill)], 29, count=1) == []
    assert acts([seen(served, RUNS, ill)], 30, count=1)[0].event is E.FAIL
    assert acts([seen(fresh, RUNS, ill)], 599, count=1) == []
    assert acts([seen(fresh, RUNS, ill)], 600, count=1)[0].event is E.FAIL


def test_a_lost_host_fails_its_elements_but_those_that_are_brought_back() -> None:
    lost = replace(RUNS, host_lost=True)
    assert acts([seen(element(1), lost)], count=1)[0].event is E.FAIL
    recovers = replace(lost, recovers=True)
    assert acts([seen(element(1), recovers)], count=1)[0].event is E.SEE_OFF
    waits = element(1, S.MAKING, tries=1)
    assert acts([seen(waits, recovers)], 599, count=1) == []
    assert acts([seen(waits, recovers)], 600, count=1)[0].event is E.FAIL


def test_a_guest_that_shut_itself_down_is_started_again() -> None:
    off = MachineNow(state=M.STOPPED, wish=W.STOPPED, ran=True)
    assert acts([seen(element(1), off)], count=1)[0].event is E.SEE_OFF
    assert acts([seen(element(1, S.MAKING), off)], count=1) == [Start("element-1")]


def test_a_member_that_is_none_joins() -> None:
    alone = MemberNow(balancer="balancer-1", router=RouterNow.HEARD, settled=True)
    assert acts([seen(element(1, S.PROVING), RUNS, WELL, alone)], count=1) == [Join("element-1")]


def test_the_plug_is_pulled_of_a_guest_that_does_not_end() -> None:
    each, out = element(1, S.DROPPING), MemberNow(balancer="balancer-1")
    going = replace(RUNS, state=M.STOPPING, wish=W.GONE)
    assert acts([seen(each, going, out)], 59, count=1) == []
    assert acts([seen(each, going, out)], 60, count=1) == [Drop("element-1", force=True)]
    assert acts([seen(each, replace(going, force=True), out)], 99, count=1) == []


def test_what_stays_is_waited_for_until_the_machine_is_gone() -> None:
    erased = replace(RUNS, state=M.EXPUNGING, wish=W.GONE)
    each = ElementSeen(element=element(1, S.DROPPING), machine=erased)
    assert acts([each], count=1) == [Note("element-1", E.SEE_DROPPED)]
    assert acts([replace(each, holds=True)], count=1) == []
    assert acts([replace(each, holds=True, machine=None)], count=1) == [
        Note("element-1", E.SEE_DROPPED)
    ]


def test_one_that_failed_again_and_again_is_left_alone_for_longer_each_time() -> None:
    once, thrice = (element(1, S.WAITING, machine=None, tries=tries) for tries in (1, 3))
    assert acts([seen(once, None)], count=1) == [Make((1,), NEW)]
    assert acts([seen(thrice, None)], 9, count=1) == []
    assert acts([seen(thrice, None)], 10, count=1) == [Make((1,), NEW)]


def test_a_rollout_drains_only_what_it_names_and_is_old() -> None:
    known = [seen(element(1, made=OLD)), seen(element(2, made=OLD)), seen(element(3))]
    assert acts(known, count=3) == []
    rolling = Rolling(renew=frozenset({1, 3}))
    assert acts(known, count=3, rollout=rolling) == [Drain("element-1")]
    more = Rolling(surge=1)
    assert acts(known, count=3, rollout=more) == [Make((4,), NEW)]


def test_never_fewer_than_least_are_left_serving_by_a_rollout() -> None:
    known = [seen(element(1, made=OLD)), seen(element(2, made=OLD))]
    both = Rolling(renew=frozenset({1, 2}))
    assert acts(known, least=1, rollout=both) == [Drain("element-1")]
    assert acts(known, least=2, rollout=both) == []


def test_at_rest_is_as_many_as_wanted_all_serving_the_release() -> None:
    assert at_rest(tier(count=2), [element(1), element(2)])
    assert not at_rest(tier(count=2), [element(1)])
    assert not at_rest(tier(count=1), [element(1, made=OLD)])
    assert not at_rest(tier(count=1), [element(1, S.PROVING)])
    assert at_rest(tier(count=1, leaving=True), [])
    assert release(element(1)) == NEW


@pytest.mark.parametrize("state", [S.MAKING, S.PROVING, S.SERVING, S.DRAINING])
def test_what_somebody_else_destroyed_is_made_again(state) -> None:
    destroyed = replace(RUNS, wish=W.DESTROYED, state=M.DESTROYED)
    assert acts([seen(element(1, state), destroyed)], count=1)[0].event is E.FAIL
