"""The keeper's reckoning is against itself: what it writes down never lasts longer than what it was given."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from arable.agent.deadlines import Deadline, DeadlineFiles, DeadlineMemory
from arable.agent.leases import LeaseKeeper, Settled, Wanted
from arable.domain.errors import Unavailable
from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.manifest import SharedFrom
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.wire.leases import Answer, Ask, Disk, Question, Said, Verb, Verdict

M, V = MachineId("machine-m"), VolumeId("volume-v")
S = SharedFrom(host=HostId("host-s"), address="172.31.0.9:10808")
T = SharedFrom(host=HostId("host-t"), address="172.31.0.8:10808")
LENGTH, MARGIN = 30.0, 3.0


class Line:
    """A storage host that answers as a test says; `takes` is how long."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.asked: list[Ask] = []
        self.questions = 0
        self.takes = 0.0
        self.says: Callable[[Ask], Said] = self.agrees

    def agrees(self, ask: Ask) -> Said:
        if ask.verb is Verb.RELEASE:
            return Said(machine=ask.machine, epoch=ask.epoch, verdict=Verdict.FREE)
        disk = Disk(volume=V, address="172.31.0.9", port=10809, name=f"{V}.e{ask.epoch}")
        return Said(
            machine=ask.machine,
            epoch=ask.epoch,
            verdict=Verdict.HELD,
            seconds=LENGTH,
            disks=[disk],
        )

    def answers(self, verdict: Verdict, **but) -> None:
        self.says = lambda ask: Said(machine=ask.machine, epoch=ask.epoch, verdict=verdict, **but)

    def is_away(self) -> None:
        def says(ask: Ask) -> Said:
            raise Unavailable("away")

        self.says = says

    def ask(self, question: Question) -> Answer:
        self.questions += 1
        self.asked += question.asks
        said = [self.says(ask) for ask in question.asks]
        self.clock.wait(timedelta(seconds=self.takes))
        return Answer(said=said)

    def close(self) -> None:
        pass


class Rig:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.clock.wait(timedelta(seconds=1000))
        self.lines = {S: Line(self.clock), T: Line(self.clock)}
        self.deadlines = DeadlineMemory()
        self.nudges = 0
        self.restart()

    def restart(self) -> None:
        self.keeper = LeaseKeeper(
            lambda place: self.lines[place],
            self.deadlines,
            lambda: True,
            ClockBootTime(self.clock),
            Entropy("keeper"),
            nudge=self.nudge,
        )

    def nudge(self) -> None:
        self.nudges += 1

    def now(self) -> float:
        return self.clock.monotonic()

    def work(self, seconds: float = 0.0) -> None:
        """Time passes, and what is due is done."""
        end = self.now() + seconds
        while True:
            due = {place: self.keeper.due(place) for place in self.keeper.places()}
            place = min(due, key=lambda one: due[one], default=None)
            if place is None or due[place] > end:
                break
            self.clock.wait(timedelta(seconds=max(0.0, due[place] - self.now()) + 1e-6))
            self.keeper.step(place)
        self.clock.wait(timedelta(seconds=max(0.0, end - self.now())))

    def deadline(self, epoch: int = 1) -> float:
        return self.deadlines.held[f"{M}.e{epoch}"].at


def want(epoch: int = 1, *places: SharedFrom, machine: MachineId = M) -> Wanted:
    return Wanted(machine=machine, epoch=epoch, places=frozenset(places or (S,)), volume=V)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def held(rig: Rig) -> None:
    rig.keeper.want([want()], set())
    rig.work()
    assert rig.keeper.lacks(M, 1) == ""


def test_time_counts_from_before_it_was_asked_for(rig) -> None:
    rig.lines[S].takes = 2.5
    began = rig.now()
    held(rig)
    assert rig.deadline() == pytest.approx(began + LENGTH - MARGIN)
    assert rig.nudges == 1


def test_a_deadline_names_its_guest_and_its_epoch(rig) -> None:
    held(rig)
    (one,) = rig.deadlines.held.values()
    assert one.marks == (f"guest={M}", f"{V}.e1")


