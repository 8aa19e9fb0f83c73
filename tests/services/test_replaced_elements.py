"""An element gets another machine because somebody wants it so: as it fails nobody, and who asked is told."""

from datetime import timedelta

import msgspec
import pytest
from make_shop import Shop

from arable.controllers import alerts, watches
from arable.domain.alert import AlertKind, Severity
from arable.domain.errors import Conflict, NotFound
from arable.services import elements, farms, tiers
from arable.wire.elements import ElementOut, ElementQuery, ElementReplaceIn
from arable.wire.farms import FarmIn
from arable.wire.tiers import TierChange

FORCE = ElementReplaceIn(force=True)
GENTLY = ElementReplaceIn()


def serves(shop: Shop) -> Shop:
    shop.round()
    shop.run_all()
    shop.says()
    shop.round(2)
    assert set(shop.states()) == {"serving"}
    return shop


@pytest.fixture
def shop(lone_cloud) -> Shop:
    return serves(Shop(lone_cloud))


def found(shop: Shop, **query) -> list[ElementOut]:
    return shop.cloud.do(shop.ann, elements.page, ElementQuery(**query)).items


def first(shop: Shop) -> ElementOut:
    return found(shop)[0]


def replaced(shop: Shop, ask: ElementReplaceIn = GENTLY) -> str:
    return shop.cloud.do(shop.ann, elements.replace, first(shop).id, ask).id


def outcome(shop: Shop, operation: str) -> tuple[str, str]:
    query = "select state, error from operation where id = :id"
    return shop.cloud.rows(query, id=operation)[0]


def events(shop: Shop, kind: str) -> list[dict]:
    rows = shop.cloud.rows("select data from event where kind = :kind order by number", kind=kind)
    return [msgspec.json.decode(data) for (data,) in rows]


def goes(shop: Shop) -> None:
    """The first one's machine is drained, left and dropped."""
    shop.round()
    assert first(shop).state == "draining"
    shop.settle()
    shop.says()
    shop.round()
    shop.settle()
    shop.says()
    shop.round(2)
    assert first(shop).state == "dropping"
    shop.cloud.run("delete from balancer_member where nic in (select id from nic where machine in (select id from machine where wish = 'gone'))")  # fmt: skip
    shop.cloud.run("delete from nic where machine in (select id from machine where wish = 'gone')")
    for table in ("volume", "machine_boot"):
        shop.cloud.run(f"delete from {table} where machine in (select id from machine where wish = 'gone')")  # fmt: skip
    shop.cloud.run("delete from machine where wish = 'gone'")


def comes(shop: Shop) -> None:
    shop.round(2)
    shop.run_all()
    shop.says()
    shop.round(3)


def test_it_is_drained_and_gets_another_machine_of_its_name(cloud):
    shop = serves(Shop(cloud))
    before = first(shop)
    operation = replaced(shop)
    assert shop.wanting() == [shop.farm]
    assert first(shop).operation == operation
    goes(shop)
    comes(shop)
    after = first(shop)
    assert (after.id, after.name, after.state) == (before.id, "shop-web-1", "serving")
    assert after.machine != before.machine
    assert after.operation is None
    assert outcome(shop, operation) == ("done", None)
    assert shop.cloud.rows("select name from machine order by name") == [("shop-web-1",), ("shop-web-2",)]  # fmt: skip
    assert shop.wanting() == []
    (steps,) = shop.cloud.rows("select steps from operation where id = :id", id=operation)
    assert [each["text"] for each in msgspec.json.decode(steps[0])] == [
        "gets nobody new", "leaves", "gets a machine", "done",
    ]  # fmt: skip
    (told,) = events(shop, "element.draining")
    assert (told["serving"], told["least"]) == (1, 1)


def test_one_that_is_needed_is_refused_and_what_to_do_is_said(shop):
    shop.cloud.do(shop.ann, tiers.update, found(shop)[0].tier, TierChange(least=2))
    error = shop.cloud.refused(shop.ann, elements.replace, first(shop).id, GENTLY)
    assert isinstance(error, Conflict)
    assert error.field == "force"
    assert "fewer than 2 elements of web would serve" in error.public


def test_by_force_it_goes_all_the_same(shop):
    shop.cloud.do(shop.ann, tiers.update, found(shop)[0].tier, TierChange(least=2))
    operation = replaced(shop, FORCE)
    goes(shop)
    comes(shop)
    assert outcome(shop, operation)[0] == "done"
    (told,) = events(shop, "element.draining")
    assert (told["serving"], told["least"], told["forced"]) == (1, 2, True)


