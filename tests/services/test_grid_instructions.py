"""What grid operators tell regions to do, on virtual time: done once, by who opted in, whatever the wires do."""

from dataclasses import replace

import pytest
from regions_on_wires import Grid, grid_of
from sqlalchemy import insert

from arable.controllers import instructions as controller
from arable.domain.access import ROLES, Caller
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.ids import AccountId, DomainId, UserId
from arable.domain.instruction import Instruction, InstructionKind
from arable.runtime.ca import Authority, signed_by
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.services import elsewhere, grid_instructions, grid_manager
from arable.services.call import Call, GridRole
from arable.services.grid_instructions import InstructionHands
from arable.store import accounts, grid_facts, quotas
from arable.store import schema as t
from arable.wire.grid import FactDoc
from arable.wire.grid_instructions import CancelInstructionIn, InstructIn, InstructionQuery

ACME = "root/acme/acme"
WHOSE = AccountId("account-acme")


@pytest.fixture
def two(tmp_path):
    with grid_of(tmp_path, "eu", "us") as made:
        for region in made.regions.values():
            region.cloud.account("acme")
            region.cloud.account("boss", role="operator")
        made.settle()
        yield made


def operator():
    rank, permissions = ROLES["operator"]
    return Caller(
        user=UserId("user-op"), name="olga", account=AccountId("account-root"),
        domain=DomainId("domain-root"), path="root", role="operator", rank=rank,
        permissions=permissions, via="password",
    )  # fmt: skip


def at_grid(made: Grid, does, ask):
    around = replace(made.manager.around, grid_role=GridRole.GRID)
    with made.manager.database.write() as tx:
        return does(Call(tx, operator(), around), ask)


def instruct(made: Grid, kind: str, subject: str = ACME, **more) -> str:
    ask = InstructIn(kind=kind, subject=subject, **more)
    return at_grid(made, grid_instructions.give, ask).id


def follow(region, *, accounts: bool = True, evacuate: bool = True):
    for name, yes in (("grid_may_change_accounts", accounts), ("grid_may_evacuate", evacuate)):
        region.run(insert(t.setting).values(name=name, value="yes" if yes else "no"))


def master(region) -> int:
    """The region's master has its turn."""
    hands = InstructionHands(lambda: region.cloud.around)
    with region.cloud.database.write() as tx:
        return controller.attend(hands, tx, region.cloud.around.clock.now())


def turn(made: Grid):
    for _ in range(2):
        made.turn()
        for region in made.regions.values():
            master(region)
    made.turn()


def states(made: Grid, id_: str) -> dict[str, tuple[str, str]]:
    (found,) = at_grid(made, grid_instructions.page, InstructionQuery(id=id_)).items
    return {each.region: (each.state, each.told) for each in found.regions}


def enabled(region) -> bool:
    with region.cloud.database.read() as tx:
        found = accounts.by_path(tx, ACME)
    assert found is not None
    return found.enabled


def events_of(region) -> list[str]:
    return [x for (x,) in region.cloud.rows("select text from event where kind like 'grid.instr%'")]


def test_nobody_follows_without_a_word(two):
    follow(two["eu"])
    id_ = instruct(two, "suspend")
    assert {state for state, _told in states(two, id_).values()} == {"waiting"}
    turn(two)
    assert [enabled(two["eu"]), enabled(two["us"])] == [False, True]
    found = states(two, id_)
    assert found["eu"] == ("done", "its users are not let in")
    assert found["us"][0] == "refused"
    assert "grid_may_change_accounts" in found["us"][1]
    assert "operator olga said: suspend root/acme/acme; done" in events_of(two["eu"])[0]
    assert "refused" in events_of(two["us"])[0]
    follow(two["us"])
    turn(two)
    assert enabled(two["us"]), "a refusal is final"
    assert not two.manager.facts("grid"), "and nothing is told any more"


def test_it_is_done_once_however_often_it_is_heard(two):
    eu = two["eu"]
    follow(eu)
    instruct(two, "suspend", at=("eu",))
    two.turn()
    with eu.cloud.database.read() as tx:
        (fact,) = grid_facts.of(tx, "grid")
    assert master(eu) == 1
    eu.cloud.run("update account set enabled = true")
    assert master(eu) == 0
    two.turn()
    two.turn()
    with eu.cloud.database.write() as tx:
        grid_facts.put(tx, "grid", [fact])  # late, and again
    assert master(eu) == 0
    assert enabled(eu), "what the region's operators did since stays"


