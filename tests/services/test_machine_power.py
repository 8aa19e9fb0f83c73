"""Every ask in every state: what becomes of the machine, of its wish, of the operation, and of the one before."""

import pytest
from make_cloud import Cloud, add_image, deploy_in

from arable.domain.errors import BadInput, Conflict, Forbidden, LimitExceeded, NotFound, Stale
from arable.domain.machine import MACHINE, MachineState
from arable.services import deployments, explanations, machines, power
from arable.services.operations import get as operation
from arable.store import machines as kept
from arable.wire.machines import DestroyIn, MachineChange, RecoverIn, ResizeIn, StopIn
from arable.wire.operations import OperationWaitQuery

HOSTED = {"starting", "running", "stopping"}
# (state, wish) that a machine can be found in
FOUND = [
    ("waiting", "running"),
    ("starting", "running"),
    ("running", "running"),
    ("stopping", "stopped"),
    ("stopping", "destroyed"),
    ("stopping", "gone"),
    ("stopped", "stopped"),
    ("error", "stopped"),
    ("destroyed", "destroyed"),
    ("expunging", "gone"),
]
ASKS = {
    "start": (power.start, ()),
    "stop": (power.stop, (StopIn(),)),
    "reboot": (power.reboot, ()),
    "destroy": (power.destroy, (DestroyIn(),)),
    "erase": (power.destroy, (DestroyIn(expunge=True),)),
    "recover": (power.recover, (RecoverIn(),)),
    "expunge": (power.expunge, ()),
}
ALREADY, UNDER_WAY, NO = "already", "under way", "no"
# ask: {(state, wish): (state, wish) after it, or one of the words above}
BECOMES = {
    "start": {
        ("waiting", "running"): UNDER_WAY,
        ("starting", "running"): UNDER_WAY,
        ("running", "running"): ALREADY,
        ("stopped", "stopped"): ("waiting", "running"),
        ("error", "stopped"): ("waiting", "running"),
    },
    "stop": {
        ("waiting", "running"): ("stopped", "stopped"),
        ("starting", "running"): ("stopping", "stopped"),
        ("running", "running"): ("stopping", "stopped"),
        ("stopping", "stopped"): UNDER_WAY,
        ("stopped", "stopped"): ALREADY,
        ("error", "stopped"): ("stopped", "stopped"),
    },
    "reboot": {("running", "running"): ("running", "running")},
    "destroy": {
        ("waiting", "running"): ("destroyed", "destroyed"),
        ("starting", "running"): ("stopping", "destroyed"),
        ("running", "running"): ("stopping", "destroyed"),
        ("stopping", "stopped"): ("stopping", "destroyed"),
        ("stopping", "destroyed"): UNDER_WAY,
        ("stopping", "gone"): UNDER_WAY,
        ("stopped", "stopped"): ("destroyed", "destroyed"),
        ("error", "stopped"): ("destroyed", "destroyed"),
        ("destroyed", "destroyed"): ALREADY,
        ("expunging", "gone"): UNDER_WAY,
    },
    "erase": {
        ("waiting", "running"): ("expunging", "gone"),
        ("starting", "running"): ("stopping", "gone"),
        ("running", "running"): ("stopping", "gone"),
        ("stopping", "stopped"): ("stopping", "gone"),
        ("stopping", "destroyed"): ("stopping", "gone"),
        ("stopping", "gone"): UNDER_WAY,
        ("stopped", "stopped"): ("expunging", "gone"),
        ("error", "stopped"): ("expunging", "gone"),
        ("destroyed", "destroyed"): ("expunging", "gone"),
        ("expunging", "gone"): UNDER_WAY,
    },
    "recover": {
        ("waiting", "running"): ALREADY,
        ("starting", "running"): ALREADY,
        ("running", "running"): ALREADY,
        ("stopping", "stopped"): ALREADY,
        ("stopped", "stopped"): ALREADY,
        ("error", "stopped"): ALREADY,
        ("destroyed", "destroyed"): ("stopped", "stopped"),
    },
    "expunge": {
        ("waiting", "running"): ("expunging", "gone"),
        ("stopping", "gone"): UNDER_WAY,
        ("stopped", "stopped"): ("expunging", "gone"),
        ("error", "stopped"): ("expunging", "gone"),
        ("destroyed", "destroyed"): ("expunging", "gone"),
        ("expunging", "gone"): UNDER_WAY,
    },
}
AT_REST = {("running", "running"), ("stopped", "stopped"), ("destroyed", "destroyed")}


