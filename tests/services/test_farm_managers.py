"""What a server does for its farms: for them alone, while it may, and whatever becomes of one of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from make_cloud import Cloud
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from test_landing import routed, with_hosts

from arable.controllers import alerts
from arable.controllers.farm_managers import AGAIN, SELDOM, pause
from arable.controllers.landing import Landing
from arable.controllers.loop import Loop
from arable.controllers.registry import FARM_CONTROLLERS, FarmController
from arable.controllers.underway import STALLED
from arable.domain.alert import AlertKind, Severity
from arable.domain.errors import Conflict, Unavailable
from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import Segment, SegmentState
from arable.runtime.entropy import Entropy
from arable.sim.direct import DirectWriter
from arable.store import holdings, schema, segments, troubles
from arable.store.alerts import AlertFilter, page
from arable.store.database import Database

A, B = SegmentId("server-a"), SegmentId("server-b")
FARMS = """
    insert into farm (id, account, zone, name, holder, epoch, confirmed, created_at)
    select 'farm-' || n, 'a', 'z', n::text, 'server-a', 1, 1, 0 from generate_series(1, 2) n
"""


@dataclass
class Work:
    """Something to do for every farm each second; of a farm in `broken` it fails."""

    did: list[FarmId] = field(default_factory=list)
    rounds: list[list[FarmId]] = field(default_factory=list)
    broken: dict[FarmId, Callable[[], None]] = field(default_factory=dict)

    def wanting(self, tx, holder, _at) -> list[FarmId]:
        farm, failing = schema.farm.c, select(schema.farm_trouble.c.farm)
        query = select(farm.id).where(farm.holder == holder, farm.id.not_in(failing))
        return list(tx.scalars(query.order_by(farm.id)))

    def run(self, tx, _at, farms: Iterable[FarmId]) -> int:
        self.rounds.append(list(farms))
        for each in farms:
            if each in self.broken:
                self.broken[each]()
            tx.execute(text("update farm set load = load + 1 where id = :id"), {"id": each})
        self.did += farms
        return 0

    @property
    def controller(self) -> FarmController:
        return FarmController("work", self.wanting, self.run, 1)


def fails(error: Exception) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@dataclass
class Servers:
    """Loops of management servers over one database, on one clock."""

    cloud: Cloud
    epochs: dict[SegmentId, int] = field(default_factory=dict)

    def add(self, name: SegmentId, *controllers: FarmController, writer=None) -> Loop:
        now = self.cloud.around.clock.now()
        about = Segment(
            id=name, seq=0, epoch=0, address="", state=SegmentState.READY, heartbeat_at=now
        )
        with self.cloud.database.write() as tx:
            self.epochs[name], _seq = segments.register(tx, about)
        loop = Loop(
            writer or DirectWriter(self.cloud.database),
            self.cloud.around.clock,
            name,
            lambda: 0,
            serving=lambda: self.epochs[name],
            entropy=Entropy(name),
            farm_controllers=controllers or FARM_CONTROLLERS,
        )
        loop.writer.committed = lambda nudges: loop.nudge(nudges.topics)
        return loop

    def give(self, to: SegmentId, *farms: FarmId) -> None:
        with self.cloud.database.write() as tx:
            held = {each.farm: each.holder for each in holdings.every(tx)}
            assert holdings.give(tx, [(farm, held[farm], to) for farm in farms]) == len(farms)

    def go(self, *loops: Loop, seconds: float = 1.0) -> None:
        """Half a second at a time."""
        for _ in range(round(seconds * 2)):
            self.cloud.around.clock.wait(timedelta(seconds=0.5))
            for each in loops:
                each.step()

    def troubles(self) -> dict[FarmId, tuple[int, str]]:
        with self.cloud.database.read() as tx:
            return {each.farm: (each.tries, each.told) for each in troubles.every(tx, 100)}

    def open_alerts(self) -> dict[str, Severity]:
        with self.cloud.database.write() as tx:
            alerts.watch(tx, self.cloud.around.clock.now())
            found = page(tx, AlertFilter(is_open=True, kind=AlertKind.FARM_STUCK))
            return {each.subject: each.severity for each in found}


@pytest.fixture
def servers(cloud) -> Servers:
    return Servers(cloud)


@pytest.fixture
def alone(lone_cloud) -> Servers:
    """For what does not depend on the database."""
    return Servers(lone_cloud)


def some_farms(servers: Servers, count: int) -> list[FarmId]:
    me = servers.cloud.account("me")
    made = [FarmId(f"farm-{number:02}") for number in range(count)]
    for each in made:
        servers.cloud.run(
            "insert into farm (id, account, zone, name, created_at) values (:id, :a, 'zone-here', :id, 0)",
            id=each,
            a=me.account,
        )
    return made


# --- whose farms


def test_each_server_works_for_the_farms_that_it_holds_and_for_no_other(servers):
    ours, theirs = Work(), Work()
    a, b = servers.add(A, ours.controller), servers.add(B, theirs.controller)
    farms = some_farms(servers, 7)
    servers.go(a, b)
    assert (ours.did, theirs.did) == ([], []), "nobody holds anything yet"
    servers.give(A, *farms[:4])
    servers.give(B, *farms[4:])
    servers.go(a, b, seconds=6)
    assert (set(ours.did), set(theirs.did)) == (set(farms[:4]), set(farms[4:]))
    assert all(len(each) == 4 for each in ours.rounds), "all of them in one transaction"
    assert a.figures.farms.held == 4


def test_the_machines_of_many_customers_are_placed_by_the_servers_that_hold_their_farms(servers):
    cloud = with_hosts(servers.cloud, "a", "b")
    cloud.around = replace(cloud.around, land=None)
    a, b = servers.add(A), servers.add(B)
    customers = [cloud.account(f"customer-{number}") for number in range(4)]
    for each in customers:
        routed(cloud, each)
        cloud.deploy(each, name="web", count=2)
    farm_of = dict(cloud.rows("select account, id from farm"))
    servers.give(A, *(farm_of[each.account] for each in customers[:2]))
    servers.give(B, *(farm_of[each.account] for each in customers[2:]))
    servers.go(a, seconds=6)
    placed = "select distinct account from machine where host is not null order by account"
    assert cloud.rows(placed) == [(each.account,) for each in customers[:2]]
    servers.go(b, seconds=6)
    assert cloud.rows(placed) == [(each.account,) for each in customers]
    assert cloud.rows("select count(*) from machine where attention") == [(0,)]
    assert cloud.rows("select sum(machines) from host") == [(8,)]


def test_what_is_deployed_lands_where_the_farm_is_held_and_waits_for_its_holder_elsewhere(servers):
    cloud = with_hosts(servers.cloud, "a")
    a, b = servers.add(A), servers.add(B)
    me = cloud.account("me")
    routed(cloud, me)
    ((farm,),) = cloud.rows("select id from farm")
    servers.give(A, farm)
    state = "select state from machine where name = :name"
    for loop, name, expected in (
        (a, "early", "waiting"),  # it does not know yet
        (a, "here", "starting"),
        (b, "there", "waiting"),
    ):
        cloud.around = replace(cloud.around, land=Landing(loop.holds))
        cloud.deploy(me, name=name)
        assert cloud.rows(state, name=name) == [(expected,)], name
        a.nudge(["machines"])  # as it hears of the commit
        servers.go(a)
    assert cloud.rows("select distinct state from machine where name <> 'first'") == [("starting",)]
    servers.epochs[A] -= 1  # it was taken for dead, and does not know
    cloud.around = replace(cloud.around, land=Landing(a.holds))
    cloud.deploy(me, name="late")
    assert cloud.rows(state, name="late") == [("waiting",)]


# --- who may


def test_a_server_whose_right_has_passed_writes_nothing(servers):
    work = Work()
    a = servers.add(A, work.controller)
    farms = some_farms(servers, 2)
    servers.give(A, *farms)
    servers.go(a, seconds=6)
    before = len(work.did)
    with servers.cloud.database.write() as tx:
        assert segments.fence(tx, A, servers.epochs[A])
    servers.go(a, seconds=6)
    assert len(work.did) == before
    assert servers.troubles() == {}, "and blames no farm for it"


def test_a_farm_that_is_given_away_is_worked_on_by_its_new_holder_alone(servers):
    ours, theirs = Work(), Work()
    a, b = servers.add(A, ours.controller), servers.add(B, theirs.controller)
    farms = some_farms(servers, 3)
    servers.give(A, *farms)
    servers.go(a, b, seconds=6)
    servers.give(B, farms[1])
    mark = len(ours.did)
    servers.go(a, b, seconds=6)
    assert set(ours.did[mark:]) == {farms[0], farms[2]}
    assert set(theirs.did) == {farms[1]}


def test_a_farm_that_was_given_away_between_the_look_and_the_write_is_left_alone(alone):
    """As a server that is paused just there would find it."""
    work = Work()
    farms = some_farms(alone, 2)

    class Slow(Work):
        def wanting(self, tx, holder, at):
            found = super().wanting(tx, holder, at)
            if farms[1] in found and self.did:
                holdings.give(tx, [(farms[1], A, B)])
            return found

    work = Slow()
    a = alone.add(A, work.controller)
    alone.give(A, *farms)
    alone.go(a, seconds=6)
    assert work.rounds[0] == farms
    assert all(each == farms[:1] for each in work.rounds[1:])


def test_while_a_farm_is_worked_on_nobody_gives_it_away_and_nobody_waits_for_one_that_is_given(
    postgresql,
):
    with postgresql.one() as database:
        holder, giver = database, Database(database.url)
        with database.write() as tx:
            for words in (
                "insert into domain (id, path, name, created_at) values ('d', 'root', 'root', 0)",
                "insert into account (id, domain, name, created_at) values ('a', 'd', 'a', 0)",
                "insert into zone (id, name, created_at) values ('z', 'z', 0)",
                FARMS,
            ):
                tx.execute(text(words))
        farms = [FarmId("farm-1"), FarmId("farm-2")]
        with holder.write() as tx, giver.write() as other:
            other.execute(text("update farm set holder = 'server-b' where id = 'farm-2'"))
            assert holdings.hold(tx, A, farms) == farms[:1], "and that without waiting"
            other.execute(text("set local lock_timeout = '50ms'"))
            with pytest.raises(OperationalError, match="lock timeout"), other.begin_nested():
                holdings.give(other, [(farms[0], A, B)])
            holdings.weigh(other)
            assert holdings.confirm(other, A) == 0
        with holder.write() as tx:
            assert holdings.hold(tx, A, farms) == farms[:1]
        giver.close()


# --- one that fails


def test_a_farm_whose_work_fails_is_found_and_left_out_and_the_others_go_on_at_once(servers):
    work = Work()
    a = servers.add(A, work.controller)
    farms = some_farms(servers, 33)
    bad = {farms[7], farms[8], farms[30]}
    work.broken = dict.fromkeys(bad, fails(ZeroDivisionError()))
    servers.give(A, *farms)
    servers.go(a)
    assert set(work.did) == set(farms) - bad, "in the very step in which it was found"
    assert servers.troubles() == dict.fromkeys(bad, (1, "work: ZeroDivisionError"))
    assert len(work.rounds) < 33, "not each of them alone"
    work.rounds.clear()
    servers.go(a, seconds=0.5)
    servers.go(a, seconds=0.5)
    assert [farm for each in work.rounds for farm in each if len(each) > 1 and farm in bad] == []
    assert a.figures.controller("work").row == 0, "the controller itself is well"


def test_a_row_that_makes_no_sense_keeps_nobody_elses_machines_waiting(servers):
    """The real work of real farms: what somebody's hand did to one customer's machine is that farm's trouble alone."""
    cloud = with_hosts(servers.cloud, "a", "b")
    cloud.around = replace(cloud.around, land=None)
    a = servers.add(A)
    customers = [cloud.account(f"customer-{number}") for number in range(3)]
    for each in customers:
        routed(cloud, each)
        cloud.deploy(each, name="web")
    odd = customers[1].account
    cloud.run("update machine set placement = '{' where name = 'web' and account = :a", a=odd)
    farms = dict(cloud.rows("select account, id from farm"))
    servers.give(A, *(FarmId(each) for each in farms.values()))
    servers.go(a, seconds=3)
    waiting = "select account from machine where state = 'waiting'"
    assert cloud.rows(waiting) == [(odd,)]
    ((farm, (tries, told)),) = servers.troubles().items()
    assert (farm, told) == (farms[odd], "machines: DecodeError")
    assert tries >= 2
    cloud.run("update machine set placement = '{}' where placement = '{'")
    servers.go(a, seconds=10)
    assert (cloud.rows(waiting), servers.troubles()) == ([], {})