def test_a_region_that_was_away_for_hours_does_it_then_and_not_after_its_time(two):
    eu, us = two["eu"], two["us"]
    follow(eu)
    follow(us)
    eu.line.cut = us.line.cut = True
    id_ = instruct(two, "suspend", seconds=7200)
    two.turn(3600)
    eu.line.cut = False
    turn(two)
    assert states(two, id_)["eu"][0] == "done"
    two.turn(3600)
    assert states(two, id_)["us"] == ("expired", "the region was not heard of it in time")
    us.line.cut = False
    turn(two)
    assert states(two, id_)["us"][0] == "expired"
    assert enabled(us)


def test_what_is_taken_back_in_time_is_never_done(two):
    eu = two["eu"]
    follow(eu)
    eu.line.cut = True
    id_ = instruct(two, "suspend", at=("eu",))
    at_grid(two, grid_instructions.cancel, CancelInstructionIn(id=id_))
    eu.line.cut = False
    turn(two)
    assert enabled(eu)
    assert states(two, id_)["eu"][0] == "cancelled"
    with pytest.raises(Conflict, match="over in all regions"):
        at_grid(two, grid_instructions.cancel, CancelInstructionIn(id=id_))
    with pytest.raises(NotFound):
        at_grid(two, grid_instructions.cancel, CancelInstructionIn(id="instruction-a"))


def test_cap_and_resume(two):
    for region in two.regions.values():
        follow(region)
    id_ = instruct(two, "cap", machines=0, cpus=None)
    turn(two)
    assert {state for state, _told in states(two, id_).values()} == {"done"}
    with two["us"].cloud.database.read() as tx:
        found = quotas.get(tx, WHOSE).limits
    assert (found["machines"], found["cpus"]) == (0, -1)
    instruct(two, "suspend")
    instruct(two, "resume")
    turn(two)
    assert enabled(two["us"]), "in the order in which they were given"
    via = two["us"].cloud.rows("select action, via from audit where via = 'grid'")
    assert via == [("grid.cap", "grid"), ("grid.suspend", "grid"), ("grid.resume", "grid")]


def test_what_is_refused_there_is_told(two):
    follow(two["eu"])
    nobody = instruct(two, "suspend", "root/nobody", at=("eu",))
    nowhere = instruct(two, "evacuate", "nowhere", at=("eu",))
    turn(two)
    assert states(two, nobody)["eu"] == ("failed", "there is no account root/nobody here")
    assert states(two, nowhere)["eu"] == ("failed", "there is no zone named nowhere here")


def test_the_operators_own_account_is_not_suspended(two):
    eu = two["eu"]
    follow(eu)
    (path,) = [
        f"{d}/{a}"
        for d, a in eu.cloud.rows(
            "select d.path, a.name from account a join domain d on a.domain = d.id"
            " where a.id = (select min(id) from account where domain = 'domain-root')"
        )
    ]
    id_ = instruct(two, "suspend", path, at=("eu",))
    turn(two)
    assert states(two, id_)["eu"][0] == "failed"


def test_a_zone_is_evacuated_and_how_far_that_is_is_told(two):
    eu = two["eu"]
    follow(eu, accounts=False)
    hosts(eu, "a", "b")
    machine(eu, "moves", "host-a")
    id_ = instruct(two, "evacuate", "here", at=("eu",))
    turn(two)
    assert eu.cloud.rows("select count(*) from host where maintenance") == [(3,)]
    state, told = states(two, id_)["eu"]
    assert (state, told) == ("running", "3 hosts are to be empty; 1 machines are still there")
    eu.cloud.run("update host set maintenance = false where id = 'host-b'")
    turn(two)
    assert eu.cloud.rows("select count(*) from host where maintenance") == [(2,)], "said once"
    eu.cloud.run("update machine set host = null")
    turn(two)
    assert states(two, id_)["eu"] == ("done", "3 hosts are to be empty; 0 machines are still there")


