"""One sign-on: who was let in by one region is known at another one by what the first one signed, and no further."""

import base64
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from regions_on_wires import grid_of

from arable.domain import sign_on as rules
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound, Unauthenticated
from arable.runtime.ca import Authority
from arable.runtime.entropy import Entropy
from arable.services import elsewhere, machines, sign_on, users
from arable.services.credentials import Credentials
from arable.services.elsewhere import Asked
from arable.services.sign_on import KeyHands
from arable.store import grid_members
from arable.store import sign_on as rows
from arable.wire.machines import MachineQuery
from arable.wire.sign_on import SignOnIn
from arable.wire.users import UserChange

US = SignOnIn(region="us")


@pytest.fixture
def three(tmp_path):
    with grid_of(tmp_path, "eu", "us", "asia") as grid:
        for name, region in grid.regions.items():
            cloud = region.cloud
            entropy = Entropy(name)
            authority = Authority.create(tmp_path / name / "ca", grid.clock, entropy)
            cloud.around = replace(cloud.around, authority=authority, entropy=entropy)
            cloud.account("acme")
            cloud.account("operator", role="operator")
        three_keep(grid)
        grid["us"].federate("account-acme", "eu")
        grid.settle()
        yield grid


def three_keep(grid) -> None:
    """The master's rounds."""
    for region in grid.regions.values():
        with region.cloud.database.write() as tx:
            KeyHands(lambda region=region: region.cloud.around).keep(tx, grid.clock.now())


def token(grid, region: str = "us", by: str = "eu", **but) -> str:
    cloud = grid[by].cloud
    caller = replace(cloud.callers["acme"], **but)
    return cloud.do(caller, sign_on.issue, SignOnIn(region=region)).token


def let_in(grid, said: str, at: str = "us"):
    cloud = grid[at].cloud
    return Credentials(cloud.database, None, grid.clock).verify(said)


def test_who_is_known_here_is_known_there_as_the_account_of_the_same_path(three):
    caller = let_in(three, token(three))
    assert (caller.account, caller.name, caller.role) == ("account-acme", "acme@eu", "customer")
    assert caller.via == "sign-on:eu"
    cloud = three["us"].cloud
    made = cloud.deploy(caller, name="web")
    assert [m.name for m in cloud.do(caller, machines.page, MachineQuery()).items] == ["web"]
    assert made.operation
    assert cloud.do(caller, users.whoami).account_name == "acme"


def test_it_may_no_more_than_the_credential_that_was_shown_and_nothing_about_users(three):
    few = frozenset(p for p in three["eu"].cloud.callers["acme"].permissions if p == "machine:read")
    assert let_in(three, token(three, permissions=few)).permissions == few
    whole = let_in(three, token(three)).permissions
    assert "key:write" not in whole
    assert "machine:write" in whole
    operator = three["eu"].cloud.callers["operator"]
    said = token(three, permissions=operator.permissions, role="operator", rank=operator.rank)
    assert let_in(three, said).permissions == whole, "an operator is a customer elsewhere"


def test_it_counts_at_the_region_that_it_is_for_and_nowhere_else(three):
    three["asia"].federate("account-acme", "eu")
    said = token(three)
    for other in ("asia", "eu"):
        with pytest.raises(Unauthenticated):
            let_in(three, said, at=other)


def test_without_federation_nobody_is_let_in(three):
    three["us"].federate("account-acme", "asia")
    with pytest.raises(Unauthenticated):
        let_in(three, token(three))


def test_it_ends_after_minutes(three):
    said = token(three)
    three.clock.wait(rules.LIFE - timedelta(seconds=1))
    let_in(three, said)
    three.clock.wait(timedelta(seconds=1))
    with pytest.raises(Unauthenticated):
        let_in(three, said)


