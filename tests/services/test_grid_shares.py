"""Limits over all regions on virtual time: shares go where they are needed, and hold whatever the wires do."""

from dataclasses import replace

import pytest
from regions_on_wires import Grid, grid_of, join

from arable.domain.access import ROLES, Caller
from arable.domain.errors import Conflict, LimitExceeded
from arable.domain.ids import AccountId, DomainId, UserId
from arable.runtime.entropy import Entropy
from arable.services import accounts, grid_limits, grid_manager, limits, regions
from arable.services.call import Call, GridRole
from arable.store import grid_members, incarnations, quotas, shares
from arable.wire.accounts import AccountIn
from arable.wire.grid_limits import GridLimitQuery, GridLimitsIn

ACME = "root/acme/acme"
WHOSE = AccountId("account-acme")


@pytest.fixture
def three(tmp_path):
    with grid_of(tmp_path, "eu", "us", "asia") as made:
        for region in made.regions.values():
            region.cloud.account("acme")
        made.settle()
        yield made


def operator():
    rank, permissions = ROLES["operator"]
    return Caller(
        user=UserId("user-op"), name="op", account=AccountId("account-root"),
        domain=DomainId("domain-root"), path="root", role="operator", rank=rank,
        permissions=permissions, via="password",
    )  # fmt: skip


def at_grid(made: Grid, does, ask):
    around = replace(made.manager.around, grid_role=GridRole.GRID)
    with made.manager.database.write() as tx:
        return does(Call(tx, operator(), around), ask)


def set_limit(made: Grid, **limits):
    at_grid(made, grid_limits.update, GridLimitsIn(path=ACME, **limits))
    made.settle()


def take(region, machines: int):
    """As a request does; what is refused is noted, as by the executor."""
    try:
        with region.cloud.database.write() as tx:
            quotas.take(tx, WHOSE, machines=machines)
    except LimitExceeded as error:
        with region.cloud.database.write() as tx:
            shares.wanted(tx, error)
        return error.public
    return ""


def give(region, machines: int):
    with region.cloud.database.write() as tx:
        quotas.give(tx, WHOSE, machines=machines)


def share(region) -> int:
    with region.cloud.database.read() as tx:
        return quotas.get(tx, WHOSE).shares["machines"]


def used(region) -> int:
    with region.cloud.database.read() as tx:
        return quotas.get(tx, WHOSE).used["machines"]


def test_without_a_limit_over_all_regions_nothing_is_asked(three):
    assert take(three["eu"], 500) == ""
    assert share(three["eu"]) == -1


def test_a_share_is_asked_for_granted_and_given_back(three):
    set_limit(three, machines=50)
    eu, us = three["eu"], three["us"]
    assert [share(eu), share(us)] == [0, 0], "nobody has anything who needs nothing"
    told = take(eu, 40)
    assert "limit of 50 machines in all regions together" in told
    assert "share of it is 0, 0 used, 40 asked for; more is asked of the grid manager now" in told
    three.turn()
    assert take(eu, 40) == ""
    three.settle()
    assert share(eu) > 40, "and some at hand"
    assert "share of it is 0" in take(us, 12)
    three.turn()
    told = take(us, 12)
    assert "the other regions have the rest" in told
    with us.cloud.database.read() as tx:
        seen = limits.get(Call(tx, operator(), us.cloud.around), WHOSE)
    assert (seen.machines.everywhere, seen.machines.share) == (50, share(us))
    assert (seen.cpus.everywhere, seen.cpus.share) == (None, None)
    (shown,) = at_grid(three, grid_limits.page, GridLimitQuery()).items
    assert sum(each.share["machines"] for each in shown.shares) <= 50
    three.turn()
    give(eu, 20)
    for _ in range(6):
        three.turn()
    assert take(us, 12) == ""
    assert "raise the limit" in take(us, 60)
    assert share(eu) + share(us) <= 50


def test_all_of_it_can_be_used(three):
    """What one has at hand and another one needs is given back."""
    set_limit(three, machines=16)
    for name, count in (("eu", 7), ("us", 7)):
        take(three[name], count)
        three.turn()
        assert take(three[name], count) == ""
    three.settle()
    for _ in range(10):
        if take(three["asia"], 2) == "":
            break
        three.turn(7)
    assert [used(each) for each in three.regions.values()] == [7, 7, 2]
    assert "raise the limit" not in take(three["asia"], 1), "nobody here knows what others use"


def test_who_is_cut_off_goes_on_within_its_share_and_says_so(three):
    set_limit(three, machines=32)
    eu = three["eu"]
    take(eu, 10)
    three.turn()
    eu.line.cut = True
    three.turn(300)
    assert take(eu, 11) == "" if share(eu) >= 11 else take(eu, 10) == ""
    left = share(eu) - used(eu)
    told = take(eu, left + 1)
    assert "did not answer at" in told
    assert "last heard" in told
    assert share(eu) >= 10, "nothing is given back to nobody"
    eu.line.cut = False
    three.turn()
    three.turn()
    assert take(eu, left + 1) == ""