def test_a_failing_farm_is_tried_ever_less_often_and_an_alert_ends_when_it_works(servers):
    work = Work()
    a = servers.add(A, work.controller)
    farms = some_farms(servers, 3)
    work.broken = {farms[1]: fails(Conflict("it can't"))}
    servers.give(A, *farms)
    servers.go(a)
    assert servers.open_alerts() == {}, "once may be chance"
    servers.go(a, seconds=20)
    tries, told = servers.troubles()[farms[1]]
    assert 3 <= tries <= 6
    assert told == "work: it can't"
    assert servers.open_alerts() == {farms[1]: Severity.CRITICAL}
    assert a.figures.farms.failing == 1
    done = len(work.did)
    servers.go(a, seconds=200)
    assert 150 < (len(work.did) - done) / 2 < 250, "the others have noticed nothing"
    assert servers.troubles()[farms[1]][0] <= 10
    work.broken.clear()
    servers.go(a, seconds=SELDOM * 1.3)
    assert servers.troubles() == {}
    assert work.did[-30:].count(farms[1]) == 10
    servers.open_alerts()
    servers.cloud.around.clock.wait(timedelta(minutes=2))
    assert servers.open_alerts() == {}


def test_back_off_doubles_up_to_minutes():
    assert [pause(tries) for tries in (1, 2, 3)] == [AGAIN, 2 * AGAIN, 4 * AGAIN]
    assert pause(50) == SELDOM


