"""Blueprints, secrets and zones of a farm's parts in other regions: home says them, and they go with the part."""

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from make_cloud import DISK, add_image
from make_spread_farm import BLUEPRINT, FAR, Regions, regions_of

from arable.domain.errors import BadInput, CloudError, Conflict
from arable.domain.grid import CataloguedVersion
from arable.domain.ids import AccountId, BlueprintId, FarmId, SecretId, ZoneId
from arable.domain.zone import Tags, Zone
from arable.services import blueprints, farm_secrets, farms
from arable.services.farm_secrets import texts
from arable.store import accounts, grid, zones
from arable.wire.blueprints import BlueprintIn, BlueprintVersionIn
from arable.wire.farm_secrets import RotateSecretIn
from arable.wire.grid import FarmPartIn, FarmTextIn
from everything_kept import everything_kept

MADE = {key: value for key, value in BLUEPRINT.items() if key != "name"}
ASKS = {**MADE, "user_data": "pass={{secret.db}}"}


@pytest.fixture
def two(tmp_path):
    with regions_of(tmp_path, "london") as made:
        yield made


def without_its_own(two: Regions) -> None:
    """Nobody made a blueprint in london."""
    for table in ("blueprint_version", "blueprint"):
        two["london"].cloud.run(f"delete from {table}")


def far(**tier: Any) -> dict[str, Any]:
    said = deepcopy(FAR)
    said["tiers"][1].update(tier)
    return said


def publish(two: Regions, region: str = "home", **but: Any) -> None:
    place = two[region]
    ((id_,),) = place.cloud.rows("select id from blueprint where name = 'web'")
    ask = msgspec.convert({**MADE, **but}, BlueprintVersionIn)
    place.cloud.do(place.ann, blueprints.create_version, BlueprintId(id_), ask)


def there(two: Regions) -> list[Any]:
    return two["london"].cloud.rows("select name, home, newest from blueprint order by name")


def made_of(two: Regions) -> list[Any]:
    return two["london"].cloud.rows(
        "select b.name, t.blueprint_number from tier t join blueprint b on b.id = t.blueprint"
    )


def told(two: Regions) -> str:
    return two["home"].farm().regions[0].told


def test_a_blueprint_goes_with_the_part(two):
    without_its_own(two)
    publish(two, drain_seconds=7)
    two.apply(FAR)
    two.settle()
    assert two.state() == "ready"
    assert there(two) == [("web@home", "home", 2)]
    assert made_of(two) == [("web@home", 2)]
    ((body,),) = two["london"].cloud.rows("select body from blueprint_version")
    assert msgspec.json.decode(body)["drain_seconds"] == 7


def test_one_that_was_made_there_by_hand_is_left_alone(two):
    publish(two, "london", drain_seconds=1)
    before = two["london"].cloud.rows("select id, newest from blueprint where home = ''")
    two.apply(FAR)
    two.settle()
    assert made_of(two) == [("web@home", 1)]
    assert two["london"].cloud.rows("select id, newest from blueprint where home = ''") == before
    assert there(two) == [("web", "", 2), ("web@home", "home", 1)]


def test_one_that_home_does_not_have_is_that_regions_own(two):
    london = two["london"]
    ask = msgspec.convert({**BLUEPRINT, "name": "edge"}, BlueprintIn)
    london.cloud.do(london.ann, blueprints.create, ask)
    two.apply(far(blueprint="edge"))
    two.settle()
    assert made_of(two) == [("edge", 1)]


def test_a_tier_stays_what_it_is_made_of_until_the_document_says_otherwise(two):
    two.apply(FAR)
    two.settle()
    publish(two)
    two.apply({**FAR, "time_zone": "Europe/Berlin"})
    two.settle()
    assert made_of(two) == [("web@home", 1)]
    two.apply(far(version="newest"))
    two.settle()
    assert made_of(two) == [("web@home", 2)]
    two.apply(far(version=1))
    two.settle()
    assert made_of(two) == [("web@home", 1)]
    with pytest.raises(BadInput) as refused:
        two.apply(far(version=3))
    assert refused.value.field == "tiers.1.version"