def there(cloud: Cloud, me, state: str, wish: str, name: str = "web", *, busy: bool = False) -> str:
    """A machine that the controllers brought as far as this; with `busy` an operation waits for it."""
    answer = cloud.deploy(me, name=name)
    id_ = answer.machines[0].id
    host = None
    if state in HOSTED:
        host = "host-a"
        cloud.run(
            """insert into pod (id, zone, name, cidr, created_at)
               values ('pod-a', 'zone-here', 'a', '10.0.0.0/24', 0) on conflict do nothing"""
        )
        cloud.run(
            """insert into host (id, zone, pod, name, state, created_at)
               values ('host-a', 'zone-here', 'pod-a', 'a', 'up', 0) on conflict do nothing"""
        )
    cloud.run(
        """update machine set state = :state, wish = :wish, host = :host, attention = :no, ran = :yes,
               operation = :operation, destroyed_at = :destroyed where id = :id""",
        id=id_,
        state=state,
        wish=wish,
        host=host,
        no=False,
        yes=int(state != "waiting"),
        operation=answer.operation if busy else None,
        destroyed=1 if wish in ("destroyed", "gone") else None,
    )
    if not busy:
        cloud.run("update operation set state = 'done', pending = 0")
    return id_


def test_the_table_of_this_test_knows_every_state():
    assert {state for state, _wish in FOUND} == {*MachineState} - MACHINE.final


@pytest.mark.parametrize(("state", "wish"), FOUND)
@pytest.mark.parametrize("ask", ASKS)
def test_every_ask_in_every_state_does_what_the_table_says(lone_cloud, ask, state, wish):
    cloud = lone_cloud
    me = cloud.account("me")
    id_ = there(cloud, me, state, wish)
    use_case, args = ASKS[ask]
    expected = BECOMES[ask].get((state, wish), NO)
    before = cloud.do(me, machines.get, id_)
    if expected == NO:
        assert isinstance(cloud.refused(me, use_case, id_, *args), Conflict)
        return
    answer = cloud.do(me, use_case, id_, *args)
    after = cloud.do(me, machines.get, id_)
    ((attention,),) = cloud.rows("select attention from machine")
    if expected == ALREADY:
        assert (answer.state, answer.pending) == ("done", 0)
        assert after == before
        assert not attention
        return
    if expected == UNDER_WAY:
        assert answer.state == "running"
        assert (after.state, after.wish) == (state, wish)
        assert after.operation == answer.id
        return
    assert (after.state, after.wish) == expected
    assert after.generation == before.generation + 1
    done = expected in AT_REST and ask != "reboot"
    assert answer.state == ("done" if done else "running")
    assert after.operation == (None if done else answer.id)
    assert answer.target == id_
    no_work = ask == "recover" or (ask == "stop" and state not in HOSTED)
    assert bool(attention) == (not no_work)
    assert (after.destroyed_at is not None) == (expected[1] in ("destroyed", "gone"))
    kinds = [kind for (kind,) in cloud.rows("select kind from event order by number")]
    assert kinds[-1].startswith("machine.")
    assert kinds[-1] != "machine.created"


@pytest.mark.parametrize(
    ("ask", "state", "wish"),
    [
        ("stop", "waiting", "running"),
        ("destroy", "starting", "running"),
        ("reboot", "running", "running"),
    ],
)
def test_an_ask_that_takes_anothers_place_ends_the_older_operation_and_says_so(
    cloud, ask, state, wish
):
    me = cloud.account("me")
    id_ = there(cloud, me, state, wish, busy=True)
    older = cloud.do(me, machines.get, id_).operation
    use_case, args = ASKS[ask]
    newer = cloud.do(me, use_case, id_, *args)
    ended = cloud.do(me, operation, older, OperationWaitQuery())
    assert ended.state == "failed"
    assert ended.error.why["superseded_by"] == newer.id
    assert "superseded" in ended.error.detail


def test_a_machine_taken_out_of_many_fails_only_its_part(lone_cloud):
    me = lone_cloud.account("me")
    answer = lone_cloud.deploy(me, count=3)
    lone_cloud.do(me, power.destroy, answer.machines[1].id, DestroyIn())
    ended = lone_cloud.do(me, operation, answer.operation, OperationWaitQuery())
    assert (ended.state, ended.pending, ended.total) == ("running", 2, 3)
    assert ended.error is not None


def test_asking_for_what_is_under_way_gives_the_operation_that_is_under_way(lone_cloud):
    me = lone_cloud.account("me")
    answer = lone_cloud.deploy(me)
    again = lone_cloud.do(me, power.start, answer.machines[0].id)
    assert again.id == answer.operation


