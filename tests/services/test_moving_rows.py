"""Moves by the contract of docs/decisions/0008, told and heard by hand, on each database."""

from datetime import timedelta

import msgspec
import pytest
from test_landing import report, seen
from test_machines_on_shared_disks import item, placed
from test_machines_on_shared_disks import shared as shared  # noqa: PLC0414 - a fixture

from arable.controllers import balancing, draining, moving
from arable.domain.errors import Conflict
from arable.domain.ids import HostId
from arable.domain.manifest import (
    ExportSeen,
    ExportState,
    ExportWish,
    GuestSeen,
    GuestState,
    GuestStats,
    GuestWish,
    Heir,
    HostReport,
    MovePhase,
    MoveSeen,
)
from arable.services import explanations, hosts, operations
from arable.services import moving as asks
from arable.store import figures
from arable.wire.hosts import HostChange
from arable.wire.machines import MoveIn
from arable.wire.operations import OperationWaitQuery


def round_of(cloud, controller=moving) -> int:
    with cloud.database.write() as tx:
        return controller.watch(tx, cloud.around.clock.now())


def lease(cloud, machine, holder: str, epoch: int, generation: int = 2) -> None:
    held = ExportSeen(
        machine=machine,
        generation=generation,
        state=ExportState.HELD,
        epoch=epoch,
        holder=HostId(holder),
        highest=epoch,
    )
    report(cloud, HostReport(host=HostId("host-s"), generation=2, exports=(held,)))


def says(cloud, host: str, machine, phase: MovePhase, **but) -> None:
    move = MoveSeen(epoch=2, phase=phase, **but)
    state = GuestState.RUNNING if but.get("sent_bytes") else GuestState.PREPARING
    guest = GuestSeen(machine=machine, generation=1, state=state, boots=1, move=move)
    report(cloud, HostReport(host=HostId(host), generation=1, guests=(guest,)))


@pytest.fixture
def moving_one(shared):
    """A machine that runs, the hosts that it is on and can go to, and an operator."""
    made = placed(shared)
    report(shared, seen(shared, made))
    old, _ = item(shared, "guest", made)
    lease(shared, made, old, 1)
    (new,) = {"host-a", "host-b"} - {old}
    shared.run("""update host set facts = '{"moves": "same"}'""")
    return made, old, new, shared.account("o", role="operator")


def wish(cloud, host: str, machine: str) -> GuestWish:
    ((body,),) = cloud.rows(
        "select body from manifest_item where kind = 'guest' and host = :h and id = :id",
        h=host,
        id=machine,
    )
    return msgspec.json.decode(body, type=GuestWish)


def test_a_move_goes_by_the_contract_to_its_end(shared, moving_one):
    made, old, new, operator = moving_one
    operation = shared.do(operator, asks.move, made, MoveIn()).id
    assert round_of(shared) == 1
    assert round_of(shared) == 0, "nothing new is known"
    export = msgspec.json.decode(item(shared, "export", made)[1], type=ExportWish)
    assert (export.holder, export.epoch, export.heir) == (old, 1, Heir(host=new, epoch=2))
    target = wish(shared, new, made)
    assert (target.epoch, target.move.source, target.move.target) == (2, old, new)
    assert wish(shared, old, made).move is None
    held = "select id, machines, reserved_memory_mib from host where machines > 0 order by id"
    assert shared.rows(held) == [("host-a", 1, 512), ("host-b", 1, 512)]
    assert shared.rows("select count(*) from network_presence where host = :h", h=new) == [(1,)]
    says(shared, new, made, MovePhase.READY, address="10.0.0.2:49152")
    report(shared, HostReport(host=HostId(new), generation=99, vlans=()))
    assert shared.rows("select count(*) from network_presence where host = :h", h=new) == [(1,)]
    assert round_of(shared) == 1
    source = wish(shared, old, made)
    assert (source.epoch, source.move.address) == (1, "10.0.0.2:49152")
    says(shared, old, made, MovePhase.MOVING, sent_bytes=5 << 20, left_bytes=7 << 20)
    shown = shared.do(operator, operations.get, operation, OperationWaitQuery())
    assert shown.result == {"stage": "moving", "sent_bytes": 5 << 20, "left_bytes": 7 << 20}
    told = "; ".join(shared.do(operator, explanations.explain, made).says)
    assert "moving, 5 MiB sent, 7 MiB left" in told
    assert round_of(shared) == 0
    with shared.database.read() as tx:
        assert figures.look(tx).moves["moving"] == 1
    lease(shared, made, new, 2)
    assert shared.rows("select epoch from machine where id = :id", id=made) == [(1,)]
    assert round_of(shared) == 1
    where = "select host, epoch, state, attention from machine where id = :id"
    assert [tuple(map(str, row)) for row in shared.rows(where, id=made)] in (
        [(new, "2", "running", "True")],
        [(new, "2", "running", "1")],
    )
    assert shared.rows(held) == [(new, 1, 512)]
    scraps = "select host from manifest_item where kind = 'scrap' and body is not null"
    assert shared.rows(scraps) == [(old,)]
    assert shared.rows("select state from operation where id = :id", id=operation) == [("done",)]


