"""What comes to a zone's idle pool is noted once, summed up once, and what is reckoned of it is what happened."""

import heapq
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251 - seeded, of this test's own
from typing import NamedTuple

import pytest
from make_cloud import Cloud
from test_landing import HERE, MIB, attend, report, routed, seen, with_hosts

from arable.controllers import idle_pool as rounds
from arable.domain.errors import Forbidden
from arable.domain.manifest import GIVE_UP, GuestState
from arable.services import pool_plans, power
from arable.store import idle_pool
from arable.store.idle_pool import DaySum, Shape
from arable.wire.machines import StopIn
from arable.wire.pool_plans import PoolPlanOut, PoolPlanQuery

SUMS = "select sum(came), sum(again), sum(refused), sum(went) from {}"


class Wanted(NamedTuple):
    zone: str = "zone-here"
    cpus: int = 1
    cpu_mhz: int = 1000
    memory_mib: int = 512


def noted(cloud: Cloud, table: str = "pool_note") -> tuple:
    return cloud.rows(SUMS.format(table))[0]


def fold(cloud: Cloud) -> int:
    with cloud.database.write() as tx:
        return rounds.attend(tx, cloud.around.clock.now())


def days(cloud: Cloud) -> list[DaySum]:
    with cloud.database.read() as tx:
        return idle_pool.days(tx, HERE, cloud.around.clock.now(), 60)


def plan(cloud: Cloud, **query) -> PoolPlanOut:
    who = cloud.callers.get("operator") or cloud.account("operator", role="operator")
    return cloud.do(who, pool_plans.plan, HERE, PoolPlanQuery(**query))