def test_what_follows_the_newest_by_itself_follows_home(two):
    two.apply(far(version="newest", automatic=True))
    two.settle()
    publish(two, drain_seconds=9)
    two.settle()
    assert made_of(two) == [("web@home", 2)]


def test_what_follows_nothing_is_left_alone_when_something_is_published(two):
    two.apply(far(version="newest"))
    two.settle()
    publish(two)
    two.settle()
    assert made_of(two) == [("web@home", 1)]


def test_another_version_of_the_same_number_overwrites_nothing(two):
    """Home's store was set back, say, and the number was given twice."""
    two.apply(FAR)
    two.settle()
    body = two["london"].cloud.rows("select body from blueprint_version order by blueprint")
    home = two["home"].cloud
    home.run("update blueprint_version set body = json_set(body, '$.drain_seconds', 77)")
    two.apply({**FAR, "time_zone": "Europe/Berlin"})
    two.settle()
    assert two.state() == "refused"
    assert "the blueprint web/1 of home can't be had here" in told(two)
    assert "publish it as another version" in told(two)
    assert two["london"].cloud.rows("select body from blueprint_version order by blueprint") == body


def test_what_a_blueprint_lacks_there_is_told(two):
    two["london"].cloud.run("update offering set name = 'tiny-one' where name = 'small'")
    two.apply(FAR)
    two.settle()
    assert two.state() == "refused"
    assert "web/1 of home can't be had here: offering:" in told(two)
    assert there(two) == [("web", "", 1)], "what was refused left nothing"


def test_blueprints_that_came_are_changed_by_home_alone_and_go_with_the_part(two):
    two.apply(FAR)
    two.settle()
    london, home = two["london"], two["home"]
    ((came,),) = london.cloud.rows("select id from blueprint where home = 'home'")
    ask = msgspec.convert(MADE, BlueprintVersionIn)
    refused = london.cloud.refused(london.ann, blueprints.create_version, BlueprintId(came), ask)
    assert isinstance(refused, Conflict)
    shown = london.cloud.do(london.ann, blueprints.get, BlueprintId(came))
    assert (shown.name, shown.home) == ("web@home", "home")
    home.cloud.do(home.ann, farms.delete, FarmId(home.farm().id))
    two.settle(6)
    assert two["london"].farms() == []
    assert there(two) == [("web", "", 1)]


def test_a_blueprint_of_which_tiers_elsewhere_are_made_stays(two):
    home = two["home"]
    two.apply({**FAR, "tiers": [FAR["tiers"][1]], "passages": []})
    two.settle()
    ((id_,),) = home.cloud.rows("select id from blueprint")
    refused = home.cloud.refused(home.ann, blueprints.delete, BlueprintId(id_))
    assert isinstance(refused, Conflict)
    assert "shop in london" in refused.public
    home.cloud.do(home.ann, farms.delete, FarmId(home.farm().id))
    two.settle(6)
    home.cloud.do(home.ann, blueprints.delete, BlueprintId(id_))


def has_image(two: Regions, region: str, account: str, *, public: bool) -> None:
    """That region has the image `special`; the other one is told so."""
    place = two[region].cloud
    with place.database.write() as tx:
        add_image(tx, place, "special", AccountId(account), public=public)
        path = accounts.path_of(tx, AccountId(account))
    now = place.around.clock.now()
    told = CataloguedVersion(region=region, account=path, image="special", number=1, digest=DISK.sha256, parts=(DISK,), public=public, created_at=now)  # fmt: skip
    with two["london"].cloud.database.write() as tx:
        grid.replace_region(tx, region, 1, [told], [DISK.sha256], now)


def images_of(two: Regions) -> list[Any]:
    return two["london"].cloud.rows(
        "select i.account, i.public, v.arriving from tier t join image i on i.id = t.image join image_version v on v.image = i.id"
    )


