"""Members that go, and machines that stop, when nobody is at them any more, or the time for that is over."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from test_balancers import asked, shop_of, wish
from test_landing import with_hosts

from arable.controllers import leaving_members
from arable.domain.balancer import BalancerSeen, MemberSeen
from arable.domain.ids import HostId
from arable.domain.network import ApplianceState
from arable.services import balancers, operations, power
from arable.store import balancers as kept
from arable.store import schema as t
from arable.wire.balancers import MemberChange, RemoveMemberQuery
from arable.wire.machines import DestroyIn, StopIn
from arable.wire.operations import OperationWaitQuery


class Town:
    """A balancer with two members, whose machines and router run."""

    def __init__(self, shop) -> None:
        self.cloud, self.me, (self.one, self.two), self.network, own = shop
        made = self.cloud.do(self.me, balancers.create, asked(own, self.one, self.two))
        self.balancer = made.balancer.id
        self.nics = {m.machine: m.nic for m in made.balancer.members}
        with_hosts(self.cloud, "a")
        ((host,),) = self.cloud.rows("select id from host")
        self.host = HostId(host)
        with self.cloud.database.write() as tx:
            tx.execute(
                update(t.network).values(
                    appliance_host=self.host,
                    appliance_state=ApplianceState.RUNNING,
                    attention=False,
                )
            )
            tx.execute(update(t.machine).values(state="running", wish="running", operation=None))

    def weights(self) -> list[int]:
        (told,) = wish(self.cloud, self.network).balancers
        return [member.weight for member in told.members]

    def told(self, **sessions: int) -> None:
        """The router says who is at whom, a moment later; of whom it has the weights that it should."""
        self.cloud.around.clock.wait(timedelta(seconds=1))
        (told,) = wish(self.cloud, self.network).balancers
        ids = {self.nics[self.one]: "one", self.nics[self.two]: "two"}
        members = tuple(
            MemberSeen(
                nic=m.nic, up=True, told="", weight=m.weight, sessions=sessions.get(ids[m.nic], 0)
            )
            for m in told.members
        )
        seen = BalancerSeen(id=self.balancer, members=members)
        with self.cloud.database.write() as tx:
            kept.keep_seen(tx, [(self.host, seen)], self.cloud.around.clock.now())

    def look(self) -> int:
        with self.cloud.database.write() as tx:
            return leaving_members.attend(tx, self.cloud.around.clock.now())

    def remove(self, machine: str, seconds: int | None = None):
        query = RemoveMemberQuery(drain_seconds=seconds)
        return self.cloud.do(self.me, balancers.remove_member, self.balancer, machine, query)

    def stop(self, **said):
        return self.cloud.do(self.me, power.stop, self.one, StopIn(**said))

    def operation(self, id_: str):
        return self.cloud.do(self.me, operations.get, id_, OperationWaitQuery())

    def machine(self) -> tuple[str, str, str | None]:
        (row,) = self.cloud.rows(
            "select state, wish, operation from machine where id = :id", id=self.one
        )
        return tuple(row)

    def calm(self) -> bool:
        """Whether somebody waits for the balancer's news."""
        ((calm,),) = self.cloud.rows("select calm from balancer")
        return calm not in (None, "null")


@pytest.fixture
def on_both(cloud, tmp_path) -> Town:
    return Town(shop_of(cloud, tmp_path))


@pytest.fixture
def town(lone_cloud, tmp_path) -> Town:
    return Town(shop_of(lone_cloud, tmp_path))


def test_a_member_goes_when_nobody_is_at_it_any_more(on_both):
    town = on_both
    going = town.remove(town.one)
    assert going.state == "running"
    assert town.weights() == [0, 1]
    assert town.look() == 0, "nothing was said since"
    town.told(one=3)
    assert town.look() == 0
    assert "3 connections" in town.operation(going.id).steps[-1].text
    assert town.calm()
    town.told(one=0)
    assert town.look() == 1
    assert town.operation(going.id).state == "done"
    assert town.weights() == [1]
    assert not town.calm()
    assert town.look() == 0


