"""Asking for a new password: shown once, kept as a hash until the machine has it, and then no more."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from make_cloud import Cloud

from arable.controllers import passwords as settled
from arable.domain.errors import Conflict, NotFound
from arable.domain.ids import HostId, MachineId
from arable.domain.manifest import GuestSeen, GuestState, HostReport
from arable.runtime.ca import Authority
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from arable.services import password_resets, power
from arable.services.opened import opened
from arable.services.operations import get as operation
from arable.services.passwords import Password
from arable.wire.machines import DestroyIn, PasswordResetIn, PasswordResetOut
from arable.wire.operations import OperationWaitQuery

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MADE = Password(Secret("a generated one"), "$6$salt$hash")


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"), RealClock(), Entropy("authority"))


@pytest.fixture(autouse=True)
def _sealing(request, authority) -> None:
    name = "cloud" if "cloud" in request.fixturenames else "lone_cloud"
    made = request.getfixturevalue(name)
    made.around = replace(made.around, authority=authority)


def a_machine(cloud: Cloud, me, state: str = "running") -> MachineId:
    machine = MachineId(cloud.deploy(me, name="web", start=False).machines[0].id)
    wish = "stopped" if state in ("stopped", "error") else "running"
    cloud.run("update machine set state = :state, wish = :wish", state=state, wish=wish)
    return machine


def reset(cloud: Cloud, me, machine: MachineId, **ask) -> PasswordResetOut:
    return cloud.do(me, password_resets.reset, machine, PasswordResetIn(**ask), MADE)


def state(cloud: Cloud, me, told: PasswordResetOut) -> str:
    return cloud.do(me, operation, told.operation, OperationWaitQuery()).state


def says(cloud: Cloud, machine: MachineId, **but) -> None:
    seen = GuestSeen(
        **{"machine": machine, "generation": 1, "state": GuestState.RUNNING, "boots": 1} | but
    )
    report = HostReport(host=HostId("host-a"), generation=1, guests=(seen,))
    with cloud.database.write() as tx:
        settled.settle(tx, [report], NOW)


def everything(cloud: Cloud) -> str:
    return json.dumps(
        [cloud.everything(), list(map(list, cloud.rows("select * from machine_boot")))], default=str
    )


def number(cloud: Cloud) -> int:
    ((kept,),) = cloud.rows("select password from machine_boot")
    return json.loads(kept)["number"]


def test_a_generated_password_is_told_once_and_only_its_hash_is_kept_until_it_is_set(cloud):
    me = cloud.account("me")
    machine = a_machine(cloud, me)
    told = reset(cloud, me, machine, user="admin")
    assert told.password == "a generated one"
    assert state(cloud, me, told) == "running"
    kept = everything(cloud)
    assert "a generated one" not in kept
    assert "$6$" not in kept  # it is sealed, and opened for its host alone
    ((sealed,),) = cloud.rows("select password from machine_boot")
    item = json.dumps({"machine": machine, "password": json.loads(sealed)}, separators=(",", ":"))
    around = cloud.around
    wish = json.loads(opened(around.authority, item))["password"]
    assert (wish["user"], wish["hash"]) == ("admin", "$6$salt$hash")
    other = item.replace(machine, "machine-another")
    assert "password" not in json.loads(opened(around.authority, other))
    says(cloud, machine, password=number(cloud) + 1)
    says(cloud, machine)
    assert state(cloud, me, told) == "running"
    says(cloud, machine, password=number(cloud))
    assert state(cloud, me, told) == "done"
    assert "sealed" not in str(cloud.rows("select password from machine_boot"))
    assert cloud.rows("select kind from event order by number")[-1] == ("machine.password-set",)


def test_what_was_given_is_not_told_again(lone_cloud):
    me = lone_cloud.account("me")
    told = reset(lone_cloud, me, a_machine(lone_cloud, me), password="correct horse")
    assert told.password is None


def test_a_guest_that_can_t_do_it_ends_the_operation_and_nothing_is_kept(cloud):
    me = cloud.account("me")
    machine = a_machine(cloud, me)
    told = reset(cloud, me, machine)
    says(cloud, machine, password=number(cloud), password_told="its guest agent does not answer")
    found = cloud.do(me, operation, told.operation, OperationWaitQuery())
    assert found.state == "failed"
    assert "does not answer" in found.error.detail
    assert cloud.rows("select password from machine_boot") == [("",)]


def test_a_stopped_machine_is_given_it_later_and_nobody_waits(cloud):
    me = cloud.account("me")
    machine = a_machine(cloud, me, "stopped")
    told = reset(cloud, me, machine)
    assert state(cloud, me, told) == "done"
    says(cloud, machine, state=GuestState.STOPPED)
    assert number(cloud)


def test_one_that_goes_off_meanwhile_keeps_it_and_ends_the_operation(cloud):
    me = cloud.account("me")
    machine = a_machine(cloud, me)
    told = reset(cloud, me, machine)
    says(cloud, machine, state=GuestState.STOPPED)
    assert state(cloud, me, told) == "failed"
    says(cloud, machine, password=number(cloud))
    assert cloud.rows("select password from machine_boot") == [("",)]


def test_another_ask_and_a_destroyed_machine_end_the_one_before(cloud):
    me = cloud.account("me")
    machine = a_machine(cloud, me)
    first = reset(cloud, me, machine)
    before = number(cloud)
    second = reset(cloud, me, machine)
    assert number(cloud) > before
    assert (state(cloud, me, first), state(cloud, me, second)) == ("failed", "running")
    cloud.do(me, power.destroy, machine, DestroyIn())
    assert state(cloud, me, second) == "failed"
    assert cloud.rows("select password from machine_boot") == [("",)]


@pytest.mark.parametrize("found", ["waiting", "starting", "error"])
def test_only_a_machine_that_runs_or_is_stopped_can_be_given_one(lone_cloud, found):
    me = lone_cloud.account("me")
    machine = a_machine(lone_cloud, me, found)
    refused = lone_cloud.refused(me, password_resets.reset, machine, PasswordResetIn(), MADE)
    assert isinstance(refused, Conflict)


def test_another_account_s_machine_is_not_there(lone_cloud):
    me, other = lone_cloud.account("me"), lone_cloud.account("other")
    machine = a_machine(lone_cloud, me)
    refused = lone_cloud.refused(other, password_resets.reset, machine, PasswordResetIn(), MADE)
    assert isinstance(refused, NotFound)
