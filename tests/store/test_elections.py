"""Segments, suspicions and elections as rows, on both databases, and two transactions at once on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from arable.controllers.segment import SegmentManager
from arable.domain.errors import Conflict, NotFound, Unavailable
from arable.domain.ids import FarmId, SegmentId
from arable.domain.segment import (
    NOBODY,
    Cause,
    Election,
    Load,
    Segment,
    SegmentState,
    Suspicion,
)
from arable.runtime.clock import RealClock
from arable.store import elections, holdings, leases, segments
from arable.store.database import Database
from databases import fresh

NOW = datetime(2030, 1, 1, tzinfo=UTC)
A, B, C = (SegmentId(f"server-{letter}") for letter in "abc")
FARM = FarmId("farm-a")


def said(id_: SegmentId, **but) -> Segment:
    usual = {"seq": 0, "epoch": 0, "address": f"{id_}:8443", "state": SegmentState.READY}
    return Segment(id=id_, heartbeat_at=NOW, **usual | but)


def won(holder: SegmentId, epoch: int, cause=Cause.FIRST, agreed=()) -> Election:
    return Election(epoch=epoch, holder=holder, at=NOW, cause=cause, agreed=agreed)


def elected(tx, holder: SegmentId, epoch: int) -> None:
    elections.prepare(tx)
    elections.lock(tx)
    elections.elect(tx, won(holder, epoch), NOW + timedelta(seconds=3))


def with_farm(tx) -> None:
    at = {"at": 0}
    tx.execute(text("insert into domain (id, path, name, created_at) values ('d', 'root', 'root', :at)"), at)  # fmt: skip
    tx.execute(text("insert into account (id, domain, name, created_at) values ('a', 'd', 'a', :at)"), at)  # fmt: skip
    tx.execute(text("insert into zone (id, name, created_at) values ('z', 'z', :at)"), at)  # fmt: skip
    tx.execute(text("insert into farm (id, account, zone, name, created_at) values ('farm-a', 'a', 'z', 'f', :at)"), at)  # fmt: skip


def test_a_server_that_registers_again_is_last_in_line_and_has_a_new_epoch(database):
    with database.write() as tx:
        assert segments.register(tx, said(A)) == (1, 1)
        assert segments.register(tx, said(B)) == (1, 2)
        assert segments.register(tx, said(A, site="north")) == (2, 3)
        found = segments.members(tx)
    assert [(each.id, each.seq, each.epoch, each.site) for each in found] == [
        (B, 2, 1, ""),
        (A, 3, 2, "north"),
    ]


def test_a_heartbeat_counts_only_with_the_present_epoch(database):
    load = Load(cpu_percent=7, memory_mib=100, lag_ms=3, pending=2)
    with database.write() as tx:
        epoch, _ = segments.register(tx, said(A))
        later = NOW + timedelta(seconds=5)
        assert segments.beat(tx, A, epoch, later, load)
        assert not segments.beat(tx, A, epoch + 1, later, load)
        assert not segments.beat(tx, B, epoch, later, load)
        (found,) = segments.members(tx)
        assert (found.heartbeat_at, found.load) == (later, load)
        assert segments.fence(tx, A, epoch)
        assert not segments.fence(tx, A, epoch), "it is another epoch now"
        assert not segments.beat(tx, A, epoch, later, load)
        with pytest.raises(Conflict):
            segments.demand(tx, A, epoch)
        (found,) = segments.members(tx)
        assert found.state is SegmentState.GONE
        epoch, _ = segments.register(tx, said(A))
        segments.demand(tx, A, epoch)
        assert segments.beat(tx, A, epoch, later, load)


def test_a_server_drains_and_is_ready_again(database):
    with database.write() as tx:
        epoch, _ = segments.register(tx, said(A))
        segments.become(tx, A, SegmentState.DRAINING)
        assert segments.members(tx)[0].state is SegmentState.DRAINING
        segments.become(tx, A, SegmentState.READY)
        with pytest.raises(NotFound):
            segments.become(tx, B, SegmentState.READY)
        segments.leave(tx, A, epoch)
        with pytest.raises(Conflict):
            segments.become(tx, A, SegmentState.READY)


def test_what_is_asked_of_the_platform_is_answered_once(database):
    with database.write() as tx:
        segments.register(tx, said(A))
        segments.ask(tx, A, "restart", NOW)
        segments.tell(tx, A, "stop", "of something else")
        assert segments.members(tx)[0].told == ""
        segments.tell(tx, A, "restart", "done")
        (found,) = segments.members(tx)
        assert (found.asked, found.asked_at, found.told) == ("restart", NOW, "done")


def test_the_mastership_changes_hands_with_a_growing_epoch(database):
    with database.write() as tx:
        assert elections.mastership(tx).holder == NOBODY
        elected(tx, A, 1)
        assert elections.renew(tx, A, 1, NOW, NOW + timedelta(seconds=5))
        assert not elections.renew(tx, A, 2, NOW, NOW)
        assert not elections.renew(tx, B, 1, NOW, NOW)
        leases.demand(tx, A, 1)
        elected(tx, B, 2)
        for holder, epoch in ((A, 1), (B, 1), (A, 2)):
            with pytest.raises(Conflict):
                leases.demand(tx, holder, epoch)
        leases.demand(tx, B, 2)
        found = elections.mastership(tx)
        assert (found.holder, found.epoch, found.since) == (B, 2, NOW)


def test_a_lease_that_has_ended_is_not_renewed(database):
    with database.write() as tx:
        elected(tx, A, 1)
        late = NOW + timedelta(seconds=3)
        assert not elections.renew(tx, A, 1, late, late + timedelta(seconds=3))
        elections.resign(tx, A, 1, NOW)
        assert elections.mastership(tx).until == NOW


def test_a_suspicion_remembers_since_when_and_is_taken_back(database):
    later = NOW + timedelta(seconds=1)
    with database.write() as tx:
        elected(tx, A, 1)
        for each in (B, C):
            segments.register(tx, said(each))
        elections.suspect(tx, Suspicion(B, 1, NOW, NOW, "no answer"))
        elections.suspect(tx, Suspicion(B, 1, later, later, "no answer"))
        assert elections.suspicions(tx) == (Suspicion(B, 1, NOW, later, "no answer"),)
        elections.suspect(tx, Suspicion(C, 1, NOW, NOW))
        elections.absolve(tx, C)
        assert len(elections.suspicions(tx)) == 1
        elections.suspect(tx, Suspicion(B, 2, later, later))
        assert elections.suspicions(tx) == (Suspicion(B, 2, later, later),), (
            "of another epoch: anew"
        )


def test_the_history_says_who_agreed(database):
    with database.write() as tx:
        elected(tx, A, 1)
        elections.elect(tx, won(B, 2, Cause.SUSPECTED, (B, C)), NOW)
        newest, first = elections.history(tx)
        assert newest == won(B, 2, Cause.SUSPECTED, (B, C))
        assert (first.holder, first.agreed) == (A, ())
        assert elections.thrown_over(tx, NOW) == 1
        assert elections.thrown_over(tx, NOW + timedelta(seconds=1)) == 0


def test_a_farm_is_given_confirmed_and_held(database):
    with database.write() as tx:
        with_farm(tx)
        for each in (A, B):
            segments.register(tx, said(each))
        (orphan,) = holdings.orphans(tx, 10)
        assert (orphan.farm, orphan.holder) == (FARM, NOBODY)
        assert holdings.give(tx, [(FARM, NOBODY, A)]) == 1
        assert holdings.orphans(tx, 10) == []
        assert holdings.hold(tx, A, [FARM]) == []
        assert holdings.confirm(tx, A) == 1
        assert holdings.confirm(tx, A) == 0
        assert holdings.hold(tx, A, [FARM]) == [FARM]
        assert holdings.hold(tx, B, [FARM]) == []
        assert holdings.give(tx, [(FARM, NOBODY, B)]) == 0, "it is not nobody's"
        assert holdings.give(tx, [(FARM, A, B)]) == 1
        assert holdings.hold(tx, A, [FARM]) == []
        assert {each.id: each.farms for each in segments.page(tx)} == {A: 0, B: 1}
        holdings.weigh(tx)
        assert [each.load for each in holdings.every(tx)] == [0]


def test_farms_of_those_that_drain_or_are_gone_need_another_holder(database):
    with database.write() as tx:
        with_farm(tx)
        epoch, _ = segments.register(tx, said(A))
        holdings.give(tx, [(FARM, NOBODY, A)])
        segments.become(tx, A, SegmentState.DRAINING)
        assert [each.holder for each in holdings.orphans(tx, 10)] == [A]
        segments.become(tx, A, SegmentState.READY)
        assert holdings.orphans(tx, 10) == []
        segments.fence(tx, A, epoch)
        assert len(holdings.orphans(tx, 10)) == 1
        segments.forget(tx, NOW + timedelta(days=9))
        assert len(segments.members(tx)) == 1, "it has a farm yet"


# --- at once, on PostgreSQL


@pytest.fixture
def shared(request, tmp_path):
    with fresh("postgresql", tmp_path, request) as made:
        yield made


def manager(database: Database, id_: SegmentId, **but) -> SegmentManager:
    def transact(work):
        with database.write() as tx:
            return work(tx)

    return SegmentManager(said(id_), transact, RealClock(), **but)


def test_of_candidates_at_once_one_wins(shared):
    for round_ in range(1, 6):
        members = [manager(shared, SegmentId(f"server-{n}")) for n in range(6)]
        with shared.write() as tx:
            elections.prepare(tx)
            now = leases.now(tx, NOW)
            for each in members:
                each._epoch, _ = segments.register(tx, replace(each.about, heartbeat_at=now))
            # The lease ended so long ago that anybody may.
            tx.execute(text("update lease set until = 1, holder = 'x' where name = 'master'"))
        barrier = threading.Barrier(len(members))

        def stand(member: SegmentManager, barrier: threading.Barrier = barrier):
            barrier.wait(30)
            try:
                return member.transact(member._elect)
            except Unavailable:  # on a busy machine it may wait too long for the one that wins
                return None

        with ThreadPoolExecutor(len(members)) as pool:
            done = [each for each in pool.map(stand, members) if each]
        assert len(done) == 1
        assert done[0].epoch == round_
        with shared.read() as tx:
            assert elections.mastership(tx).holder == done[0].holder


def test_an_election_waits_for_a_masters_write_and_refuses_the_next(shared):
    with shared.write() as tx:
        elected(tx, A, 1)
    begun, go_on, told = threading.Event(), threading.Event(), []

    def writes() -> None:
        with shared.write() as tx:
            leases.demand(tx, A, 1)
            begun.set()
            go_on.wait(30)
        told.append("written")

    def elects() -> None:
        with shared.write() as tx:
            tx.execute(text("select 1 from lease where name = 'master' for update"))
            elections.elect(tx, won(B, 2), NOW)
            told.append("elected")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(writes)
        assert begun.wait(30)
        with shared.write() as tx:
            assert elections.renew(tx, A, 1, NOW, NOW + timedelta(seconds=4)), "the holder renews"
        second = pool.submit(elects)
        go_on.set()
        first.result(30)
        second.result(30)
    assert told == ["written", "elected"]
    with shared.write() as tx, pytest.raises(Conflict):
        leases.demand(tx, A, 1)


def test_a_master_frozen_within_a_transaction_does_not_hold_up_its_successor(shared):
    """It holds the lease's row and would for as long as it is frozen; its session is ended for it."""
    with shared.write() as tx:
        elected(tx, A, 1)
        segments.register(tx, said(A))
    frozen = create_engine(shared.url, connect_args={"application_name": A})
    with frozen.connect() as tx:
        leases.demand(tx, A, 1)
        with shared.write() as other, pytest.raises(Unavailable):
            elections.lock(other)

        def ended() -> int:
            with shared.write() as third:
                return segments.hang_up(third, A)

        found = 0
        clock = RealClock()
        end = clock.monotonic() + 60
        while not found and clock.monotonic() < end:
            found = ended()
        assert found == 1
        with shared.write() as other:
            assert elections.lock(other).epoch == 1
        tx.invalidate()
    frozen.dispose()