def test_two_servers_do_not_try_again_at_the_same_moment(alone):
    farms = some_farms(alone, 2)
    works = [Work(broken=dict.fromkeys(farms, fails(Conflict("no")))) for _ in range(2)]
    loops = [alone.add(name, work.controller) for name, work in zip((A, B), works, strict=True)]
    for name, farm in zip((A, B), farms, strict=True):
        alone.give(name, farm)
    alone.go(*loops)
    due = [next(iter(each.managers._failing.values())).due for each in loops]
    assert due[0] != due[1]


def test_who_gets_a_failing_farm_begins_with_what_is_known_of_it(servers):
    work = Work()
    a = servers.add(A, work.controller)
    farms = some_farms(servers, 2)
    work.broken = {farms[0]: fails(Conflict("it can't"))}
    servers.give(A, *farms)
    servers.go(a, seconds=30)
    known = servers.troubles()[farms[0]][0]
    theirs = Work(broken=work.broken)
    b = servers.add(B, theirs.controller)
    servers.give(B, *farms)
    servers.go(a, b, seconds=2)
    assert theirs.did, "the other one is served"
    assert [each for each in theirs.rounds if farms[0] in each] == [], "and this one not yet"
    servers.go(a, b, seconds=pause(known) * 1.3)
    assert servers.troubles()[farms[0]][0] == known + 1
    theirs.broken = {}
    servers.go(a, b, seconds=pause(known + 1) * 1.3)
    assert servers.troubles() == {}