def test_a_lease_is_renewed_three_times_in_its_length_and_its_deadline_moves_on(rig) -> None:
    held(rig)
    rig.work(LENGTH * 10)
    renewals = [ask for ask in rig.lines[S].asked if ask.verb is Verb.RENEW]
    assert 30 <= len(renewals) <= 38
    assert rig.deadline() > rig.now() + LENGTH / 2


def test_when_its_time_is_over_a_guest_lacks_its_lease(rig) -> None:
    held(rig)
    rig.lines[S].is_away()
    before = rig.deadline()
    rig.work(LENGTH)
    assert rig.deadline() == before
    assert rig.keeper.lacks(M, 1) != ""
    rig.lines[S].says = rig.lines[S].agrees
    rig.work(5)
    assert rig.keeper.lacks(M, 1) == ""


def test_a_storage_host_that_is_away_is_not_asked_without_pause(rig) -> None:
    rig.lines[S].is_away()
    rig.keeper.want([want()], set())
    rig.work(60)
    assert rig.lines[S].questions < 60


def test_a_lease_that_is_lost_leaves_no_time_at_all(rig) -> None:
    held(rig)
    rig.lines[S].answers(Verdict.LOST, told="epoch 2 was seen")
    rig.work(LENGTH / 3)
    assert rig.deadline() == 0.0
    assert "another host" in rig.keeper.lacks(M, 1)
    asked = rig.lines[S].questions
    rig.work(LENGTH)
    assert rig.lines[S].questions == asked, "what is lost is not asked for again"


def test_what_was_lost_is_forgotten_when_its_guest_is_gone_and_not_before(rig) -> None:
    held(rig)
    rig.lines[S].answers(Verdict.LOST)
    rig.work(LENGTH / 3)
    rig.keeper.want([], {M})
    assert rig.deadlines.held
    rig.keeper.want([], None)
    assert rig.deadlines.held
    rig.keeper.want([], set())
    assert not rig.deadlines.held


def test_a_guest_that_runs_keeps_its_lease_though_nobody_wants_it(rig) -> None:
    held(rig)
    for running in ({M}, None):
        rig.keeper.want([], running)
        rig.work(2 * LENGTH)
        assert rig.deadline() > rig.now()


def test_before_a_lease_is_let_go_its_time_is_set_to_the_past(rig) -> None:
    held(rig)
    line = rig.lines[S]
    seen: list[float] = []

    def looks(ask: Ask) -> Said:
        seen.append(rig.deadline())
        return line.agrees(ask)

    line.says = looks
    rig.keeper.want([], set())
    rig.work()
    assert line.asked[-1].verb is Verb.RELEASE
    assert seen == [0.0]
    assert not rig.deadlines.held
    assert not rig.keeper.places()


def test_a_lease_that_could_not_be_let_go_is_let_go_later(rig) -> None:
    held(rig)
    rig.lines[S].is_away()
    rig.keeper.want([], set())
    rig.work(20)
    assert rig.deadline() == 0.0
    rig.lines[S].says = rig.lines[S].agrees
    rig.work(5)
    assert not rig.deadlines.held


def test_the_next_epoch_is_not_asked_for_while_a_guest_of_the_last_may_be_here(rig) -> None:
    held(rig)
    rig.keeper.want([want(2)], {M})
    rig.work(5)
    assert {ask.epoch for ask in rig.lines[S].asked} == {1}
    rig.keeper.want([want(2)], set())
    rig.work(5)
    assert rig.keeper.lacks(M, 2) == ""
    assert list(rig.deadlines.held) == [f"{M}.e2"]


def test_a_storage_host_that_is_lost_keeps_nobody_from_having_the_next_epoch_elsewhere(rig) -> None:
    """Its disks were brought back from their replicas."""
    held(rig)
    rig.lines[S].is_away()
    rig.keeper.want([want(2, T)], {M})
    rig.work(LENGTH)
    assert not rig.lines[T].asked, "the last one's guest may be here"
    rig.keeper.want([want(2, T)], set())
    rig.work(5)
    assert rig.keeper.lacks(M, 2) == ""
    assert rig.deadline() == 0.0, "who has the last one's disk may not go on"
    rig.lines[S].says = rig.lines[S].agrees
    rig.work(60)
    assert list(rig.deadlines.held) == [f"{M}.e2"]