def test_an_evacuation_may_stop_what_can_not_leave(two):
    eu = two["eu"]
    follow(eu)
    hosts(eu, "a")
    machine(eu, "moves", "host-a")
    eu.cloud.run("update volume set pool = null")
    id_ = instruct(two, "evacuate", "here", at=("eu",), stop=True)
    turn(two)
    marked = "select count(*) from host where maintenance and maintenance_stops"
    assert eu.cloud.rows(marked) == [(2,)]
    assert states(two, id_)["eu"][0] == "running", "what is stopped is waited for"
    eu.cloud.run("update machine set host = null")
    turn(two)
    assert states(two, id_)["eu"][0] == "done"


def test_an_account_is_opened_where_it_was_not_and_asked_for_from_where_it_is(two):
    us = two["us"]
    path = "root/shops/north/bob"
    follow(us, accounts=True)
    id_ = instruct(two, "open", path, at=("us",), origins=("eu",), machines=3)
    turn(two)
    said = "us follows no such instructions (its setting grid_may_open_accounts)"
    assert states(two, id_)["us"] == ("refused", said)
    us.run(insert(t.setting).values(name="grid_may_open_accounts", value="yes"))
    id_ = instruct(two, "open", path, at=("us",), origins=("eu", "us"), machines=3)
    turn(two)
    assert states(two, id_)["us"] == ("done", "it is made; it may be asked for from eu")
    with us.cloud.database.read() as tx:
        made = accounts.by_path(tx, path)
        assert made
        assert made.federated == ("eu",)
        assert quotas.get(tx, made.id).limits["machines"] == 3
        bob = elsewhere.vouched(tx, "eu", path, "bob", ("machine:write",), via="test")
    assert (bob.account, bob.role) == (made.id, "customer")
    id_ = instruct(two, "open", ACME, at=("us",), origins=("eu",), machines=1)
    turn(two)
    told = "it was there, with its own limits; it may be asked for from eu"
    assert states(two, id_)["us"] == ("done", told)
    with us.cloud.database.read() as tx:
        assert quotas.get(tx, WHOSE).limits["machines"] != 1
    assert us.cloud.rows("select action from audit where via = 'grid'") == [("grid.open",)] * 2


def test_the_operators_own_account_is_not_opened_to_others(two):
    us = two["us"]
    us.run(insert(t.setting).values(name="grid_may_open_accounts", value="yes"))
    own = "select d.path || '/' || a.name from account a join domain d on a.domain = d.id where a.id = (select min(id) from account where domain = 'domain-root')"  # fmt: skip
    ((path,),) = us.cloud.rows(own)
    strange = instruct(two, "open", "trunk/acme/acme", at=("us",), origins=("eu",))
    id_ = instruct(two, "open", path, at=("us",), origins=("eu",))
    turn(two)
    assert states(two, id_)["us"][0] == "failed"
    assert states(two, strange)["us"] == ("failed", "the root of all domains here is not trunk")
    assert us.cloud.rows("select count(*) from domain where path like 'trunk%'") == [(0,)]


def test_an_evacuation_that_is_taken_back_goes_no_further(two):
    eu = two["eu"]
    follow(eu)
    hosts(eu, "a")
    machine(eu, "moves", "host-a")
    id_ = instruct(two, "evacuate", "here", at=("eu",))
    turn(two)
    at_grid(two, grid_instructions.cancel, CancelInstructionIn(id=id_))
    turn(two)
    assert states(two, id_)["eu"][0] == "cancelled"
    assert eu.cloud.rows("select count(*) from host where maintenance") == [(2,)], (
        "what was done is not undone"
    )


def test_what_is_not_signed_by_the_grid_is_not_done(two):
    eu = two["eu"]
    follow(eu)
    instruct(two, "suspend", at=("eu",))
    two.turn()
    eu.cloud.run(
        "update grid_fact set body = replace(body, 'root/acme/acme', 'root/boss/boss')"
        " where region = 'grid'"
    )
    assert master(eu) == 1
    assert "not signed" in eu.cloud.rows("select told from instruction")[0][0]
    assert eu.cloud.rows("select count(*) from account where not enabled") == [(0,)]