@pytest.mark.parametrize(
    ("use_case", "ask", "wish"),
    [
        (power.stop, StopIn(force=True), "stopped"),
        (power.destroy, DestroyIn(force=True), "destroyed"),
    ],
)
def test_force_hurries_what_is_under_way_without_ending_its_operation(
    lone_cloud, use_case, ask, wish
):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, "stopping", wish, busy=True)
    older = lone_cloud.do(me, machines.get, id_).operation
    answer = lone_cloud.do(me, use_case, id_, ask)
    assert (answer.id, answer.state) == (older, "running")
    assert lone_cloud.rows("select force + 0, attention + 0 from machine") == [(1, 1)]


def test_starting_again_forgets_force_tries_and_why(lone_cloud):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, "error", "stopped")
    lone_cloud.run("""update machine set force = true, tries = 3, why = '{"failed": "x"}'""")
    lone_cloud.do(me, power.start, id_)
    assert lone_cloud.rows("select force + 0, tries, why from machine") == [(0, 0, "{}")]


def test_each_reboot_counts(lone_cloud):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, "running", "running")
    lone_cloud.do(me, power.reboot, id_)
    lone_cloud.do(me, power.reboot, id_)
    assert lone_cloud.rows("select boots from machine") == [(3,)]


def test_a_destroyed_machines_name_is_free_at_once_and_recovering_needs_a_free_one(cloud):
    me = cloud.account("me")
    old = there(cloud, me, "stopped", "stopped")
    cloud.do(me, power.destroy, old, DestroyIn())
    cloud.deploy(me, name="web")
    error = cloud.refused(me, power.recover, old, RecoverIn())
    assert isinstance(error, Conflict)
    assert error.field == "name"
    cloud.do(me, power.recover, old, RecoverIn(name="web-old"))
    back = cloud.do(me, machines.get, old)
    assert (back.name, back.state, back.wish, back.destroyed_at) == (
        "web-old",
        "stopped",
        "stopped",
        None,
    )
    with cloud.database.read() as tx:
        assert "local-hostname: web-old\n" in kept.seed(tx, old).meta_data


def test_another_accounts_machine_does_not_exist_for_any_ask(lone_cloud):
    me, you = lone_cloud.account("me"), lone_cloud.account("you")
    id_ = there(lone_cloud, you, "running", "running")
    asks = [
        *ASKS.values(),
        (machines.get, ()),
        (explanations.explain, ()),
        (machines.update, (MachineChange(name="mine"),)),
        (machines.resize, (ResizeIn(offering="large"),)),
    ]
    for use_case, args in asks:
        foreign = lone_cloud.refused(me, use_case, id_, *args)
        absent = lone_cloud.refused(me, use_case, "machine-0", *args)
        assert type(foreign) is type(absent) is NotFound
        assert foreign.public == absent.public


def test_a_domains_admin_sees_what_is_below_and_nothing_beside(lone_cloud):
    admin = lone_cloud.account("acme", role="domain-admin")
    you = lone_cloud.account("acme-not")
    mine = there(lone_cloud, admin, "running", "running")
    yours = there(lone_cloud, you, "running", "running")
    assert lone_cloud.do(admin, machines.get, mine).id == mine
    assert isinstance(lone_cloud.refused(admin, machines.get, yours), NotFound)


def test_who_may_only_read_may_ask_nothing(lone_cloud):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, "running", "running")
    reader = lone_cloud.account("reader", role="read-only")
    for use_case, args in ASKS.values():
        assert isinstance(lone_cloud.refused(reader, use_case, id_, *args), Forbidden)


@pytest.mark.parametrize("ask", ASKS)
def test_an_ask_with_an_old_generation_is_refused(lone_cloud, ask):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, "running", "running")
    use_case, args = ASKS[ask]
    assert isinstance(lone_cloud.refused(me, use_case, id_, *args, expects=7), Stale)


# --- changes ----------------------------------------------------------------------------------------------------


def test_a_stopped_machine_is_resized_with_its_limits_and_speeds(cloud):
    me = cloud.account("me", cpus=4)
    id_ = there(cloud, me, "stopped", "stopped")
    after = cloud.do(me, machines.resize, id_, ResizeIn(offering="large"))
    assert (after.cpus, after.cpu_mhz, after.memory_mib, after.disk_mib) == (4, 4000, 4096, 1024)
    assert cloud.used(me)["cpus"] == 4
    assert cloud.used(me)["memory_mib"] == 4096
    assert cloud.rows("select iops from volume") == [(500,)]
    cloud.do(me, machines.resize, id_, ResizeIn(offering="small"))
    assert (cloud.used(me)["cpus"], cloud.used(me)["memory_mib"]) == (1, 512)