def test_no_letter_of_it_may_be_another_one(three):
    said = token(three)
    other = rules.token(rules.text_of(rules.parsed(said)[0]), b"\0" * 64)
    claims, _, signature = rules.parsed(said)
    wider = rules.token(rules.text_of(msgspec.structs.replace(claims, user="root")), signature)
    theirs = rules.token(rules.text_of(msgspec.structs.replace(claims, by="asia")), signature)
    for bad in (other, wider, theirs, said[:-3], said + "AA", said.replace("at_", "ak_", 1)):
        with pytest.raises(Unauthenticated):
            let_in(three, bad)
    let_in(three, said)


def test_what_is_taken_back_counts_no_more_as_soon_as_it_is_heard(three):
    eu = three["eu"].cloud
    eu.run("insert into role (name, rank, permissions) values ('customer', 1, '[]')")
    eu.run(
        'insert into "user" (id, account, name, role, password_hash, created_at)'
        " values ('user-acme', 'account-acme', 'acme', 'customer', '', 0)"
    )
    said = token(three)
    let_in(three, said)
    eu.do(eu.callers["operator"], users.update, "user-acme", UserChange(enabled=False))
    three["eu"].sync.step()
    three["us"].sync.step()
    with pytest.raises(Unauthenticated):
        let_in(three, said)
    three.clock.wait(timedelta(seconds=1))
    let_in(three, token(three))  # of later ones nothing was said
    three.clock.wait(rules.KEPT + timedelta(seconds=1))
    three_keep(three)
    assert eu.rows("select count(*) from sign_revocation") == [(0,)]


def test_keys_go_round_without_a_moment_in_which_nobody_is_let_in(three):
    for _ in range(20):
        three.clock.wait(timedelta(days=1))
        three_keep(three)
        said = token(three)  # perhaps by a key that was made this moment
        let_in(three, said)
        three.settle()
        three.clock.wait(rules.SPREADS)
        let_in(three, token(three))
    assert len(three["eu"].cloud.rows("select id from sign_key")) <= 2


def test_keys_that_others_know_are_replaced_at_once(three):
    said = token(three)
    eu = three["eu"].cloud
    assert eu.do(eu.callers["operator"], sign_on.rotate).keys == 1
    three.settle()
    with pytest.raises(Unauthenticated):
        let_in(three, said)
    let_in(three, token(three))


def test_a_region_that_is_not_in_the_grid_any_more_signs_for_nobody(three):
    said = token(three)
    three["us"].cloud.run("update grid_member set state = 'gone' where name = 'eu'")
    with pytest.raises(Unauthenticated):
        let_in(three, said)


def test_nobody_goes_on_from_there_to_a_third_region(three):
    us = three["us"].cloud
    caller = let_in(three, token(three))
    with pytest.raises(Forbidden):
        us.do(caller, sign_on.issue, SignOnIn(region="asia"))
    asked = Asked("GET", "/v1/machines", "", (), b"")
    with pytest.raises(Forbidden):
        elsewhere.carry(us.database, us.around, caller, "asia", asked)


def test_it_works_while_the_grid_manager_and_the_home_region_are_away(three):
    said = token(three)
    for region in three.regions.values():
        region.line.cut = True
    three.clock.wait(timedelta(minutes=5))
    let_in(three, said)


def test_what_can_not_be_is_refused(three):
    eu = three["eu"].cloud
    acme = eu.callers["acme"]
    for region, kind in (("eu", BadInput), ("mars", NotFound)):
        assert isinstance(eu.refused(acme, sign_on.issue, SignOnIn(region=region)), kind)
    with eu.database.write() as tx:
        grid_members.remove_link(tx)
    assert isinstance(eu.refused(acme, sign_on.issue, US), Conflict)
    three_keep(three)
    with eu.database.read() as tx:
        assert rows.keys(tx) == [], "who is in no grid has no key"


def test_no_private_key_leaves_its_region_nor_is_it_in_the_database_in_clear(three):
    with three["eu"].cloud.database.read() as tx:
        (key,) = rows.keys(tx)
    assert "sealed" not in repr(key)
    assert len(base64.b64decode(key.public)) == 32
    told = {at[0]: body for at, (body, _) in three.manager.facts("eu").items()}
    assert told["key"] == {"public": key.public}
