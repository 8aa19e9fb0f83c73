"""Elements as rows, on both databases: whose turn it is, what is asked in the farm's name, and what is believed."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from make_shop import Shop

from arable.controllers import farm_documents
from arable.domain.ids import FarmId
from arable.services import farms, networks
from arable.store import elements
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkIn

USED = "select count(*) from usage_record where kind = 'machine' and tier <> ''"


@pytest.fixture
def shop(cloud) -> Shop:
    return Shop(cloud)


@pytest.fixture
def serving(shop) -> Shop:
    shop.round()
    shop.run_all()
    shop.says()
    shop.round(2)
    assert shop.states() == ["serving", "serving"]
    return shop


def test_a_new_tier_has_its_machines_and_members_in_one_round(shop):
    assert shop.wanting() == [shop.farm]
    shop.round()
    assert shop.states() == ["making", "making"]
    names = shop.cloud.rows("select name, farm from machine order by name")
    assert names == [("shop-web-1", shop.farm), ("shop-web-2", shop.farm)]
    members = "select port, weight, draining from balancer_member"
    assert shop.cloud.rows(members) == [(80, 1, False)] * 2
    changed = "select count(*) from operation where kind = 'balancer.update'"
    assert shop.cloud.rows(changed) == [(1,)]
    shop.round()  # nothing more to ask for
    assert shop.states() == ["making", "making"]


def test_who_runs_proves_itself_and_serves_when_its_router_says_so(shop):
    shop.round()
    shop.run_all()
    shop.says(well=None)
    shop.round(2)
    assert shop.states() == ["proving", "proving"]
    shop.says()
    shop.round()
    assert shop.states() == ["serving", "serving"]
    assert shop.cloud.rows(USED) == [(2,)]


def test_where_all_serve_nobody_looks_until_something_happens(serving):
    assert serving.wanting() == []
    assert serving.sweep() == 0
    serving.cloud.run("update machine set state = 'stopped' where name = 'shop-web-1'")
    assert serving.sweep() == 1
    assert serving.wanting() == [serving.farm]
    serving.round()
    assert serving.states() == ["making", "serving"]


def test_a_router_that_says_that_somebody_is_ill_is_believed(serving):
    serving.says(well=False)
    assert serving.sweep() == 1
    serving.round()
    assert serving.states() == ["proving", "proving"]
    serving.cloud.around.clock.wait(timedelta(seconds=31))
    serving.says(well=False)
    serving.round()
    assert serving.states() == ["leaving", "leaving"]
    assert serving.cloud.rows("select 1 from balancer_member") == []


def test_a_router_whose_host_is_silent_is_not(serving):
    serving.says(well=False)
    serving.cloud.run("update host set state = 'silent'")
    serving.round()
    assert serving.states() == ["serving", "serving"]


def test_one_too_many_is_drained_left_and_dropped(serving):
    serving.scale(1)
    serving.round()
    assert serving.states() == ["serving", "draining"]
    serving.round()  # what the router said was before
    assert serving.states() == ["serving", "draining"]
    serving.settle()
    serving.says()
    serving.round()
    assert serving.states() == ["serving", "leaving"]
    serving.round()  # the router may not have heard
    assert serving.states() == ["serving", "leaving"]
    serving.settle()
    serving.says()
    serving.round(2)
    assert serving.states() == ["serving", "dropping"]
    assert serving.cloud.rows("select name from machine where wish = 'gone'") == [("shop-web-2",)]
    serving.cloud.run("update machine set state = 'expunging' where wish = 'gone'")
    serving.round(2)
    assert serving.states() == ["serving"]


def test_a_router_that_starts_may_lead_people_by_what_it_was_told_first(serving):
    serving.scale(1)
    serving.round()
    serving.settle()
    serving.says()
    serving.round()
    serving.cloud.run("update network set appliance_state = 'starting'")
    serving.settle()
    serving.round(2)
    assert serving.states() == ["serving", "leaving"]
    serving.cloud.run("update network set appliance_state = 'absent', appliance_host = null")
    serving.round(2)
    assert serving.states() == ["serving", "dropping"]


def test_what_is_refused_to_elements_that_serve_is_tried_again(serving):
    cloud = serving.cloud
    cloud.run("update network set state = 'leaving'")
    serving.scale(1)
    serving.round()
    assert serving.states() == ["serving", "serving"]
    assert "deleted" in cloud.rows("select told from tier")[0][0]
    assert serving.wanting() == []
    cloud.run("update network set state = 'ready'")
    cloud.around.clock.wait(timedelta(seconds=5))
    assert serving.wanting() == [serving.farm]
    serving.round()
    assert serving.states() == ["serving", "draining"]


def test_what_is_refused_rests_and_keeps_nothing_else_from_its_turn(cloud):
    shop = Shop(cloud, machines=1)
    shop.round()
    assert sorted(shop.states()) == ["making", "waiting"]
    ((told, again),) = cloud.rows("select told, again_at from tier")
    assert "machines" in told
    assert again is not None
    assert cloud.used(shop.ann)["machines"] == 1
    shop.run_all()
    shop.says()
    shop.round(2)
    assert sorted(shop.states()) == ["serving", "waiting"]
    assert shop.wanting() == []
    cloud.around.clock.wait(timedelta(seconds=5))
    assert shop.wanting() == [shop.farm]
    cloud.run("update quota set max_machines = 2 where account = 'account-ann'")
    shop.round()
    assert sorted(shop.states()) == ["making", "serving"]
    assert cloud.rows("select told, again_at, tries from tier") == [("", None, 0)]
    waits = "select count(*) from event where kind = 'tier.waits'"
    assert cloud.rows(waits) == [(1,)]


def test_a_farms_operation_is_done_when_its_tiers_are_as_wished(shop):
    def documents() -> Sequence[FarmId]:
        with shop.cloud.database.write() as tx:
            now = shop.cloud.around.clock.now()
            farm_documents.attend(shop.hands, tx, now, [shop.farm])
        with shop.cloud.database.read() as tx:
            return farm_documents.wanting(tx, "me", now)

    state = "select state from operation where kind = 'farm.create'"
    shop.round()
    assert documents() == [shop.farm]
    assert shop.cloud.rows(state) == [("running",)]
    generation = shop.cloud.rows("select generation from farm_spec")
    shop.run_all()
    shop.says()
    shop.round(2)
    told = shop.cloud.rows("select steps from operation where kind = 'farm.create'")
    assert "2 of 2 elements serve" in told[0][0], "whoever waits sees how far it is"
    assert documents() == []
    assert shop.cloud.rows(state) == [("done",)]
    assert shop.cloud.rows("select generation from farm_spec") == generation
    assert shop.cloud.rows("select count(*) from event where kind = 'farm.ready'") == [(1,)]


def test_another_release_is_done_without_elements_that_serve(serving):
    cloud = serving.cloud
    cloud.run("update tier set image_version = image_version + 1, attention = true")
    cloud.run("update farm_spec set attention = true")
    serving.round(2)
    with cloud.database.write() as tx:
        farm_documents.attend(serving.hands, tx, cloud.around.clock.now(), [serving.farm])
    assert serving.states() == ["serving", "serving"]
    assert cloud.rows("select count(*) from farm_spec where attention") == [(0,)]


def test_a_deleted_farm_goes_when_its_last_machine_has(serving):
    cloud = serving.cloud
    cloud.do(serving.ann, farms.delete, serving.farm)

    def round_() -> None:
        serving.settle()
        serving.says()
        serving.round(2)
        with cloud.database.write() as tx:
            farm_documents.attend(serving.hands, tx, cloud.around.clock.now(), [serving.farm])

    for _ in range(3):
        round_()
    assert serving.states() == ["dropping", "dropping"]
    assert cloud.rows("select count(*) from machine where wish = 'gone'") == [(2,)]
    cloud.run("update machine set state = 'expunging'")
    round_()
    assert serving.states() == []
    assert cloud.rows("select state from farm_spec") == [("leaving",)]


def test_nothing_new_comes_into_a_farm_that_was_deleted(serving):
    cloud, ann = serving.cloud, serving.ann
    networks_ = [network for (network,) in cloud.rows("select id from network")]
    cloud.do(ann, farms.delete, serving.farm)
    ports = (NicIn(network=networks_[0]),)
    for farm in (serving.farm, None):
        asked = cloud.asked(ann, name="late", farm=farm, networks=ports)
        (answer,) = cloud.batch(asked)
        assert "was deleted" in answer.public
    another = NetworkIn(name="late", cidr="10.9.0.0/24", farm=serving.farm)
    assert "was deleted" in cloud.refused(ann, networks.create, another).public


def test_an_account_sees_whose_asks_they_were(shop):
    shop.round()
    asked = "select distinct \"user\" from operation where kind = 'machine.deploy'"
    assert shop.cloud.rows(asked) == [(shop.farm,)]
    with shop.cloud.database.read() as tx:
        assert elements.names(tx, [shop.farm]) == {shop.farm: ("shop", "here")}