def test_a_machine_is_noted_when_it_has_a_host_and_when_it_has_none_any_more(cloud):
    with_hosts(cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    machine = cloud.deploy(me, name="web", count=3).machines[0].id
    assert noted(cloud) == (3, 0, 0, 0)
    report(cloud, seen(cloud, machine))
    cloud.do(me, power.stop, machine, StopIn())
    attend(cloud)
    assert noted(cloud) == (3, 0, 0, 0)
    off = seen(cloud, machine, state=GuestState.STOPPED)
    report(cloud, off)
    report(cloud, off)  # said again
    assert noted(cloud) == (3, 0, 0, 1)
    cloud.do(me, power.start, machine)
    attend(cloud)
    assert noted(cloud) == (4, 0, 0, 1)


def test_who_finds_no_room_is_noted_and_who_wants_what_no_host_has_is_not(lone_cloud):
    with_hosts(lone_cloud, "a")
    me = lone_cloud.account("me")
    routed(lone_cloud, me)
    lone_cloud.deploy(me, name="web", count=MIB // 512 + 2)
    attend(lone_cloud)
    assert noted(lone_cloud) == (MIB // 512, 0, 2, 0)
    lone_cloud.deploy(me, name="ssd", offering="tagged")
    attend(lone_cloud)
    assert noted(lone_cloud) == (MIB // 512, 0, 2, 0)
    (small,) = plan(lone_cloud).shapes
    assert (small.offerings, small.machines, small.fits, small.refused) == (
        ["small", "tagged"], MIB // 512, 0, 2,
    )  # fmt: skip


def test_a_host_that_cannot_start_it_makes_it_no_new_arrival(lone_cloud):
    with_hosts(lone_cloud, "a", "b")
    me = lone_cloud.account("me")
    routed(lone_cloud, me)
    machine = lone_cloud.deploy(me).machines[0].id
    failed = seen(lone_cloud, machine, state=GuestState.FAILED)
    guests = tuple(replace(guest, tries=GIVE_UP) for guest in failed.guests)
    report(lone_cloud, replace(failed, guests=guests))
    attend(lone_cloud)
    report(lone_cloud, seen(lone_cloud, machine, state=GuestState.STOPPED))
    assert noted(lone_cloud) == (1, 0, 0, 1)
    attend(lone_cloud)
    assert noted(lone_cloud) == (2, 1, 0, 1)
    assert [shape.arrivals for shape in plan(lone_cloud).shapes] == [1]


def test_what_was_rolled_back_never_happened(lone_cloud):
    now = lone_cloud.around.clock.now()
    with suppress(RuntimeError), lone_cloud.database.write() as tx:
        idle_pool.note(tx, now, came=[Wanted()])
        raise RuntimeError
    assert noted(lone_cloud) == (None,) * 4
    with lone_cloud.database.write() as tx:
        idle_pool.note(tx, now, came=[Wanted()])
    with suppress(RuntimeError), lone_cloud.database.write() as tx:
        rounds.attend(tx, now)
        raise RuntimeError
    assert (noted(lone_cloud)[0], noted(lone_cloud, "pool_hour")[0]) == (1, None)


def test_summed_up_it_is_the_same_and_each_note_counts_once(cloud):
    clock = cloud.around.clock
    for hours, more in ((0, {"came": [Wanted()] * 3}), (5, {"went": [Wanted()]}),
                        (30, {"came": [Wanted(memory_mib=1024)], "refused": [Wanted()] * 2}), (1, {"went": [Wanted()]})):  # fmt: skip
        clock.wait(timedelta(hours=hours, minutes=13))
        with cloud.database.write() as tx:
            idle_pool.note(tx, clock.now(), **more)
    clock.wait(timedelta(minutes=7))
    before = days(cloud)
    assert [(each.back, each.shape.memory_mib, each.came, each.refused, each.went) for each in before] == [
        (0, 512, 0, 2, 1), (0, 1024, 1, 0, 0), (1, 512, 3, 0, 1),
    ]  # fmt: skip
    with cloud.database.write() as tx:
        assert idle_pool.fold(tx, 2) == 2
    assert days(cloud) == before
    assert fold(cloud) == 3
    assert fold(cloud) == 0
    assert noted(cloud) == (None,) * 4
    assert noted(cloud, "pool_hour") == (4, 0, 2, 2)
    assert days(cloud) == before
    clock.wait(idle_pool.KEPT + timedelta(days=3))
    with cloud.database.write() as tx:
        idle_pool.note(tx, clock.now(), came=[Wanted()])
    fold(cloud)
    assert noted(cloud, "pool_hour") == (1, 0, 0, 0)  # a year is enough


def test_an_hour_of_the_last_day_counts_until_now(lone_cloud):
    clock = lone_cloud.around.clock
    clock.wait(datetime(2026, 7, 1, 10, 40, tzinfo=UTC) - clock.now())
    for minutes in (0, 5):  # still the same hour, then the next one
        with lone_cloud.database.write() as tx:
            idle_pool.note(tx, clock.now(), came=[Wanted()])
        clock.wait(timedelta(minutes=5 + minutes))
        (day,) = days(lone_cloud)
        assert day.held == (5 * 60 if not minutes else (15 + 10) * 60)
    clock.wait(timedelta(minutes=65))
    fold(lone_cloud)
    (day,) = days(lone_cloud)
    assert day.held == (80 + 75) * 60


def test_where_nothing_ever_came_the_plan_says_so(lone_cloud):
    with_hosts(lone_cloud, "a", "b")
    found = plan(lone_cloud)
    assert (found.hosts, found.machines, found.shapes, found.chance) == (2, 0, [], 0.0)
    assert (found.add, found.spare) == (0, 2)
    assert found.told == ["nothing is known: no machine has come yet since this is recorded"]


def test_a_zone_without_hosts_has_no_size_to_go_by(lone_cloud):
    now = lone_cloud.around.clock.now()
    with lone_cloud.database.write() as tx:
        idle_pool.note(tx, now, refused=[Wanted()])
    lone_cloud.around.clock.wait(timedelta(days=1))
    found = plan(lone_cloud)
    assert (found.hosts, found.hosts_needed, found.chance) == (0, None, 1.0)
    assert found.cpu_mhz.needed >= 1000
    assert "no host takes machines now" in found.told


def test_customers_learn_nothing_of_it(lone_cloud):
    me = lone_cloud.account("me")
    error = lone_cloud.refused(me, pool_plans.plan, HERE, PoolPlanQuery())
    assert isinstance(error, Forbidden)


def test_the_plan_says_how_often_machines_that_were_played_found_no_room(lone_cloud):
    """They come by chance to two hosts of eight places each, and nobody is told how they were drawn."""
    with_hosts(lone_cloud, "a", "b")
    clock, dice = lone_cloud.around.clock, Random(3)
    end = clock.now() + timedelta(days=6)
    places, stay = 2 * (MIB // 512), 3 * 3600.0
    came = refused = 0
    ends: list[datetime] = []
    with lone_cloud.database.write() as tx:
        while (at := clock.now()) < end:
            while ends and ends[0] <= at:
                idle_pool.note(tx, heapq.heappop(ends), went=[Wanted()])
            if len(ends) < places:
                idle_pool.note(tx, at, came=[Wanted()])
                heapq.heappush(ends, at + timedelta(seconds=dice.expovariate(1 / stay)))
                came += 1
            else:
                idle_pool.note(tx, at, refused=[Wanted()])
                refused += 1
            clock.wait(timedelta(seconds=dice.expovariate(16 / stay)))
        for gone in ends:  # so that there is nobody whose row this test would have to write
            idle_pool.note(tx, min(gone, clock.now()), went=[Wanted()])
        idle_pool.fold(tx, 700)
    found = plan(lone_cloud)
    (one,) = found.shapes
    assert (one.arrivals, one.refused) == (came + refused, refused)
    assert one.load == pytest.approx(16, rel=0.08)
    assert one.stay_seconds == pytest.approx(stay, rel=0.08)
    assert one.chance == pytest.approx(refused / (came + refused), abs=0.03)
    assert 0.1 < found.chance == one.chance
    assert (found.hosts_needed, found.decides, found.add) == (4, "memory_mib", 2)
    assert found.memory_mib.needed == pytest.approx(
        25 * 512, rel=0.1
    )  # Erlang's tables: 16 erlangs at 1 %
    assert found.told[0] == "add 2 hosts: 4 are needed, memory decides"


def test_what_grows_week_by_week_is_expected_to_go_on(lone_cloud):
    with_hosts(lone_cloud, "a")
    clock = lone_cloud.around.clock
    with lone_cloud.database.write() as tx:
        for _ in range(6):
            idle_pool.note(tx, clock.now(), came=[Wanted()] * 4)
            clock.wait(timedelta(days=7))
        clock.wait(timedelta(hours=1))
        idle_pool.note(tx, clock.now(), went=[Wanted()] * 24)
    found = plan(lone_cloud, days=28)
    assert [each.weeks for each in found.forecast] == [6, 6]
    for each in found.forecast:
        assert each.expected == pytest.approx(42 / 24, rel=0.05)
        assert each.low <= each.expected <= each.high
    now, then = found.memory_mib.needed, found.memory_mib.needed_then
    assert then
    assert then > now
    assert found.chance_then
    assert found.chance_then > found.chance


def test_shapes_are_called_after_the_offerings_that_make_them(lone_cloud):
    with lone_cloud.database.read() as tx:
        assert idle_pool.names(tx)[Shape(4, 4000, 4096)] == ["large"]