def test_what_fails_is_taken_back_in_two_steps_and_the_next_has_another_epoch(shared, moving_one):
    made, old, new, operator = moving_one
    operation = shared.do(operator, asks.move, made, MoveIn(to=new.removeprefix("host-"))).id
    round_of(shared)
    says(shared, new, made, MovePhase.READY, address="10.0.0.2:49152")
    round_of(shared)
    says(shared, old, made, MovePhase.FAILED, told="the connection was lost")
    assert round_of(shared) == 1
    export = msgspec.json.decode(item(shared, "export", made)[1], type=ExportWish)
    assert (export.holder, export.epoch, export.heir) == (old, 1, None)
    assert wish(shared, new, made).move is not None, "until it is known that it can't be its"
    assert round_of(shared) == 0
    lease(shared, made, old, 1, export.generation)
    assert round_of(shared) == 1
    state, error = shared.rows("select state, error from operation where id = :id", id=operation)[0]
    assert state == "failed"
    assert "the connection was lost" in str(error)
    assert shared.rows("select count(*) from manifest_item where host = :h and kind = 'guest' and body is not null", h=new) == [(0,)]  # fmt: skip
    assert shared.rows("select sum(machines) from host") == [(1,)]
    shared.run("update machine set attention = false")
    shared.do(operator, asks.move, made, MoveIn())
    says(shared, old, made, MovePhase.FAILED, told="an old word")
    round_of(shared)
    assert wish(shared, new, made).epoch == 3
    assert shared.rows("select stage, failing or cancelled from move")[0][0] == "preparing"
    assert round_of(shared) == 0


def test_maintenance_wishes_for_moves_and_shows_them(shared, moving_one):
    made, old, _new, operator = moving_one
    shared.do(operator, hosts.update, HostId(old), HostChange(maintenance=True))
    assert round_of(shared, draining) == 1
    assert round_of(shared, draining) == 0
    staying = shared.do(operator, hosts.get, HostId(old)).staying
    assert [(one.machine, one.leaves, one.told) for one in staying] == [(made, True, "waiting")]
    assert isinstance(shared.refused(operator, asks.cancel, made), Conflict)
    shared.do(operator, hosts.update, HostId(old), HostChange(maintenance=False))
    round_of(shared, draining)
    assert round_of(shared) == 1
    assert shared.rows("select stage, told from move") == [("over", "it was called off")]


def test_what_processors_really_do_is_kept_and_evened_out(shared, moving_one):
    made, old, new, _operator = moving_one
    clock = shared.around.clock
    for second in range(0, 200, 10):
        stats = GuestStats(machine=made, cpu_ns=second * 30 * 10**9)
        report(shared, HostReport(host=HostId(old), generation=1, stats=(stats,)))
        clock.wait(timedelta(seconds=10))
    ((used,),) = shared.rows("select millicpus from machine_usage where machine = :id", id=made)
    assert 29_000 < used <= 30_000
    assert round_of(shared, balancing) == 0, "moving it would only turn things round"
    shared.run("update host set memory_mib = 1024, reserved_memory_mib = 1024 where id = :h", h=old)
    assert round_of(shared, balancing) == 1
    assert shared.rows("select wanted, why from move") == [(new, "balance")]
    assert round_of(shared, balancing) == 0, "something is on its way"
