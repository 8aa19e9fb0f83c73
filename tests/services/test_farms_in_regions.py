"""A farm with tiers in several regions: made, changed and let go everywhere, whatever becomes of the calls between."""

import sqlite3
from contextlib import suppress
from threading import Event

import msgspec
import pytest
from make_farm import farm_in
from make_spread_farm import FAR, Regions, regions_of

from arable.domain.errors import BadInput, Conflict
from arable.domain.ids import FarmId
from arable.services import farms, networks, vpns
from arable.services import tiers as tiers_
from arable.services.call import Call
from arable.wire.farms import FarmChange
from arable.wire.tiers import TierChange

ALONE = {
    "name": "shop",
    "networks": [{"name": "front"}],
    "tiers": [{"name": "origin", "blueprint": "web", "networks": ["front"], "least": 2}],
}


@pytest.fixture
def two(tmp_path):
    with regions_of(tmp_path, "london") as made:
        yield made


def operation(two: Regions, id_: str) -> tuple[str, str]:
    ((state, error),) = two["home"].cloud.rows(
        "select state, error from operation where id = :id", id=id_
    )
    return state, str(error)


def test_a_part_of_which_its_home_knows_nothing_any_more_is_for_operators_to_let_go(two):
    """Home's store is what it was before the farm was laid out."""
    home, london = two["home"].cloud, two["london"].cloud
    with home.database.read() as tx:
        before = sqlite3.connect(":memory:")
        tx.connection.driver_connection.backup(before)
    two.apply(FAR)
    two.settle()
    database = sqlite3.connect(home.database.url.removeprefix("sqlite:///"))
    before.backup(database)
    database.close()
    before.close()
    ((part,),) = london.rows("select id from farm")
    refused = london.refused(two["london"].ann, farms.delete, FarmId(part))
    assert isinstance(refused, Conflict)
    london.do(london.account("olga", role="operator"), farms.delete, FarmId(part))
    two.settle(6)
    nothing_left(two)


def test_a_part_that_its_home_still_wants_comes_back_when_an_operator_let_it_go(two):
    two.apply(FAR)
    two.settle()
    london = two["london"].cloud
    ((part,),) = london.rows("select id from farm")
    london.do(london.account("olga", role="operator"), farms.delete, FarmId(part))
    two.settle(8)
    made_everywhere(two)
    assert london.rows("select id from farm") != [(part,)]


def made_everywhere(two: Regions) -> None:
    """As `FAR` says, and nothing else."""
    assert two["home"].cloud.rows("select name, count from tier") == [("origin", 2)]
    assert two["london"].cloud.rows("select name, count from tier") == [("cache", 1)]
    assert two["home"].cloud.rows("select name from network where state = 'ready'") == [("shop-front",)]  # fmt: skip
    assert two["london"].cloud.rows("select name from network where state = 'ready'") == [("shop-edge",)]  # fmt: skip
    assert [each[1:3] for each in two["home"].vpns() + two["london"].vpns()] == [(1, 1)] * 2
    keys = {}
    for name in ("home", "london"):
        keys[name] = two[name].cloud.rows("select v.public_key, p.public_key from vpn v join vpn_peer p on p.vpn = v.id")[0]  # fmt: skip
    assert keys["home"] == keys["london"][::-1], "each end knows the other's key"
    assert two.state() == "ready"


def nothing_left(two: Regions) -> None:
    for name in ("home", "london"):
        rows = two[name].cloud.rows
        for table in ("farm", "farm_spec", "tier", "network", "vpn", "vpn_peer", "balancer", "rule", "farm_part", "farm_region"):  # fmt: skip
            assert not rows(f"select * from {table}"), f"{name}: {table}"
        used = set(two[name].cloud.used(two[name].ann)) - {
            "networks"
        }  # given back by who collects them
        assert not used, name


def test_a_farm_is_made_in_two_regions_and_joined(two):
    made = two.apply(FAR)
    steps = [f"{each.sign} {each.what} {each.name}" for each in made.steps]
    assert steps == [
        "+ network front",
        "+ VPN front:london:edge",
        "+ balancer origin:8080:inner",
        "+ tier origin",
        "+ region london",
    ]
    two.settle()
    made_everywhere(two)
    assert operation(two, made.operation)[0] == "done"
    shown = two["home"].farm().regions[0]
    assert [(each.name, each.count, each.serving) for each in shown.tiers] == [("cache", 1, 1)]
    assert shown.heard_at is not None
    assert shown.farm == two["london"].farm().id
    assert two["london"].farm().home.region == "home"
    assert "shop-cache-80" in {name for (name,) in two["london"].cloud.rows("select name from balancer")}  # fmt: skip