def test_what_an_account_had_before_is_not_taken_away(three):
    take(three["eu"], 9)
    set_limit(three, machines=4)
    assert used(three["eu"]) == 9
    assert share(three["eu"]) <= 4
    assert "raise the limit" in take(three["eu"], 1)
    set_limit(three, machines=None)
    assert [share(each) for each in three.regions.values()] == [-1, -1, -1]
    assert take(three["eu"], 1) == ""


def test_a_new_account_of_that_path_begins_with_no_share(three):
    at_grid(three, grid_limits.update, GridLimitsIn(path="root/new", machines=3))
    three.settle()
    eu = three["eu"]
    eu.cloud.account("boss", role="operator")
    boss = replace(eu.cloud.callers["boss"], domain=DomainId("domain-root"), path="root")
    made = eu.cloud.do(boss, accounts.create, AccountIn(name="new"), "")
    with eu.cloud.database.read() as tx:
        assert quotas.get(tx, made.id).shares["machines"] == 0


def test_a_grid_manager_that_lost_its_store_grants_nothing_until_it_heard_of_all(three):
    set_limit(three, machines=16)
    for name in ("eu", "us"):
        take(three[name], 7)
        three.turn()
        assert take(three[name], 7) == ""
    three["us"].line.cut = True
    three.manager.do(
        lambda tx, _a: [
            tx.exec_driver_sql("delete from grid_grant"),
            incarnations.draw(tx, "another", three.clock.now()),
        ]
    )
    take(three["eu"], 8)
    for _ in range(6):
        three.turn()
    assert used(three["eu"]) == 7
    assert take(three["eu"], 8), "us may still use what it has"
    assert share(three["eu"]) + share(three["us"]) <= 16
    three["us"].line.cut = False
    give(three["us"], 7)
    for _ in range(8):
        three.turn()
        if take(three["eu"], 8) == "":
            break
    assert used(three["eu"]) == 15


def test_a_region_whose_store_was_set_back_does_not_count_on_what_it_gave_back(three):
    set_limit(three, machines=16)
    eu = three["eu"]
    take(eu, 14)
    three.turn()
    assert take(eu, 14) == ""
    (old,) = eu.cloud.rows("select serial from grid_share")
    held = share(eu)
    three.turn()
    give(eu, 14)
    three.settle()
    three.settle()
    assert share(eu) == 0
    eu.cloud.run("update quota set share_machines = :n where account = :a", n=held, a=WHOSE)
    eu.cloud.run("update grid_share set serial = :n, acked = :n", n=old[0])
    three.settle()
    assert share(eu) == 0, "and what it gave back may be somebody else's"


def test_a_region_that_leaves_has_its_own_limits_alone(three):
    set_limit(three, machines=16)
    eu = three["eu"]
    eu.cloud.account("boss", role="operator")
    eu.cloud.do(eu.cloud.callers["boss"], regions.leave)
    assert share(eu) == -1
    three.manager.do(
        lambda tx, _a: grid_manager.remove(tx, grid_members.by_name(tx, "eu"), three.clock.now())
    )
    eu.sync._every = True
    join(three, eu, three.manager.token("eu"))
    three.settle()
    assert share(eu) == 0


@pytest.mark.parametrize("seed", range(2))
def test_lost_doubled_and_late_messages_grant_nothing_twice(three, seed):
    set_limit(three, machines=20)
    dice = Entropy(f"shares {seed}").random
    fates = ("", "", "", "ask", "answer", "double", "late")
    for region in three.regions.values():
        region.line.lose = lambda: dice.choice(fates)
    taken = 0
    for _ in range(25):
        region = three[dice.choice(sorted(three.regions))]
        if used(region) and dice.random() < 0.4:
            give(region, dice.randint(1, used(region)))
        else:
            taken += take(region, dice.randint(1, 8)) == ""
        three.turn(dice.choice((1, 5, 31)))
        if dice.random() < 0.3:
            region.line.late()
        assert sum(max(0, share(each)) for each in three.regions.values()) <= 20
        assert all(used(each) <= share(each) for each in three.regions.values())
    assert taken > 3


def test_only_the_grid_manager_limits(three):
    eu = three["eu"]
    eu.cloud.account("boss", role="operator")
    with pytest.raises(Conflict, match="ask it"):
        eu.cloud.do(eu.cloud.callers["boss"], grid_limits.update, GridLimitsIn(path=ACME))
    set_limit(three, machines=5)
    found = eu.cloud.do(eu.cloud.callers["boss"], grid_limits.page, GridLimitQuery())
    assert [(each.path, each.limits) for each in found.items] == [(ACME, {"machines": 5})]


def test_a_refusal_in_a_batch_and_one_alone_are_both_asked_for(three):
    set_limit(three, machines=50)
    eu = three["eu"]
    with eu.cloud.database.write() as tx:
        (refused,) = quotas.take_many(tx, [(WHOSE, {"machines": 5})])
    assert refused is not None
    three.turn()
    assert share(eu) >= 5
