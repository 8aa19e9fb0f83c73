"""What the master does with members and farms, on virtual time, and that none of it happens without the mastership."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from arable.cluster.times import Times
from arable.controllers.farms import attend
from arable.controllers.loop import Loop
from arable.controllers.master import Master, all_in_turn
from arable.controllers.registry import Controller
from arable.controllers.segment import SegmentManager
from arable.domain.access import EVERYTHING
from arable.domain.ids import SegmentId
from arable.domain.segment import Cause, Load, Segment, SegmentState
from arable.domain.settings import MANAGEMENT_SERVERS_MAX, MANAGEMENT_SERVERS_MIN
from arable.drivers.platform.none import NoPlatform
from arable.drivers.platform.sim import SimPlatform
from arable.runtime.clock import VirtualClock
from arable.sim.direct import DirectWriter
from arable.store import elections, events, holdings, segments, settings
from arable.store.database import Database
from arable.store.events import EventFilter
from arable.wire.cluster import Pong

A, B, C = (SegmentId(f"server-{letter}") for letter in "abc")
TIMES = Times()


@dataclass
class Rig:
    """Members on one clock and one SQLite; who is in `dead` neither moves nor answers."""

    database: Database
    clock: VirtualClock = field(default_factory=VirtualClock)
    platform: SimPlatform = field(default_factory=SimPlatform)
    members: dict[SegmentId, SegmentManager] = field(default_factory=dict)
    masters: dict[SegmentId, Master] = field(default_factory=dict)
    loads: dict[SegmentId, Load] = field(default_factory=dict)
    dead: set[SegmentId] = field(default_factory=set)
    deaf: set[SegmentId] = field(default_factory=set)  # they beat, and answer nobody

    def transact(self, work):
        with self.database.write() as tx:
            return work(tx)

    def add(self, *names: SegmentId) -> None:
        for name in names:
            master = Master(name, self.transact, all_in_turn(self.ping), self.platform, self.clock)
            about = Segment(
                id=name,
                seq=0,
                epoch=0,
                address=name,
                state=SegmentState.READY,
                heartbeat_at=self.clock.now(),
            )
            self.masters[name] = master
            self.members[name] = SegmentManager(
                about,
                self.transact,
                self.clock,
                self.ping,
                load=lambda name=name: self.loads.get(name, Load()),
                duty=master.step,
            )
            self.members[name].beat()

    def ping(self, address: str) -> Pong | None:
        name = SegmentId(address)
        return None if name in self.dead | self.deaf else self.members[name].pong()

    def go(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            self.clock.wait(timedelta(seconds=0.1))
            for name, member in self.members.items():
                if name not in self.dead:
                    member.step()

    def farms(self, count: int, load: int = 0) -> None:
        with self.database.write() as tx:
            at = {"at": 0}
            tx.execute(text("insert into domain (id, path, name, created_at) values ('d', 'root', 'root', :at) on conflict do nothing"), at)  # fmt: skip
            tx.execute(text("insert into account (id, domain, name, created_at) values ('a', 'd', 'a', :at) on conflict do nothing"), at)  # fmt: skip
            tx.execute(text("insert into zone (id, name, created_at) values ('z', 'z', :at) on conflict do nothing"), at)  # fmt: skip
            for number in range(count):
                row = {"id": f"farm-{number:03}", "load": load, "at": 0}
                tx.execute(text("insert into farm (id, account, zone, name, load, created_at) values (:id, 'a', 'z', :id, :load, :at)"), row)  # fmt: skip

    def held(self) -> dict[str, int]:
        with self.database.read() as tx:
            return {each.id: each.farms for each in segments.page(tx)}

    def state(self, name: SegmentId) -> Segment:
        with self.database.read() as tx:
            return next(each for each in segments.members(tx) if each.id == name)

    def told(self, kind: str) -> list[str]:
        with self.database.read() as tx:
            return [each.text for each in events.page(tx, EVERYTHING, EventFilter(kind=kind))]

    def master(self) -> SegmentId:
        (found,) = (name for name, each in self.members.items() if each.acting())
        return found


@pytest.fixture
def rig(sqlite) -> Rig:
    return Rig(sqlite)


def test_farms_are_spread_over_the_members_and_confirmed(rig):
    rig.farms(9)
    rig.add(A, B, C)
    rig.go(15)
    assert rig.master() == A
    assert rig.held() == {A: 3, B: 3, C: 3}
    with rig.database.read() as tx:
        assert all(each.confirmed for each in holdings.every(tx))


def test_the_farms_of_a_member_that_dies_go_to_others_and_its_restart_is_asked_for_once(rig):
    rig.farms(9)
    rig.add(A, B, C)
    rig.go(15)
    rig.dead.add(C)
    rig.go(8)
    assert rig.held() == {A: 5, B: 4, C: 0} or rig.held() == {A: 4, B: 5, C: 0}
    assert rig.state(C).state is SegmentState.GONE
    assert [place.segment for place in rig.platform.restarted] == [C]
    rig.go(TIMES.again + 5)
    assert len(rig.platform.restarted) == 1
    assert (rig.state(C).asked, rig.state(C).told) == ("restart", "done")
    assert len(rig.told("segment.lost")) == 1
    rig.dead.clear()
    rig.go(30)
    assert rig.state(C).state is SegmentState.READY
    assert min(rig.held().values()) >= 2, "and it gets some of them back"
    assert rig.master() == A


def test_one_that_beats_but_answers_nobody_keeps_its_farms_and_is_restarted_when_that_lasts(rig):
    rig.farms(6)
    rig.add(A, B, C)
    rig.go(15)
    rig.deaf.add(B)
    rig.go(TIMES.sick - 5)
    assert (rig.platform.restarted, rig.held()[B]) == ([], 2)
    rig.go(10)
    assert [place.segment for place in rig.platform.restarted] == [B]
    assert rig.held()[B] == 2
    rig.go(TIMES.again)
    assert len(rig.platform.restarted) == 2, "and again, if that did not help"


def test_without_a_platform_the_operator_is_told(rig):
    rig.add(A, B)
    rig.masters[A].platform = NoPlatform()
    rig.go(5)
    rig.dead.add(B)
    rig.go(10)
    assert "not done" in rig.state(B).told
    assert any("by hand" in each for each in rig.told("segment.restart"))


def test_one_that_stands_still_inside_is_restarted_and_does_not_stay_master(rig):
    rig.add(A, B)
    rig.go(5)
    rig.loads[A] = Load(lag_ms=31_000)
    rig.go(5)
    assert rig.master() == B
    rig.go(TIMES.sick + 5)
    assert [place.segment for place in rig.platform.restarted] == [A]


def test_a_member_that_drains_loses_its_farms_and_the_mastership_and_gets_neither_back(rig):
    rig.farms(6)
    rig.add(A, B, C)
    rig.go(15)
    with rig.database.write() as tx:
        segments.become(tx, A, SegmentState.DRAINING)
    rig.go(25)
    assert rig.master() == B
    assert rig.held() == {A: 0, B: 3, C: 3}
    with rig.database.write() as tx:
        segments.become(tx, A, SegmentState.READY)
    rig.go(25)
    assert rig.held()[A] >= 1


def test_the_number_of_members_follows_the_load_between_its_bounds(rig):
    rig.add(A, B, C)
    rig.go(5)
    with rig.database.write() as tx:
        settings.put(tx, {MANAGEMENT_SERVERS_MIN.name: 2, MANAGEMENT_SERVERS_MAX.name: 4})
    for name in (A, B, C):
        rig.loads[name] = Load(cpu_percent=95)
    rig.go(15)
    assert rig.platform.started == 1
    rig.go(30)
    assert rig.platform.started == 1, "it is given time"
    for name in (A, B, C):
        rig.loads[name] = Load(cpu_percent=3)
    rig.go(TIMES.again + 30)
    assert [place.segment for place in rig.platform.stopped] == [C], (
        "the youngest that is no master"
    )
    rig.dead.add(C)
    rig.go(3 * TIMES.again)
    assert len(rig.platform.stopped) == 1, "not below the least"
    assert rig.platform.started == 1


def test_the_number_of_members_is_the_operators_unless_said_otherwise(rig):
    rig.add(A, B, C)
    rig.go(3 * TIMES.again)
    assert (rig.platform.started, rig.platform.stopped) == (0, [])


def test_a_master_that_was_replaced_changes_nothing(rig):
    rig.farms(4)
    rig.add(A, B)
    rig.members[A].beat()
    council = rig.members[A]._council
    with rig.database.write() as tx:
        row = elections.mastership(tx)
        now = rig.clock.now()
        elections.elect(
            tx,
            replace(elections.history(tx)[0], epoch=row.epoch + 1, holder=B, cause=Cause.ENDED),
            now + timedelta(seconds=3),
        )
    rig.dead.add(B)
    rig.clock.wait(timedelta(seconds=60))
    rig.masters[A].step(row.epoch, replace(council, now=rig.clock.now()))
    assert rig.held() == {A: 0, B: 0}
    assert rig.state(B).state is SegmentState.READY
    assert rig.platform.restarted == []


def test_a_new_farm_gets_a_holder_with_its_nudge(rig):
    rig.add(A)
    rig.farms(2)
    with rig.database.write() as tx:
        assert attend(tx, rig.clock.now()) == 2
        assert attend(tx, rig.clock.now()) == 0
    rig.clock.wait(timedelta(seconds=10))  # it beats slowly
    with rig.database.write() as tx:
        tx.execute(text("update farm set holder = '' where id = 'farm-000'"))
        assert attend(tx, rig.clock.now()) == 1


# --- the loop that the master runs


def test_the_loop_runs_only_with_the_epoch_that_the_store_has(sqlite):
    clock, epochs, ran = VirtualClock(), [0], []

    def run(_tx, _at) -> int:
        ran.append(epochs[0])
        return 1

    writer = DirectWriter(sqlite)
    loop = Loop(writer, clock, A, lambda: epochs[0], (Controller("one", run, 15),))
    loop.step()
    assert ran == []
    with sqlite.write() as tx:
        elections.prepare(tx)
        won = {"at": clock.now(), "cause": Cause.FIRST}
        elections.elect(tx, elections.Election(epoch=1, holder=A, **won), clock.now())
    epochs[0] = 1
    loop.step()
    loop.step()
    assert ran == [1], "it is due again only later"
    with sqlite.write() as tx:
        elections.elect(tx, elections.Election(epoch=2, holder=B, **won), clock.now())
    clock.wait(timedelta(seconds=20))
    loop.step()
    assert ran == [1], "its epoch is over"
    with sqlite.write() as tx:
        elections.elect(tx, elections.Election(epoch=3, holder=A, **won), clock.now())
    epochs[0] = 3
    loop.step()
    assert ran == [1, 3], "a new master runs everything at once"
    assert loop.lag() == 0.0


def test_a_round_that_does_not_end_is_lag(sqlite):
    clock = VirtualClock()

    class Stuck(DirectWriter):
        def _put(self, piece):
            return piece.done

    loop = Loop(Stuck(sqlite), clock, A, lambda: 1, (Controller("one", lambda *_: 0, 15),))
    loop.begin()
    clock.wait(timedelta(seconds=40))
    assert loop.lag() == 40.0