def test_what_is_not_over_in_time_is_not_waited_for(town):
    going = town.remove(town.one, 30)
    town.told(one=3)
    town.look()
    town.cloud.around.clock.wait(timedelta(seconds=30))
    assert town.look() == 1
    done = town.operation(going.id)
    assert done.state == "done"
    assert any("by themselves" in step.text for step in done.steps)
    assert town.weights() == [1]


def test_at_once_means_at_once_and_takes_the_place_of_waiting(town):
    going = town.remove(town.one)
    assert town.weights() == [0, 1]
    town.remove(town.one, 0)
    assert town.weights() == [1]
    assert "superseded" in town.operation(going.id).error.detail
    assert town.look() == 0


def test_a_member_that_is_changed_stays(town):
    going = town.remove(town.one)
    change = MemberChange(draining=False)
    town.cloud.do(town.me, balancers.update_member, town.balancer, town.one, change)
    assert town.weights() == [1, 1]
    assert town.operation(going.id).state == "failed"
    town.told()
    assert town.look() == 0
    assert town.weights() == [1, 1]


@pytest.mark.parametrize("goes", ["balancer", "machine"])
def test_where_the_rest_goes_nothing_is_waited_for(town, goes):
    going = town.remove(town.one)
    if goes == "balancer":
        town.cloud.do(town.me, balancers.delete, town.balancer)
    else:
        town.cloud.do(town.me, power.destroy, town.one, DestroyIn(expunge=True))
        with town.cloud.database.write() as tx:
            kept.leave(tx, [town.one])
    assert town.look() == 1
    assert town.operation(going.id).state == "done"


def test_a_machine_stops_when_nobody_is_at_it_and_is_led_to_when_it_starts(town):
    stopping = town.stop()
    assert (town.machine()[:2], town.weights()) == (("running", "running"), [0, 1])
    assert town.stop().id == stopping.id
    town.told(one=2)
    assert town.look() == 0
    assert "2 connections" in town.operation(stopping.id).steps[-1].text
    town.told()
    assert town.look() == 1
    assert town.machine() == ("stopping", "stopped", stopping.id)
    assert town.weights() == [0, 1], "until it is off somebody would be sent there"
    town.cloud.run(
        "update machine set state = 'stopped', operation = null where id = :id", id=town.one
    )
    town.cloud.do(town.me, power.start, town.one)
    assert town.weights() == [1, 1]


@pytest.mark.parametrize("said", [{"force": True}, {"drain_seconds": 0}])
def test_a_machine_stops_at_once_if_that_is_said(town, said):
    waiting = town.stop()
    at_once = town.stop(**said)
    assert town.machine() == ("stopping", "stopped", at_once.id)
    assert "superseded" in town.operation(waiting.id).error.detail
    assert town.look() == 0


@pytest.mark.parametrize("verb", [power.start, power.reboot])
def test_who_asks_for_it_to_run_takes_the_stop_back(town, verb):
    waiting = town.stop()
    town.cloud.do(town.me, verb, town.one)
    assert town.operation(waiting.id).state == "failed"
    assert town.weights() == [1, 1]
    town.told()
    assert town.look() == 0
    assert town.machine()[:2] == ("running", "running")


def test_a_machine_that_is_lost_meanwhile_is_not_stopped_when_it_is_back(town):
    waiting = town.stop()
    town.cloud.run("update machine set state = 'starting' where id = :id", id=town.one)
    assert town.look() == 1
    assert town.operation(waiting.id).state == "failed"
    assert town.weights() == [1, 1]


def test_after_its_time_a_machine_stops_and_says_whom_it_cut_off(town):
    waiting = town.stop(drain_seconds=5)
    town.told(one=1)
    town.cloud.around.clock.wait(timedelta(seconds=5))
    assert town.look() == 1
    assert any("cut off: 1 connection" in s.text for s in town.operation(waiting.id).steps)
    assert town.machine()[0] == "stopping"


def test_without_a_router_or_a_balancer_nothing_is_waited_for(town):
    town.cloud.run("update network set appliance_state = 'absent'")
    assert town.remove(town.two).kind == "balancer.update"
    assert town.weights() == [1]
    town.stop()
    assert town.machine()[0] == "stopping"