def test_the_next_epoch_has_what_is_let_go_at_one_place_though_another_is_lost(rig) -> None:
    rig.keeper.want([want(1, S, T)], set())
    rig.work(5)
    rig.lines[S].is_away()
    before = len(rig.lines[T].asked)
    rig.keeper.want([want(2, T)], set())
    rig.work(5)
    assert rig.keeper.lacks(M, 2) == ""
    verbs = [ask.verb for ask in rig.lines[T].asked[before:]]
    assert verbs.index(Verb.RELEASE) < verbs.index(Verb.ACQUIRE)


def test_with_disks_at_two_places_the_first_end_counts(rig) -> None:
    rig.keeper.want([want(1, S, T)], set())
    rig.lines[T].is_away()
    rig.work(1)
    assert rig.keeper.lacks(M, 1) != ""
    assert not rig.deadlines.held, "nothing may run, so there is nothing to stop"
    rig.lines[T].says = rig.lines[T].agrees
    rig.work(5)
    assert rig.keeper.lacks(M, 1) == ""
    rig.lines[T].is_away()
    rig.work(LENGTH)
    assert rig.deadline() < rig.now()


def test_all_leases_at_a_place_are_renewed_by_one_question(rig) -> None:
    machines = [MachineId(f"machine-{n}") for n in range(100)]
    rig.keeper.want([want(machine=machine) for machine in machines], set())
    rig.work(5)
    assert all(rig.keeper.lacks(machine, 1) == "" for machine in machines)
    before = rig.lines[S].questions
    rig.work(LENGTH)
    assert rig.lines[S].questions - before <= 5


def test_no_storage_host_can_have_a_guest_run_on_for_ever(rig) -> None:
    line = rig.lines[S]
    line.says = lambda ask: Said(
        machine=ask.machine, epoch=ask.epoch, verdict=Verdict.HELD, seconds=1e18
    )
    rig.keeper.want([want()], set())
    rig.work()
    assert rig.deadline() < rig.now() + 601


def test_too_few_answers_are_none(rig) -> None:
    line = rig.lines[S]
    line.ask = lambda _question: Answer(said=[])
    rig.keeper.want([want()], set())
    rig.work(10)
    assert rig.keeper.lacks(M, 1) != ""


def test_what_an_earlier_agent_wrote_counts_until_its_guest_is_gone(rig) -> None:
    held(rig)
    before = rig.deadline()
    rig.restart()
    rig.keeper.want([], {M})
    assert rig.deadline() == before
    rig.keeper.want([], set())
    assert not rig.deadlines.held


def test_deadlines_are_files_that_are_whole(tmp_path) -> None:
    files = DeadlineFiles(tmp_path / "deadlines")
    one = Deadline(machine=M, epoch=3, at=12.5, marks=("guest=machine-m,", "volume-v.e3"))
    files.set(one)
    assert files.all() == {one.name: M}
    files.drop(one.name)
    files.drop(one.name)
    assert not files.all()


def settling(rig: Rig, verdict: Verdict, **but) -> None:
    """What the storage host says when it is asked to hand over or to keep; renewals are agreed to."""
    line = rig.lines[S]

    def says(ask: Ask) -> Said:
        if ask.verb in (Verb.HAND_OVER, Verb.KEEP):
            return Said(machine=ask.machine, epoch=ask.epoch, verdict=verdict, **but)
        return line.agrees(ask)

    line.says = says