def test_a_signature_is_for_an_instruction_alone(tmp_path):
    clock = VirtualClock()
    authority = Authority.create(tmp_path / "a", clock, Entropy("a"))
    other = Authority.create(tmp_path / "b", clock, Entropy("b"))
    said = Instruction(
        id="instruction-a", region="eu", number=1, kind=InstructionKind.SUSPEND, subject=ACME,
        given_by="olga", given_at=clock.now(), expires_at=clock.now(),
    )  # fmt: skip
    signature = authority.signature(said.signed())
    assert signed_by(authority.pem, said.signed(), signature)
    assert not signed_by(other.pem, said.signed(), signature)
    for but in ({"region": "us"}, {"kind": InstructionKind.RESUME}, {"number": 2}, {"subject": "x/y"}):  # fmt: skip
        assert not signed_by(authority.pem, replace(said, **but).signed(), signature)
    assert not signed_by("nonsense", said.signed(), signature)


def test_regions_are_told_their_own_alone_and_can_not_say_such_things(two):
    instruct(two, "suspend", at=("eu",))
    two.turn()
    assert len(two["eu"].cloud.rows("select key from grid_fact where region = 'grid'")) == 1
    assert two["us"].cloud.rows("select key from grid_fact where region = 'grid'") == []
    for key in ("@eu", "grid", "root"):
        assert grid_manager._fault(FactDoc(kind="account", key=key, version=1, body={}))
    assert not grid_manager._fault(FactDoc(kind="account", key=ACME, version=1, body={}))
    (said,) = [b for b, _a in two.manager.facts("grid").values()]
    assert grid_manager._fault(FactDoc(kind="instruction", key="x", version=1, body=said))


def test_misspelt_instructions_are_refused(two):
    for ask, field in (
        (InstructIn(kind="suspend", subject="acme"), "subject"),
        (InstructIn(kind="cap", subject=ACME), "machines"),
        (InstructIn(kind="suspend", subject=ACME, machines=1), "machines"),
        (InstructIn(kind="suspend", subject=ACME, at=("mars",)), "at.0"),
        (InstructIn(kind="suspend", subject=ACME, origins=("eu",)), "origins"),
        (InstructIn(kind="suspend", subject=ACME, stop=True), "stop"),
        (InstructIn(kind="open", subject=ACME), "origins"),
        (InstructIn(kind="open", subject=ACME, origins=("mars",)), "origins.0"),
        (InstructIn(kind="open", subject="root/-x/acme", origins=("eu",)), "subject"),
    ):
        with pytest.raises(BadInput) as refused:
            at_grid(two, grid_instructions.give, ask)
        assert refused.value.field == field
    eu = two["eu"]
    with pytest.raises(Conflict, match="ask it"):
        eu.cloud.do(eu.cloud.callers["boss"], grid_instructions.give, InstructIn(kind="suspend", subject=ACME))  # fmt: skip
    follow(eu)
    instruct(two, "suspend", at=("eu",))
    turn(two)
    (own,) = eu.cloud.do(eu.cloud.callers["boss"], grid_instructions.page, InstructionQuery()).items
    assert [(each.region, each.state) for each in own.regions] == [("eu", "done")]


def hosts(region, *names: str):
    """Hosts of the zone `here`, in one pod."""
    common = {"zone": "zone-here", "created_at": region.cloud.around.clock.now()}
    with region.cloud.database.write() as tx:
        pod = {"cidr": "10.9.0.0/24", "gateway": "10.9.0.1", "name": "p", **common}
        tx.execute(insert(t.pod).values(id="pod-a", **pod))
        for name in names:
            row = {"id": f"host-{name}", "name": name, "pod": "pod-a", "state": "up"}
            tx.execute(insert(t.host).values(**row, **common))


def machine(region, name: str, host: str):
    """One that runs there, with disks that are shared."""
    acme = region.cloud.callers["acme"]
    (made,) = region.cloud.deploy(acme, name=name).machines
    region.cloud.run(
        "update machine set host = :host, state = 'running' where id = :id", host=host, id=made.id
    )
    shared = {"id": "pool-a", "name": "a", "kind": "nbd", "address": "10.9.0.9:1"}
    with region.cloud.database.write() as tx:
        store = {
            "zone": "zone-here",
            "host": "host-store",
            "created_at": region.cloud.around.clock.now(),
        }
        row = {
            "id": "host-store",
            "name": "store",
            "pod": "pod-a",
            "state": "up",
            "maintenance": True,
        }
        tx.execute(insert(t.host).values(**row, **{k: v for k, v in store.items() if k != "host"}))
        tx.execute(insert(t.pool).values(**shared, **store))
    region.cloud.run("update volume set pool = 'pool-a' where machine = :id", id=made.id)