def test_only_what_passages_say_may_begin_and_names_lead_there(two):
    two.apply(FAR)
    two.settle()
    ((openings,),) = two["home"].cloud.rows("select openings from vpn")
    ((cidr,),) = two["london"].cloud.rows("select cidr from network")
    (said,) = msgspec.json.decode(openings)
    assert (said["protocol"], said["cidr"], said["first_port"]) == ("tcp", cidr, 8080)
    ((openings, names),) = two["london"].cloud.rows("select openings, names from vpn v join vpn_peer p on p.vpn = v.id")  # fmt: skip
    assert msgspec.json.decode(openings) == [], "nothing of home's may begin in london"
    ((gateway,),) = two["home"].cloud.rows("select gateway from network")
    assert msgspec.json.decode(names) == [{"tier": "origin", "address": gateway, "port": 8080}]


def test_a_document_that_is_applied_again_changes_nothing_anywhere(two):
    two.apply(FAR)
    two.settle()
    before = two["london"].cloud.rows("select * from farm_partner")
    again = two.apply(FAR)
    assert {each.sign for each in again.steps} == {"="}
    assert operation(two, again.operation)[0] == "done"
    two.settle(1)
    assert two["london"].cloud.rows("select * from farm_partner") == before


def test_a_plan_asks_nobody_and_leaves_nothing(two):
    home = two["home"]
    with home.cloud.database.write() as tx:
        within = tx.begin_nested()
        plan = farms.create(Call(tx, home.ann, home.cloud.around, dry_run=True), farm_in(**FAR))
        within.rollback()
    assert plan.steps[-1].about == "1 network, 1 tier"
    two.settle(1)
    assert two.wan.asked == 0
    nothing_left(two)


def test_a_region_that_cannot_be_reached_holds_up_nothing_else(two):
    two.wan.cut.add("london")
    made = two.apply(FAR)
    two.settle()
    assert two["home"].cloud.rows("select name from tier") == [("origin",)]
    assert (two.state(), operation(two, made.operation)[0]) == ("waits", "running")
    assert "waits for london" in two["home"].farm().told
    assert "can't be reached" in two["home"].farm().regions[0].told
    two.wan.cut.clear()
    two.settle()
    made_everywhere(two)
    assert operation(two, made.operation)[0] == "done"


def test_while_the_wan_is_cut_what_is_known_is_told_with_its_age(two):
    two.apply(FAR)
    two.settle()
    before = two["home"].farm().regions[0]
    two.wan.cut.add("london")
    two.turn(600)
    now = two["home"].farm().regions[0]
    assert (now.heard_at, now.tiers) == (before.heard_at, before.tiers)
    assert "can't be reached" in now.told


@pytest.mark.parametrize("fate", ["ask", "answer", "double", "late"])
def test_calls_are_lost_doubled_and_late(two, fate):
    """Each of them, at each step of a life."""
    two.wan.fates = [fate] * 3
    two.apply(FAR)
    two.settle(8)
    made_everywhere(two)
    two.wan.fates = [fate] * 3
    grown = [{**FAR["tiers"][0]}, {**FAR["tiers"][1], "least": 2, "count": 2}]
    two.apply({**FAR, "tiers": grown})
    two.settle(8)
    two.wan.late()
    assert two["london"].cloud.rows("select count from tier") == [(2,)]
    two.wan.fates = [fate] * 3
    home = two["home"]
    home.cloud.do(home.ann, farms.delete, FarmId(home.farm().id))
    two.settle(10)
    nothing_left(two)
    two.wan.late()
    two.settle(1)
    nothing_left(two)


def test_a_server_that_dies_between_any_two_steps_is_followed_by_one_that_goes_on(two):
    """What is not committed is said again by whoever acts next; the n-th commit of home's fails."""
    home = two["home"]
    real = home.sync.transact
    for dies in range(6):
        count = [0]

        def transact(work, count=count, dies=dies):
            count[0] += 1
            if count[0] == dies + 1:
                raise RuntimeError("the server died")
            return real(work)

        home.sync.transact = transact
        two.apply({**FAR, "time_zone": ["UTC", "Europe/Berlin"][dies % 2]})
        for _ in range(4):
            with suppress(RuntimeError):
                two.settle(1)
        home.sync.transact = real
        two.settle()
        made_everywhere(two)


def test_what_the_document_forgets_goes_elsewhere_too(two):
    two.apply(FAR)
    two.settle()
    made = two.apply(ALONE)
    steps = {f"{each.sign} {each.what} {each.name}" for each in made.steps}
    assert {"- VPN front:london:edge", "- region london"} <= steps
    assert operation(two, made.operation)[0] == "running"
    two.settle(6)
    assert operation(two, made.operation)[0] == "done"
    assert two["london"].farms() == []
    assert two["home"].farm().regions == ()
    assert two["home"].vpns() == []