def test_what_was_handed_over_leaves_no_time_and_is_not_asked_for_again(rig) -> None:
    held(rig)
    settling(rig, Verdict.FREE)
    rig.keeper.hand_over(M, 1, 2)
    assert rig.keeper.lacks(M, 1) != "", "from the moment on that it may have been asked"
    assert rig.keeper.settled(M, 1, 2) is Settled.ASKED
    rig.work(1)
    assert rig.keeper.settled(M, 1, 2) is Settled.GONE
    assert rig.keeper.lost(M, 1)
    assert rig.deadline() == 0.0
    asked = rig.lines[S].asked[-1]
    assert (asked.verb, asked.epoch, asked.to) == (Verb.HAND_OVER, 1, 2)
    rig.work(LENGTH)
    assert rig.lines[S].asked[-1] is asked


def test_nobody_knows_whose_it_is_while_there_is_no_answer(rig) -> None:
    held(rig)
    rig.lines[S].is_away()
    rig.keeper.hand_over(M, 1, 2)
    rig.work(LENGTH / 2)
    assert rig.keeper.settled(M, 1, 2) is Settled.ASKED
    assert rig.keeper.lacks(M, 1) != ""
    settling(rig, Verdict.FREE)
    rig.work(5)
    assert rig.keeper.settled(M, 1, 2) is Settled.GONE


def test_who_is_refused_asks_to_keep_it_before_its_guest_may_go_on(rig) -> None:
    held(rig)
    settling(rig, Verdict.REFUSED, told="there is no heir")
    rig.keeper.hand_over(M, 1, 2)
    rig.work(1)
    assert rig.lines[S].asked[-1].verb is Verb.KEEP
    assert rig.keeper.lacks(M, 1) != ""
    settling(rig, Verdict.HELD, seconds=LENGTH)
    rig.work(5)
    assert rig.keeper.settled(M, 1, 2) is Settled.KEPT
    assert rig.keeper.lacks(M, 1) == ""
    assert rig.keeper.settled(M, 1, 3) is Settled.NO, "the next attempt is another one"


def test_what_is_gone_at_one_place_can_not_be_kept_at_another(rig) -> None:
    rig.keeper.want([want(1, S, T)], set())
    rig.work()
    settling(rig, Verdict.FREE)
    line = rig.lines[T]
    line.says = lambda ask: Said(
        machine=ask.machine,
        epoch=ask.epoch,
        verdict=Verdict.REFUSED if ask.verb is Verb.HAND_OVER else Verdict.HELD,
        seconds=LENGTH,
    )
    rig.keeper.hand_over(M, 1, 2)
    rig.work(1)
    settling(rig, Verdict.LOST)
    rig.work(5)
    assert rig.keeper.settled(M, 1, 2) is Settled.GONE
    assert rig.deadline() == 0.0


def test_what_is_coming_is_looked_for_often_and_its_disks_are_known(rig) -> None:
    line = rig.lines[S]
    disk = Disk(volume=V, address="172.31.0.9", port=10810, name=f"{V}.e2")
    line.says = lambda ask: Said(
        machine=ask.machine, epoch=ask.epoch, verdict=Verdict.COMING, disks=[disk], told="soon"
    )
    rig.keeper.want([want(2)], set())
    rig.work(1)
    assert rig.keeper.coming(M, 2)
    assert rig.keeper.disks(M, 2)[V].port == 10810
    assert "soon" in rig.keeper.lacks(M, 2)
    assert 5 <= rig.lines[S].questions <= 15
    assert not rig.deadlines.held, "nothing may run"
    line.says = lambda ask: Said(
        machine=ask.machine, epoch=ask.epoch, verdict=Verdict.HELD, seconds=LENGTH, passed=True
    )
    rig.work(0.3)
    assert rig.keeper.lacks(M, 2) == ""
    assert rig.keeper.passed(M, 2)
    assert list(rig.deadlines.held) == [f"{M}.e2"]


def test_a_storage_host_that_is_away_is_told_of_once_and_when_it_is_back(rig, caplog) -> None:
    held(rig)
    rig.lines[S].is_away()
    rig.work(50)
    assert len([line for line in caplog.messages if "away" in line]) == 1
    rig.lines[S].says = rig.lines[S].agrees
    rig.work(30)
    assert [line for line in caplog.messages if line.startswith("over after")]