def test_a_store_that_does_not_answer_is_no_farms_fault(alone):
    work = Work()
    writer = DirectWriter(alone.cloud.database)
    a = alone.add(A, work.controller, writer=writer)
    farms = some_farms(alone, 4)
    alone.give(A, *farms)
    alone.go(a, seconds=6)
    writer.fails = lambda where: where == "before commit"
    alone.go(a, seconds=6)
    assert alone.troubles() == {}
    assert a.figures.controller("work").row > 3, "that is the controller's"
    writer.fails = lambda _where: False
    work.did.clear()
    alone.go(a, seconds=3)
    assert set(work.did) == set(farms)
    assert a.figures.controller("work").row == 0


def test_a_farm_that_says_that_something_does_not_answer_is_found_all_the_same(alone):
    work = Work()
    a = alone.add(A, work.controller)
    farms = some_farms(alone, 4)
    work.broken = {farms[2]: fails(Unavailable("its disk does not answer"))}
    alone.give(A, *farms)
    alone.go(a)
    assert set(alone.troubles()) == {farms[2]}
    assert set(work.did) == set(farms) - {farms[2]}


def test_a_lost_race_for_rows_is_run_again_soon_and_blames_nobody(alone):
    class Deadlock(Exception):
        sqlstate = "40P01"

    work = Work()
    a = alone.add(A, work.controller)
    farms = some_farms(alone, 3)
    work.broken = {farms[0]: fails(OperationalError("", {}, Deadlock()))}
    alone.give(A, *farms)
    alone.go(a)
    assert (work.did, alone.troubles()) == ([], {})
    work.broken.clear()
    alone.go(a, seconds=0.5)
    assert work.did == farms