def test_nothing_is_done_before_the_last_of_it_has_gone_elsewhere(two):
    two.apply(FAR)
    two.settle()
    made = two.apply(ALONE)
    for _ in range(3):
        two.turn()
        two["home"].serve()
    assert (two.state(), operation(two, made.operation)[0]) == ("leaving", "running")


def own_keys(two: Regions) -> list[str]:
    return [two[name].cloud.rows("select public_key from vpn")[0][0] for name in ("home", "london")]


def routers_know(two: Regions) -> None:
    """What is wished of networks is in effect."""
    for name in ("home", "london"):
        two[name].cloud.run("update operation set state = 'done' where target like 'network-%'")


def test_keys_are_rotated_without_a_moment_in_which_an_end_is_not_known(two):
    two.apply(FAR)
    two.settle()
    routers_know(two)
    before, home = own_keys(two), two["home"]
    made = home.cloud.do(home.ann, farms.rotate_keys, FarmId(home.farm().id))
    for turn in range(12):
        two.turn()
        two["home"].look()
        if turn % 2:  # routers are slower than what is said
            routers_know(two)
        for near, far in (("home", "london"), ("london", "home")):
            ((own,),) = two[near].cloud.rows("select public_key from vpn")
            ((key, other),) = two[far].cloud.rows("select public_key, next_key from vpn_peer")
            assert own in (key, other), f"{far} does not know {near}'s key"
    assert not set(own_keys(two)) & set(before), "both are new"
    two.settle()
    made_everywhere(two)
    assert operation(two, made.id)[0] == "done"
    for name in ("home", "london"):
        assert two[name].cloud.rows("select v.next_key, v.next_sealed, p.next_key from vpn v join vpn_peer p on p.vpn = v.id") == [("", "", "")]  # fmt: skip


def test_no_end_turns_to_a_key_that_the_other_routers_do_not_know(two):
    two.apply(FAR)
    two.settle()
    routers_know(two)
    before, home = own_keys(two), two["home"]
    home.cloud.do(home.ann, farms.rotate_keys, FarmId(home.farm().id))
    for _ in range(6):
        two.turn()
    assert own_keys(two) == before, "it is kept that they know, and not in effect"
    two.wan.cut.add("london")
    routers_know(two)
    for _ in range(6):
        two.turn(61)
    ((key, other),) = two["london"].cloud.rows("select public_key, next_key from vpn_peer")
    assert own_keys(two)[0] in (key, other)
    two.wan.cut.clear()
    for _ in range(6):
        two.turn(61)
        routers_know(two)
    assert not set(own_keys(two)) & set(before)


def test_keys_are_rotated_by_themselves(two):
    two.apply(FAR)
    two.settle()
    routers_know(two)
    before = own_keys(two)
    two.turn(29 * 86_400)
    two.turn()
    assert own_keys(two) == before
    two.turn(2 * 86_400)
    for _ in range(8):
        two.turn()
        routers_know(two)
    assert not set(own_keys(two)) & set(before)


def test_only_what_is_joined_has_keys(two):
    home = two["home"]
    two.apply(ALONE)
    refused = home.cloud.refused(home.ann, farms.rotate_keys, FarmId(home.farm().id))
    assert isinstance(refused, Conflict)


def test_a_tier_moves_to_another_region(two):
    two.apply(ALONE)
    two.settle(1)
    moved = {**ALONE, "tiers": [{**ALONE["tiers"][0], "region": "london"}]}
    made = two.apply(moved)
    two.settle(6)
    assert operation(two, made.operation)[0] == "done"
    assert two["home"].cloud.rows("select name from tier") == []
    assert two["home"].cloud.rows("select name from network where state = 'ready'") == []
    assert two["london"].cloud.rows("select name, count from tier") == [("origin", 2)]
    two.apply(ALONE)
    two.settle(8)
    assert two["home"].cloud.rows("select name, count from tier") == [("origin", 2)]
    assert two["london"].farms() == []


def test_a_part_is_not_changed_by_hand(two):
    two.apply(FAR)
    two.settle()
    london = two["london"]
    farm = FarmId(london.farm().id)
    ((tier,),) = london.cloud.rows("select id from tier")
    ((vpn,),) = london.cloud.rows("select id from vpn")
    ((network,),) = london.cloud.rows("select id from network")
    for use_case, *ask in (
        (farms.update, farm, FarmChange(tiers=())),
        (farms.delete, farm),
        (tiers_.update, tier, TierChange(count=1)),
        (vpns.rotate, vpn),
        (networks.delete, network),
    ):
        assert isinstance(london.cloud.refused(london.ann, use_case, *ask), Conflict), use_case


def test_what_a_region_refuses_is_told_and_asked_again(two):
    two["london"].cloud.run("update account set federated = '[]' where name = 'ann'")
    made = two.apply(FAR)
    two.settle()
    state, error = operation(two, made.operation)
    assert state == "failed"
    assert "arable account federate ann --origin home" in error
    assert two.state() == "refused"
    assert two["london"].farms() == []
    two["london"].cloud.run("update account set federated = '[\"home\"]' where name = 'ann'")
    two.settle()
    made_everywhere(two)
    assert two["home"].farm().told == ""