def test_a_resize_beyond_the_limit_changes_nothing(cloud):
    me = cloud.account("me", cpus=3)
    id_ = there(cloud, me, "stopped", "stopped")
    error = cloud.refused(me, machines.resize, id_, ResizeIn(offering="large"))
    assert isinstance(error, LimitExceeded)


@pytest.mark.parametrize(("state", "wish"), [f for f in FOUND if f[0] != "stopped"])
def test_only_a_stopped_machine_is_resized(lone_cloud, state, wish):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, state, wish)
    error = lone_cloud.refused(me, machines.resize, id_, ResizeIn(offering="large"))
    assert isinstance(error, Conflict)


def test_what_an_image_needs_is_asked_at_each_resize_too(lone_cloud):
    me = lone_cloud.account("me")
    with lone_cloud.database.write() as tx:
        add_image(tx, lone_cloud, "fat", me.account, minimum_memory_mib=4096)
    made = lone_cloud.deploy(me, image="fat", offering="large", start=False).machines[0]
    error = lone_cloud.refused(me, machines.resize, made.id, ResizeIn(offering="small"))
    assert isinstance(error, BadInput)


def test_a_resize_follows_the_tags_of_the_offering(lone_cloud):
    me = lone_cloud.account("me")
    made = lone_cloud.deploy(me, tags=("gpu",), start=False).machines[0]
    lone_cloud.do(me, machines.resize, made.id, ResizeIn(offering="tagged"))
    with lone_cloud.database.read() as tx:
        machine = kept.get(tx, me.scope, made.id)
    assert machine.placement.all_tags == {"gpu", "ssd"}
    lone_cloud.do(me, machines.resize, made.id, ResizeIn(offering="small"))
    with lone_cloud.database.read() as tx:
        assert kept.get(tx, me.scope, made.id).placement.all_tags == {"gpu"}


def test_a_renamed_machine_has_its_name_everywhere(cloud):
    me = cloud.account("me")
    id_ = there(cloud, me, "running", "running")
    after = cloud.do(me, machines.update, id_, MachineChange(name="db", tags=("gpu",)))
    assert (after.name, after.tags) == ("db", ["gpu"])
    with cloud.database.read() as tx:
        told = kept.seed(tx, id_).meta_data
    assert "local-hostname: db\n" in told
    assert "web" not in told
    ((attention,),) = cloud.rows("select attention from machine")
    assert attention
    cloud.deploy(me, name="web")
    error = cloud.refused(me, deployments.deploy, deploy_in(name="db"), None)
    assert isinstance(error, Conflict)
    error = cloud.refused(me, machines.update, id_, MachineChange(name="web"))
    assert isinstance(error, Conflict)


def test_a_change_that_changes_nothing_is_no_generation(lone_cloud):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, "running", "running")
    before = lone_cloud.do(me, machines.get, id_)
    assert lone_cloud.do(me, machines.update, id_, MachineChange(name="web", tags=())) == before


# --- explanations ---------------------------------------------------------------------------------------------------

REFUSED = """{"refused": "no host can take this: 2 lack memory", "reasons": {"lack memory": 2},
 "hosts": {"east-1": "needs 512 MiB of memory, 100 free", "east-2": "needs 512 MiB of memory, 0 free"}}"""


def test_a_refusal_is_explained_per_rule_and_to_operators_per_host(lone_cloud):
    me = lone_cloud.account("me")
    operator = lone_cloud.account("op", role="operator")
    id_ = there(lone_cloud, me, "stopped", "stopped")
    lone_cloud.run("update machine set why = :why", why=REFUSED)
    mine = lone_cloud.do(me, explanations.explain, id_)
    assert "2 hosts lack memory" in mine.says
    assert "east-1" not in repr(mine)
    theirs = lone_cloud.do(operator, explanations.explain, id_)
    assert "east-1: needs 512 MiB of memory, 100 free" in theirs.says


@pytest.mark.parametrize(("state", "wish"), FOUND)
def test_every_state_is_explained(lone_cloud, state, wish):
    me = lone_cloud.account("me")
    id_ = there(lone_cloud, me, state, wish, busy=True)
    told = lone_cloud.do(me, explanations.explain, id_)
    assert told.says[0] == f"is {state}, and should be {wish}"
    assert len(told.says) == 1 or len(told.says[1]) > 10
    assert told.operation is not None


def test_only_those_who_may_see_hosts_see_hosts(lone_cloud):
    me = lone_cloud.account("me")
    operator = lone_cloud.account("op", role="operator")
    id_ = there(lone_cloud, me, "running", "running")
    assert lone_cloud.do(me, machines.get, id_).host is None
    assert lone_cloud.do(operator, machines.get, id_).host == "host-a"
    assert "host-a" not in repr(lone_cloud.do(me, explanations.explain, id_))