def test_a_part_of_a_farms_work_that_fails_does_not_undo_the_others(alone):
    good, bad = Work(), Work()
    two = FarmController("other", bad.wanting, bad.run, 1)
    a = alone.add(A, good.controller, two)
    farms = some_farms(alone, 2)
    bad.broken = {farms[0]: fails(Conflict("no"))}
    alone.give(A, *farms)
    alone.go(a, seconds=10)
    assert alone.troubles()[farms[0]][1] == "other: no"
    assert good.did.count(farms[0]) >= 3, "tried as often as the whole farm is"
    loads = dict(alone.cloud.rows("select id, load from farm"))
    assert loads[farms[0]] == good.did.count(farms[0])


def test_after_a_round_it_rests_for_as_long_as_that_took_and_then_answers_all_nudges_at_once(alone):
    clock, work = alone.cloud.around.clock, Work()
    controller = replace(work.controller, seconds=60, topic="news", rests=1.0)
    a = alone.add(A, controller)
    farms = some_farms(alone, 1)
    alone.give(A, *farms)
    alone.go(a, seconds=2)
    work.rounds.clear()
    work.broken = {farms[0]: lambda: clock.wait(timedelta(seconds=2))}  # so long it takes
    a.nudge(["news"])
    a.step()
    assert len(work.rounds) == 1
    for _ in range(3):
        a.nudge(["news"])
        clock.wait(timedelta(seconds=0.6))
        a.step()
    assert len(work.rounds) == 1
    assert a.managers.wait(9) == pytest.approx(0.2)
    alone.go(a, seconds=0.5)
    assert len(work.rounds) == 2
    alone.go(a, seconds=9)
    assert len(work.rounds) == 2, "nobody nudged since"


# --- one that stalls


def test_what_takes_far_too_long_is_found_and_tried_less_often(alone):
    clock = alone.cloud.around.clock
    work = Work()
    a = alone.add(A, work.controller)
    farms = some_farms(alone, 5)
    alone.give(A, *farms)

    def crawls() -> None:
        clock.wait(timedelta(seconds=STALLED + 2))

    work.broken = {farms[3]: crawls}
    alone.go(a, seconds=1.5)
    assert alone.troubles() == {farms[3]: (1, f"work: took {STALLED + 2:.0f} seconds")}
    alone.go(a, seconds=5)
    crowd = [each for each in work.rounds if len(each) > 1]
    assert crowd[-1] == [each for each in farms if each != farms[3]]
    work.broken.clear()
    alone.go(a, seconds=30)
    assert alone.troubles() == {}
