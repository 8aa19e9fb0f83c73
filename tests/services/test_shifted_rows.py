"""Disks that go to another pool under a machine that runs, by docs/decisions/0055, told and heard by hand, on each database."""

from typing import NamedTuple

import msgspec
import pytest
from make_cloud import Cloud
from test_carried_volumes import balanced, erased, scraps
from test_landing import POD, attend, report, seen
from test_machines_on_shared_disks import _host, placed
from test_machines_on_shared_disks import shared as shared  # noqa: PLC0414 - a fixture

from arable.controllers import moving
from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.manifest import (
    ExportSeen,
    ExportState,
    ExportWish,
    GuestSeen,
    GuestState,
    GuestWish,
    HostReport,
    MovePhase,
    MoveSeen,
)
from arable.domain.pool import NBD
from arable.services import explanations, migrating
from arable.wire.volumes import MigrateVolumeIn

THERE = "172.30.0.8:10808"


class One(NamedTuple):
    """A machine that runs, its host, its disk, and an operator."""

    machine: MachineId
    host: str
    volume: VolumeId
    boss: object


@pytest.fixture
def one(shared) -> One:
    made = MachineId(placed(shared))
    report(shared, seen(shared, made))
    with shared.database.write() as tx:
        _host(tx, shared, "t", POD, ("storage",), kind=NBD, address=THERE)
    ((host,),) = shared.rows("select host from machine where id = :i", i=made)
    says_lease(shared, made, host)
    ((volume,),) = shared.rows("select id from volume where machine = :i", i=made)
    return One(made, host, VolumeId(volume), shared.account("o", role="operator"))


def says_lease(cloud: Cloud, machine: str, holder: str, *, at: str = "host-s", **but) -> None:
    usual = {"generation": 2, "state": ExportState.HELD, "epoch": 1, "highest": 1}
    held = ExportSeen(machine=MachineId(machine), holder=HostId(holder), **usual | but)
    report(cloud, HostReport(host=HostId(at), generation=2, exports=(held,)))


def says_move(cloud: Cloud, one: One, phase: MovePhase, **but) -> None:
    ((epoch,),) = cloud.rows("select epoch from move")
    move = MoveSeen(epoch=epoch, phase=phase, **but)
    ((told,),) = cloud.rows("select told from machine where id = :i", i=one.machine)
    guest = GuestSeen(
        machine=one.machine, generation=told, state=GuestState.RUNNING, boots=1, move=move
    )
    report(cloud, HostReport(host=HostId(one.host), generation=1, guests=(guest,)))


def goes(cloud: Cloud, one: One):
    return cloud.do(one.boss, migrating.migrate, one.volume, MigrateVolumeIn(pool="pool-t"))


def turn(cloud: Cloud) -> None:
    with cloud.database.write() as tx:
        moving.watch(tx, cloud.around.clock.now())


def exports(cloud: Cloud) -> dict[str, ExportWish]:
    query = "select host, body from manifest_item where kind = 'export' and body is not null"
    return {host: msgspec.json.decode(body, type=ExportWish) for host, body in cloud.rows(query)}


def guest(cloud: Cloud, one: One) -> GuestWish:
    query = "select body from manifest_item where kind = 'guest' and id = :i and host = :h"
    ((body,),) = cloud.rows(query, i=one.machine, h=one.host)
    return msgspec.json.decode(body, type=GuestWish)


def ended(cloud: Cloud) -> list[tuple[str, str]]:
    query = "select state, error from operation where kind = 'volume.migrate' order by id"
    return [(state, str(error or "")) for state, error in cloud.rows(query)]


def where(cloud: Cloud, one: One) -> str:
    ((pool,),) = cloud.rows("select pool from volume where id = :i", i=one.volume)
    return str(pool)


def test_they_are_in_the_other_pool_when_their_storage_host_has_given_them_away(shared, one):
    asked = goes(shared, one)
    assert goes(shared, one).id == asked.id, "asked again"
    assert balanced(shared)
    turn(shared)
    told = exports(shared)
    assert told["host-s"].heir.away
    assert told["host-s"].heir.host == told["host-t"].holder == one.host
    assert told["host-t"].beside
    assert (told["host-t"].epoch, told["host-t"].disks[0].made) == (1, False)
    shift = guest(shared, one).shift
    assert (shift.epoch, shift.target.address) == (told["host-s"].heir.epoch, THERE)
    says_lease(shared, one.machine, one.host, at="host-t", beside=True)
    says_move(shared, one, MovePhase.MOVING, sent_bytes=300 << 20, left_bytes=700 << 20)
    turn(shared)
    ((copied,),) = shared.rows("select copied_mib from carry")
    assert copied == 300
    why = str(shared.do(one.boss, explanations.explain, one.machine))
    assert "the disks go to t's pool while it runs: preparing, 300 MiB sent" in why
    assert where(shared, one) == "pool-s"
    says_lease(shared, one.machine, one.host, state=ExportState.FREE, away=shift.epoch)
    turn(shared)
    assert where(shared, one) == "pool-t"
    assert ended(shared) == [("done", "")]
    assert scraps(shared) == [("host-s", one.volume)]
    attend(shared)
    assert set(exports(shared)) == {"host-t"}
    now = guest(shared, one)
    assert now.shift is None
    assert now.disks[0].shared.host == "host-t"
    assert now.epoch == 1
    assert not exports(shared)["host-t"].beside
    assert balanced(shared)
    erased(shared)
    assert balanced(shared)
    assert not shared.rows("select * from carry")


def test_what_breaks_leaves_them_where_they_were_once_their_storage_host_says_so(shared, one):
    goes(shared, one)
    turn(shared)
    says_move(shared, one, MovePhase.FAILED, told="the copy broke off")
    turn(shared)
    told = exports(shared)
    assert told["host-s"].heir is None
    assert told["host-t"].beside, "before anything else is said"
    assert guest(shared, one).shift
    turn(shared)
    assert ended(shared) == [("running", "")]
    ((generation,),) = shared.rows("select generation from move")
    says_lease(shared, one.machine, one.host, generation=generation)
    turn(shared)
    ((state, error),) = ended(shared)
    assert (state, "the copy broke off" in error) == ("failed", True)
    assert where(shared, one) == "pool-s"
    assert scraps(shared) == [("host-t", one.volume)]
    attend(shared)
    assert set(exports(shared)) == {"host-s"}
    assert guest(shared, one).shift is None
    erased(shared)
    assert balanced(shared)
    again = goes(shared, one)
    turn(shared)
    assert exports(shared)["host-s"].heir.epoch > told["host-t"].epoch + 1, again


@pytest.mark.parametrize("word", ["its storage host", "its host"])
def test_what_was_called_off_too_late_has_happened(shared, one, word):
    goes(shared, one)
    turn(shared)
    shared.do(one.boss, migrating.cancel, one.volume)
    turn(shared)
    assert exports(shared)["host-s"].heir is None
    ((epoch,),) = shared.rows("select epoch from move")
    if word == "its host":
        says_move(shared, one, MovePhase.DONE, address=THERE)
    else:
        says_lease(shared, one.machine, one.host, state=ExportState.FREE, away=epoch)
    turn(shared)
    assert where(shared, one) == "pool-t"
    assert ended(shared) == [("done", "")]