def test_its_image_comes_by_the_grid(two):
    has_image(two, "home", "account-root", public=True)
    publish(two, image="special")
    two.apply(FAR)
    two.settle()
    assert images_of(two) == [("account-root", 1, 1)]
    assert two["london"].cloud.rows("select state from transfer") == [("wanted",)]


def test_an_image_of_that_name_of_somebody_else_is_another_one(two):
    """Home means the operators' public image; the account has one of its own there, under that name."""
    has_image(two, "home", "account-root", public=True)
    with two["london"].cloud.database.write() as tx:
        add_image(tx, two["london"].cloud, "special", AccountId("account-ann"))
    publish(two, image="special")
    two.apply(FAR)
    two.settle()
    assert [owner for owner, *_ in images_of(two)] == ["account-root"]


def test_an_image_that_no_region_gives_is_told(two):
    with two["home"].cloud.database.write() as tx:
        add_image(tx, two["home"].cloud, "special", AccountId("account-ann"))
    publish(two, image="special")
    two.apply(FAR)
    two.settle()
    assert "can't be had here: image: no region has such an image" in told(two)


# --- secrets


def word(two: Regions, region: str) -> str:
    """What the farm's elements in that region would be told."""
    cloud = two[region].cloud
    with cloud.database.read() as tx:
        found = texts(tx, cloud.around, FarmId(two[region].farm().id), ["db"])
    return found["db"].reveal()


def rotated(two: Regions, region: str = "home", contents: str | None = None) -> Any:
    place = two[region]
    ((id_,),) = place.cloud.rows("select id from farm_secret where name = 'db'")
    ask = RotateSecretIn(contents=contents)
    return place.cloud.do(place.ann, farm_secrets.rotate, SecretId(id_), ask)


def test_elements_elsewhere_are_told_the_same_secret(two, caplog):
    caplog.set_level("DEBUG")
    publish(two, **ASKS)
    two.apply({**FAR, "secrets": ["db", "other"]})
    two.settle()
    assert two.state() == "ready"
    text = word(two, "home")
    assert word(two, "london") == text
    assert two["london"].cloud.rows("select name, number, given from farm_secret") == [("db", 1, 1)]
    for region in ("home", "london"):
        kept = str(everything_kept(two[region].cloud.database, but=()))
        assert text not in kept, "it is sealed wherever it is"
    assert text not in caplog.text
    assert text not in repr(FarmPartIn(account="a/b", farm="f", name="n", version=1, texts=(FarmTextIn(name="db", text=text),)))  # fmt: skip


def test_another_text_is_said_everywhere_and_a_cut_only_delays_it(two):
    publish(two, **ASKS)
    two.apply({**FAR, "secrets": ["db"]})
    two.settle()
    before = word(two, "london")
    two.wan.cut.add("london")
    rotated(two)
    two.settle(2)
    assert word(two, "london") == before
    two.wan.cut.clear()
    two.settle()
    assert word(two, "london") == word(two, "home") != before
    rotated(two, contents="my own")
    two.settle()
    assert word(two, "london") == "my own"


@pytest.mark.parametrize("fate", ["ask", "answer", "double", "late"])
def test_calls_with_secrets_are_lost_doubled_and_late(two, fate):
    publish(two, **ASKS)
    two.wan.fates = [fate] * 2
    two.apply({**FAR, "secrets": ["db"]})
    two.settle(8)
    two.wan.fates = [fate] * 2
    rotated(two)
    two.settle(8)
    two.wan.late()
    assert word(two, "london") == word(two, "home")


def test_one_that_its_owner_gives_later_is_waited_for(two):
    publish(two, **ASKS)
    two.apply({**FAR, "secrets": [{"name": "db", "given": True}]})
    two.settle()
    with pytest.raises(CloudError, match="not given yet"):
        word(two, "london")
    rotated(two, contents="at last")
    two.settle()
    assert word(two, "london") == "at last"