def test_a_part_whose_home_may_not_act_any_more_is_let_go_by_hand(two):
    two.apply(FAR)
    two.settle()
    london = two["london"]
    london.cloud.run("update account set federated = '[]' where name = 'ann'")
    london.cloud.do(london.ann, farms.delete, FarmId(london.farm().id))
    london.serve()
    london.serve()
    assert london.farms() == []
    home = two["home"]
    home.cloud.do(home.ann, farms.delete, FarmId(home.farm().id))
    two.settle(6)
    nothing_left(two)


def test_a_region_that_left_the_grid_is_not_waited_for(two):
    two.apply(FAR)
    two.settle()
    two.wan.cut.add("london")
    two["home"].cloud.run("update grid_peer set state = 'gone'")
    made = two.apply(ALONE)
    two.settle()
    assert operation(two, made.operation)[0] == "done"
    assert two["home"].farm().regions == ()


def test_a_store_that_was_set_back_is_told_anew(two):
    """Another region's, that lost the part, and home's, that knows of less than was said."""
    two.apply(FAR)
    two.settle()
    london = two["london"].cloud
    for table in ("element", "tier", "balancer_member", "balancer", "vpn_peer", "vpn", "farm_part", "farm_spec", "farm_partner"):  # fmt: skip
        london.run(f"delete from {table}")
    london.run("update address set network = null, account = null, source_nat = false")
    for table in ("network", "farm"):
        london.run(f"delete from {table}")
    two.settle(5)
    made_everywhere(two)
    two["home"].cloud.run("update farm_region set version = 1, acked = 1")
    two.settle(3)
    made_everywhere(two)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("tiers.1.region", {"tiers": [FAR["tiers"][0], {**FAR["tiers"][1], "region": "oslo"}]}),
        ("tiers.1.networks.0", {"tiers": [FAR["tiers"][0], {**FAR["tiers"][1], "networks": ["front"]}]}),
        ("networks.1.cidr", {"networks": [{"name": "front", "cidr": "10.1.0.0/16"}, {"name": "edge", "cidr": "10.1.2.0/24"}]}),
        ("passages.0.to", {"networks": [{"name": "front", "isolated": True}, {"name": "edge"}]}),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_made(two, field, said):
    with pytest.raises(BadInput) as refused:
        two.apply({**FAR, **said})
    assert refused.value.field == field
    two.settle(1)
    assert two.wan.asked == 0
    nothing_left(two)


def test_two_other_regions_are_joined_with_each_other(tmp_path):
    with regions_of(tmp_path, "london", "oslo") as three:
        tiers = [
            {"name": "a", "blueprint": "web", "networks": ["x"], "region": "london"},
            {"name": "b", "blueprint": "web", "networks": ["y"], "region": "oslo"},
        ]
        said = {
            "name": "shop",
            "networks": [{"name": "x"}, {"name": "y"}],
            "tiers": tiers,
            "passages": [{"source": "a", "to": "b", "port": 8080}],
        }
        three.apply(said)
        three.settle(6)
        assert (three.state("london"), three.state("oslo")) == ("ready", "ready")
        ends = {}
        for name in ("london", "oslo"):
            (ends[name],) = three[name].cloud.rows("select v.public_key, p.public_key from vpn v join vpn_peer p on p.vpn = v.id")  # fmt: skip
        assert ends["london"] == ends["oslo"][::-1]
        assert three["home"].vpns() == []


def test_a_region_that_takes_long_holds_up_no_other(tmp_path):
    with regions_of(tmp_path, "london", "oslo") as three:
        may_answer, sync, farms_at = Event(), three["home"].sync, three.wan.farms

        def slow(link, url, region, ask):
            if region == "london":
                assert may_answer.wait(60)
            return farms_at(link, url, region, ask)

        three.wan.farms = slow
        sync.patience = 0.01
        names = {"a": "london", "b": "oslo"}
        tiers = [
            {"name": name, "blueprint": "web", "networks": [name], "region": region}
            for name, region in names.items()
        ]
        nets = [{"name": name} for name in names]
        three.apply({"name": "shop", "networks": nets, "tiers": tiers})
        asked = set()
        for _ in range(3):
            three.turn(61)
            asked |= sync._asked.keys()
            for region in sync._asked.keys() - {"london"}:
                sync._asked[region].result(60)
        assert "london" in asked
        assert three["oslo"].farms() != []
        assert three["london"].farms() == []
        may_answer.set()
        sync._asked["london"].result(60)
        sync.patience = 60
        three.settle()
        assert (three.state("london"), three.state("oslo")) == ("ready", "ready")