def test_while_another_is_away_it_waits(shop):
    shop.cloud.run("update machine set state = 'stopped' where name = 'shop-web-2'")
    shop.round()
    operation = replaced(shop)
    shop.round()
    assert shop.states()[0] == "serving"
    assert shop.wanting() == [shop.farm]
    shop.cloud.run("update machine set state = 'running' where name = 'shop-web-2'")
    shop.says()
    shop.round(3)
    assert shop.states() == ["draining", "serving"]
    assert outcome(shop, operation)[0] == "running"


def test_what_can_be_done_no_more_is_given_up(shop):
    shop.cloud.run("update machine set state = 'stopped' where name = 'shop-web-2'")
    shop.round()
    operation = replaced(shop)
    shop.cloud.do(shop.ann, tiers.update, found(shop)[0].tier, TierChange(least=2))
    shop.round()
    assert shop.states()[0] == "serving"
    state, error = outcome(shop, operation)
    assert state == "failed"
    assert "it keeps its machine: fewer would serve than always should" in error
    assert first(shop).operation is None


def test_with_its_tier_it_goes_and_who_asked_is_told(shop):
    operation = replaced(shop)
    shop.round()
    shop.cloud.do(shop.ann, farms.delete, shop.farm)
    goes(shop)
    shop.cloud.run("update machine set state = 'expunging' where wish = 'gone'")
    shop.round(3)
    state, error = outcome(shop, operation)
    assert state == "failed"
    assert "it is wanted no more" in error


def test_what_goes_already_is_not_replaced(shop):
    operation = replaced(shop)
    again = shop.cloud.refused(shop.ann, elements.replace, first(shop).id, GENTLY)
    assert operation in again.public
    shop.cloud.run("update element set operation = null, state = 'leaving'")
    leaves = shop.cloud.refused(shop.ann, elements.replace, first(shop).id, FORCE)
    assert "is leaving: its machine goes already" in leaves.public
    shop.cloud.run("update element set state = 'waiting', machine = null where number = 1")
    waits = shop.cloud.refused(shop.ann, elements.replace, first(shop).id, FORCE)
    assert "has no machine that could be replaced" in waits.public


def test_nobody_else_sees_or_replaces_it(shop):
    other, id_ = shop.cloud.account("bob"), first(shop).id
    assert shop.cloud.do(other, elements.page, ElementQuery()).items == []
    assert isinstance(shop.cloud.refused(other, elements.get, id_), NotFound)
    assert isinstance(shop.cloud.refused(other, elements.replace, id_, FORCE), NotFound)
    assert shop.cloud.do(shop.ann, elements.get, id_).name == "shop-web-1"


def test_it_is_found_by_its_name_wherever_that_has_hyphens(shop):
    more = {"name": "shop-web", "networks": [{"name": "n"}], "tiers": [{"name": "a-1", "blueprint": "web", "networks": ["n"]}]}  # fmt: skip
    shop.cloud.do(shop.ann, farms.create, msgspec.convert(more, FarmIn))
    shop.cloud.run(
        "insert into element (id, tier, farm, account, number, state, since)"
        " select 'element-x', id, farm, account, 1, 'waiting', 0 from tier where name = 'a-1'"
    )
    assert [each.name for each in found(shop)] == ["shop-web-1", "shop-web-2", "shop-web-a-1-1"]
    assert [each.id for each in found(shop, name="shop-web-a-1-1")] == ["element-x"]
    assert [each.name for each in found(shop, name="shop-web-2")] == ["shop-web-2"]
    for nobody in ("shop-web-3", "shop-web-x", "shop", "shop-web-99999999999999999999", "web-2"):
        assert found(shop, name=nobody) == []
    assert len(found(shop, tier=first(shop).tier)) == 2
    assert len(found(shop, farm=shop.farm, limit=1)) == 1


def test_operators_are_told_of_a_tier_of_which_too_few_serve_for_long(cloud):
    shop = serves(Shop(cloud, tier={"least": 2}))
    clock = cloud.around.clock

    def look() -> list[tuple]:
        with cloud.database.write() as tx:
            alerts.watch(tx, clock.now(), [watches.short_tiers])
        clock.wait(timedelta(minutes=2))
        return cloud.rows(
            "select kind, severity, opened_at is not null, until is null, text from alert"
        )

    assert look() == []
    cloud.run("update machine set state = 'stopped' where name = 'shop-web-2'")
    shop.round()
    told = "1 elements of ann/shop/web serve, at least 2 always should"
    short = (AlertKind.TIER_BELOW_LEAST, Severity.WARNING)
    assert look() == [(*short, False, True, told)]
    assert look() == [(*short, False, True, told)]
    assert look() == [(*short, False, True, told)]
    assert look() == [(*short, True, True, told)]  # after more than five minutes
    cloud.run("update element set state = 'making'")
    assert look()[0][1] == Severity.CRITICAL
    cloud.run("update element set state = 'serving'")
    look()
    assert not look()[0][3]