def test_no_region_is_told_what_it_does_not_need(two):
    two.apply({**FAR, "secrets": ["db"]})
    two.settle()
    assert two["london"].cloud.rows("select * from farm_secret") == []


def test_what_the_farm_has_no_secret_for_is_refused_at_home(two):
    publish(two, **ASKS)
    with pytest.raises(BadInput) as refused:
        two.apply(FAR)
    assert refused.value.field == "tiers.0.blueprint"
    with pytest.raises(BadInput) as refused:
        two.apply({**FAR, "tiers": [{**FAR["tiers"][0], "version": 1}, FAR["tiers"][1]]})
    assert refused.value.field == "tiers.1.blueprint"


def test_secrets_of_a_part_are_homes_and_go_with_it(two):
    publish(two, **ASKS)
    two.apply({**FAR, "secrets": ["db"]})
    two.settle()
    london, home = two["london"], two["home"]
    ((id_,),) = london.cloud.rows("select id from farm_secret")
    refused = london.cloud.refused(london.ann, farm_secrets.rotate, SecretId(id_), RotateSecretIn())
    assert isinstance(refused, Conflict)
    home.cloud.do(home.ann, farms.delete, FarmId(home.farm().id))
    two.settle(6)
    assert london.cloud.rows("select * from farm_secret") == []


def test_a_store_that_was_set_back_gets_the_text_anew(two):
    publish(two, **ASKS)
    two.apply({**FAR, "secrets": ["db"]})
    two.settle()
    rotated(two)
    two.settle()
    london = two["london"].cloud
    london.run("update farm_secret set sealed = 'what was', number = 1")
    london.run("update farm_partner set version = 1")
    two.settle()
    assert word(two, "london") == word(two, "home")


def test_a_text_that_cannot_be_opened_holds_up_its_own_part_alone(two):
    publish(two, **ASKS)
    two.apply({**FAR, "secrets": ["db"]})
    two["home"].cloud.run("update farm_secret set sealed = 'of another authority'")
    two.settle()
    assert two.state() == "waits"
    assert "sealed by another authority" in told(two)
    rotated(two)
    two.settle()
    assert two.state() == "ready"
    assert word(two, "london") == word(two, "home")


# --- zones


def add_zone(two: Regions, name: str) -> None:
    """Another zone in london."""
    cloud = two["london"].cloud
    now = cloud.around.clock.now()
    with cloud.database.write() as tx:
        id_ = ZoneId(f"zone-{name}")
        zones.add(tx, Zone(id=id_, name=name, guest_cidr="10.9.0.0/16", created_at=now))
        zones.add_tags(tx, id_, Tags(500, 549))


def test_a_part_is_in_the_zone_that_is_named(two):
    add_zone(two, "other")
    two.apply(FAR)
    two.settle()
    assert (two.state(), told(two)) == ("refused", "zone: say in which zone")
    two.apply(far(zone="nowhere"))
    two.settle()
    assert (two.state(), told(two)) == ("refused", "zone: there is no such zone")
    two.apply(far(zone="here"))
    two.settle()
    assert two.state() == "ready"
    assert two["london"].cloud.rows("select zone from farm") == [("zone-here",)]
    two.apply(far(zone="other"))
    two.settle()
    assert "it is in here, and stays there" in told(two)


@pytest.mark.parametrize(
    ("tiers", "field"),
    [
        ([{**FAR["tiers"][0], "zone": "here"}, FAR["tiers"][1]], "tiers.0.zone"),
        (
            [
                {**FAR["tiers"][0], "region": "london", "zone": "a"},
                {**FAR["tiers"][1], "zone": "b"},
            ],
            "tiers.1.zone",
        ),
    ],
)
def test_zones_that_cannot_be_are_refused(two, tiers, field):
    with pytest.raises(BadInput) as refused:
        two.apply({**FAR, "tiers": tiers})
    assert refused.value.field == field
