"""Images that only other regions have: asked for, fetched by any server, recorded, booted, or clearly given up."""

from datetime import timedelta

import msgspec
import pytest
from make_cloud import deploy_in
from make_elsewhere import CONTENT, MIB, elsewhere, part_of
from make_shop import BLUEPRINT, SHOP
from test_landing import attend, routed, with_hosts

from arable.controllers import fetching
from arable.controllers.source_looks import Looks
from arable.domain.errors import Conflict, Forbidden, LimitExceeded, NotFound
from arable.domain.region import Fact, FactKind
from arable.domain.settings import IMAGE_FETCH_SECONDS
from arable.domain.sources import Seen
from arable.domain.transfer import DAMAGED
from arable.services import blueprints, catalogue, farms, images, volumes
from arable.services.call import Asked
from arable.store import grid_facts, grid_own, settings, transfers
from arable.wire.blueprints import BlueprintIn
from arable.wire.catalogue import FetchIn, WhereQuery
from arable.wire.farms import FarmChange, FarmIn
from arable.wire.images import ImageQuery, VersionQuery
from arable.wire.tiers import TierIn
from arable.wire.volumes import VolumeIn
from grid.make_regions import bring, noise

WEB = FetchIn(image="web")


@pytest.fixture
def far(lone_cloud, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_AGAIN", 0.001)
    with elsewhere(lone_cloud, tmp_path) as made:
        yield made


@pytest.fixture
def far_both(cloud, tmp_path, monkeypatch):
    """On both databases."""
    monkeypatch.setattr(fetching, "_AGAIN", 0.001)
    with elsewhere(cloud, tmp_path) as made:
        yield made


def test_a_machine_of_an_image_that_is_elsewhere_is_one_call_and_one_operation(far_both):
    """Claim by claim: asked for here, found to be missing, fetched, verified, recorded, started."""
    far = far_both
    cloud = with_hosts(far.cloud, "a", "b")
    me = cloud.account("me")
    cloud.account("shop")
    routed(cloud, me)
    far.has("london")
    answer = cloud.deploy(me, name="web", image="web")
    state, steps = far.operation(answer.operation)
    assert (state, steps) == ("running", ["fetches image web/3 from london: 0 of 1 MiB"])
    attend(cloud)
    machine = "select state, host, why from machine where name = 'web'"
    assert cloud.rows(machine)[0][:2] == ("waiting", None)
    assert "waits for its image web/3" in str(cloud.rows(machine)[0][2])
    far.server().step()
    assert far.store.path(part_of(CONTENT).sha256).read_bytes() == CONTENT
    attend(cloud)
    assert cloud.rows(machine)[0][0] == "starting"
    state, steps = far.operation(answer.operation)
    assert state == "running"
    assert "image web/3 is here" in steps
    assert steps[-1].startswith("placed")
    (image,) = cloud.do(me, images.page, ImageQuery(name="web")).items
    assert (image.account, image.public) == ("account-shop", True)
    (version,) = image.versions
    assert (version.number, version.digest, version.arriving) == (3, part_of(CONTENT).sha256, False)
    assert cloud.rows("select count(*) from transfer") == [(0,)]
    # the next one finds it here
    again = cloud.deploy(me, name="again", image="web")
    assert far.operation(again.operation)[1][0].startswith("placed")


def test_a_farm_of_an_image_that_is_elsewhere_is_one_call_and_one_operation(far_both):
    far = far_both
    cloud = with_hosts(far.cloud, "a", "b")
    me = cloud.account("me")
    cloud.account("shop")
    far.has("london")
    ask = msgspec.convert({**BLUEPRINT, "image": "none"}, BlueprintIn)
    assert cloud.refused(me, blueprints.create, ask).field == "image"
    cloud.do(me, blueprints.create, msgspec.structs.replace(ask, image="web"))
    made = cloud.do(me, farms.create, msgspec.convert(SHOP, FarmIn))
    state, steps = far.operation(made.operation)
    assert (state, steps) == ("running", ["fetches image web/3 from london: 0 of 1 MiB"])
    assert cloud.rows("select image_version from tier") == [(3,)]
    far.server().step()
    assert "image web/3 is here" in far.operation(made.operation)[1]
    ((farm,),) = cloud.rows("select farm from tier")
    far.has("london", noise(MIB), number=4)
    tier = msgspec.convert({**SHOP["tiers"][0], "image_version": 4}, TierIn)
    made = cloud.do(me, farms.update, farm, FarmChange(tiers=(tier,)))
    assert far.operation(made.operation)[1][0].startswith("fetches image web/4 from london")


def test_many_who_want_it_share_one_transfer(far):
    cloud = far.cloud
    accounts = [cloud.account(name) for name in ("me", "you", "shop")]
    london = far.has("london")
    far.has("london", noise(MIB // 2, 4), number=4)
    london = far.sources["london"] = type(london)("london", CONTENT)
    asked = [
        Asked(me, cloud.around, (deploy_in(name=name, image="web", version=3), None))
        for me in accounts
        for name in ("a", "b")
    ]
    assert all(hasattr(each, "operation") for each in cloud.batch(*asked))
    cloud.deploy(accounts[0], name="later", image="web", version=3)
    assert cloud.rows("select count(*), count(distinct image) from transfer") == [(1, 1)]
    assert cloud.rows("select count(*) from image where name = 'web'") == [(1,)]
    assert cloud.rows("select count(*) from transfer_wait") == [(7,)]
    far.server().step()
    assert len(london.sent) == len(set(london.sent))
    assert {"machines", "images"} <= far.topics, "whoever waits for it hears at once"
    assert cloud.rows("select count(*) from machine where attention and image_version = 3") == [
        (7,)
    ]


def test_two_versions_of_a_new_image_in_one_batch_are_one_image(far):
    cloud = far.cloud
    me = cloud.account("me")
    far.has("london")
    far.has("london", noise(MIB // 2, 4), number=4)
    asked = [
        Asked(me, cloud.around, (deploy_in(name=f"m-{number}", image="web", version=number), None))
        for number in (3, 4)
    ]
    assert all(hasattr(each, "operation") for each in cloud.batch(*asked))
    assert cloud.rows(
        "select number from image_version join image on id = image where name = 'web'"
        " order by number"
    ) == [(3,), (4,)]
    assert cloud.rows("select newest from image where name = 'web'") == [(4,)]


def test_what_is_refused_brings_nothing(far):
    me = far.cloud.account("me", machines=0)
    far.has("london")
    with pytest.raises(LimitExceeded):
        far.cloud.deploy(me, name="web", image="web")
    assert far.cloud.rows("select count(*) from transfer") == [(0,)]
    assert far.cloud.rows("select count(*) from image where name = 'web'") == [(0,)]


def test_it_is_brought_before_anybody_boots_it(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    assert asked.state == "running"
    same = far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    for each in (asked, same):
        state, steps = far.operation(each.id)
        assert state == "done"
        assert "image web/3 is here" in steps
    assert far.cloud.do(operator, catalogue.fetch, WEB).state == "done"
    # nobody here is root/shop/shop, so it belongs to the operators
    assert far.cloud.rows("select account from image where name = 'web'") == [("account-root",)]
    kinds = far.cloud.rows("select kind from event where kind like 'image.%'")
    assert kinds == [("image.fetched",)]


def test_others_hear_of_it_when_it_is_here_and_not_before(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london")

    def said() -> list[str]:
        with far.cloud.database.read() as tx:
            now = far.cloud.around.clock.now()
            facts = grid_own.facts(tx, "here", [FactKind.IMAGE], "1", now)
        return sorted(fact.key for fact in facts)

    far.cloud.do(operator, catalogue.fetch, WEB)
    assert said() == ["root/root|tiny|1"]
    far.server().step()
    assert said() == ["root/root|tiny|1", "root/root|web|3"]


def test_who_may_have_what(far):
    me, shop = far.cloud.account("me"), far.cloud.account("shop")
    far.has("london", public=False)
    assert "no other region has an image web" in str(
        far.cloud.refused(me, catalogue.fetch, WEB).public
    )
    assert isinstance(far.cloud.refused(me, catalogue.fetch, WEB), NotFound)
    with pytest.raises(NotFound):
        far.cloud.deploy(me, name="web", image="web")
    assert far.cloud.do(me, catalogue.where, WhereQuery(image="web")).versions == ()
    assert far.cloud.do(shop, catalogue.fetch, WEB).state == "running"
    far.has("london", image="open")
    assert isinstance(far.cloud.refused(me, catalogue.fetch, FetchIn(image="open")), Forbidden)


def test_ones_own_image_goes_before_a_public_one(far):
    far.cloud.account("shop")
    me = far.cloud.account("me")
    far.has("london", account="root/a/a")
    far.has("york", noise(MIB // 2, 8), account="root/me/me", public=False, number=1)
    found = far.cloud.do(
        me, lambda call: catalogue.find(call.tx, call.around, me.account, "web", None)
    )
    assert (found.image.account, found.version.number) == ("account-me", 1)


def test_another_version_of_the_same_number_is_not_overwritten(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    far.has("york", noise(MIB // 2, 8))
    far.sources["london"].down = True
    with far.cloud.database.write() as tx:
        tx.exec_driver_sql("delete from grid_version where region = 'london'")
    error = far.cloud.refused(operator, catalogue.fetch, WEB)
    assert isinstance(error, Conflict)
    assert "another one here than in york" in error.public


def test_where_a_version_is(far):
    me = far.cloud.account("me")
    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    far.has("york")
    far.has("york", noise(MIB // 2, 8), number=4)
    newest, one = far.cloud.do(me, catalogue.where, WhereQuery(image="web")).versions
    assert (newest.number, [each.region for each in newest.holders]) == (4, ["york"])
    assert [each.region for each in one.holders] == ["london", "york"]
    assert one.holders[0].known_at == far.cloud.around.clock.now()
    assert not one.here
    far.cloud.do(operator, catalogue.fetch, FetchIn(image="web", version=3))
    ask = WhereQuery(image="web", version=3)
    assert far.cloud.do(me, catalogue.where, ask).versions[0].told.startswith("fetches image web/3")
    far.server().step()
    (one,) = far.cloud.do(me, catalogue.where, ask).versions
    assert (one.here, one.told) == (True, "")
    tiny = far.cloud.do(me, catalogue.where, WhereQuery(image="tiny")).versions
    assert [(each.here, each.holders) for each in tiny] == [(True, ())]


def test_damaged_everywhere_it_is_given_up_and_nothing_is_left(far):
    """Rule 7, and the machine that nobody can start leaves nothing behind."""
    cloud = with_hosts(far.cloud, "a")
    me = cloud.account("me")
    routed(cloud, me)
    used = cloud.used(me)
    london = far.has("london")
    london.chunk = lambda _number, data: data[:-1] + b"!"
    answer = cloud.deploy(me, name="web", image="web")
    server = far.server()
    for _ in range(DAMAGED):
        attend(cloud)
        server.step()
        far.wait(60)
    attend(cloud)
    state, steps = far.operation(answer.operation)
    assert state == "failed"
    assert "can't be fetched: london: a chunk is not what the list says" in steps[-2]
    assert cloud.rows("select count(*) from machine where name = 'web'") == [(0,)]
    assert cloud.used(me) == used
    assert not far.store.parts()
    assert not list(far.store._folder.glob("*.arriving"))
    # asked for anew, it is tried anew
    london.chunk = lambda _number, data: data
    operator = cloud.account("operator", role="operator")
    asked = cloud.do(operator, catalogue.fetch, WEB)
    server.step()
    assert far.operation(asked.id)[0] == "done"


def test_what_can_not_be_reached_is_waited_for_and_the_time_to_wait_has_an_end(far):
    operator = far.cloud.account("operator", role="operator")
    london = far.has("london")
    london.down = True
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    server = far.server()
    for _ in range(5):
        server.step()
        far.wait(30)
    state, steps = far.operation(asked.id)
    assert state == "running"
    assert steps[-1] == "image web/3 has to wait: london: london is down"
    assert len([step for step in steps if "has to wait" in step]) == 1, "said once"
    far.wait(IMAGE_FETCH_SECONDS.default)
    server.step()
    state, steps = far.operation(asked.id)
    assert state == "failed"
    assert "can't be fetched: london: london is down" in steps[-2]


def test_another_region_is_asked_when_one_is_down(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london").down = True
    york = far.has("york")
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    assert far.operation(asked.id)[0] == "done"
    assert york.sent


def test_with_no_room_it_fails_at_once_and_says_so(far, tmp_path):
    from arable.drivers.storage.image_store import ImageStore

    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    far.store = ImageStore(tmp_path / "small", capacity_bytes=MIB // 2, reserve_bytes=0)
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    state, steps = far.operation(asked.id)
    assert state == "failed"
    assert "not enough room" in steps[-2]
    assert not list(far.store._folder.iterdir())


def test_a_catalogue_that_says_something_else_than_the_file_is_not_believed(far):
    operator = far.cloud.account("operator", role="operator")
    true = part_of(CONTENT)
    from dataclasses import replace

    far.has("london", claims=replace(true, virtual_bytes=5 * MIB))
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    assert far.operation(asked.id)[0] == "failed"
    # nor when the bytes are here already
    bring(far.store, CONTENT)
    again = far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    assert far.operation(again.id)[0] == "failed"


def test_a_catalogue_whose_digest_is_not_that_of_its_parts_is_refused(far):
    me = far.cloud.account("operator", role="operator")
    far.has("london")
    with far.cloud.database.write() as tx:
        tx.exec_driver_sql("update grid_version set digest = 'x'")
    assert isinstance(far.cloud.refused(me, catalogue.fetch, WEB), Conflict)


def test_bytes_that_are_here_already_do_not_move(far):
    operator = far.cloud.account("operator", role="operator")
    london = far.has("london")
    bring(far.store, CONTENT)
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    assert far.operation(asked.id)[0] == "done"
    assert not london.sent
    kept = far.cloud.rows("select account, bytes from image_part")
    assert kept == [("account-root", len(CONTENT))]


def test_a_server_that_dies_is_gone_on_with_by_another(far):
    """Wherever it died: with the claim alone, with bytes on the disk, with the part whole and nobody told."""
    operator = far.cloud.account("operator", role="operator")
    london = far.has("london")
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    now = far.cloud.around.clock.now()
    with far.cloud.database.write() as tx:
        (id_,) = transfers.due(tx, "server-a", now, 9)
        held = transfers.claim(tx, id_, "server-a", now, now + timedelta(seconds=60))
    assert held is not None
    other = far.server("server-b")
    other.step()
    assert not london.sent, "it is another one's, which may live"
    far.wait(61)
    other.step()
    assert far.operation(asked.id)[0] == "done"
    # the first one was only slow: what it writes is refused, what it did does no harm
    first = far.server("server-a")
    with pytest.raises(Conflict):
        first.went_on(held, 5, "london", "x")
    with far.cloud.database.write() as tx:
        first._arrived(tx, held)
    assert "x" not in far.operation(asked.id)[1]


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", ["claim", "_note", "_arrived"])
def test_a_server_that_is_killed_at_a_step_goes_on_after_its_start(far, monkeypatch, at, caplog):
    operator = far.cloud.account("operator", role="operator")
    london = far.has("london")
    asked = far.cloud.do(operator, catalogue.fetch, WEB)

    def killed(*_args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        where = transfers if at == "claim" else type(far.server())
        patch.setattr(where, at, killed)
        far.server().step()
    assert "Killed" in caplog.text
    caplog.clear()
    moved = len(london.sent)
    far.server().step()
    assert far.operation(asked.id)[0] == "done"
    if at == "_arrived":
        assert len(london.sent) == moved, "it was whole: nothing moves again"


def test_a_transfer_that_another_server_took_over_is_left_alone(far, monkeypatch):
    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    far.cloud.do(operator, catalogue.fetch, WEB)
    server = far.server()
    real = type(server).went_on

    def stolen(*args, **named):
        far.cloud.run("update transfer set holder = 'server-b', held_until = 4102444800000000")
        return real(*args, **named)

    monkeypatch.setattr(type(server), "went_on", stolen)
    server.step()
    assert far.cloud.rows("select holder, state from transfer") == [("server-b", "wanted")]


def test_a_version_that_is_on_its_way_can_be_deleted_and_makes_no_volume(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    ask = VolumeIn(name="data", offering="any", image="web")
    assert isinstance(far.cloud.refused(operator, volumes.create, ask), Conflict)
    ((image,),) = far.cloud.rows("select id from image where name = 'web'")
    far.cloud.do(operator, images.delete_version, image, VersionQuery(number=3))
    far.server().step()
    assert not far.store.parts()
    assert far.operation(asked.id)[0] == "failed"


def test_an_older_version_serves_while_a_newer_one_comes(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london", noise(MIB // 2, 4), number=2)
    far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    far.has("london")
    far.cloud.do(operator, catalogue.fetch, WEB)
    far.cloud.deploy(operator, name="web", image="web")
    assert far.cloud.rows("select image_version from machine") == [(2,)]


def test_the_rate_is_what_the_setting_says(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    with far.cloud.database.write() as tx:
        settings.put(tx, {"image_fetch_mib_per_second": 50})
    far.cloud.do(operator, catalogue.fetch, WEB)
    server = far.server()
    server.step()
    assert server._pace.rate == 50 * MIB


def test_in_no_grid_nothing_is_begun(far):
    operator = far.cloud.account("operator", role="operator")
    far.has("london")
    far.cloud.do(operator, catalogue.fetch, WEB)
    server = far.server()
    server.reach = lambda: None
    assert server.begin() == []


def test_of_several_regions_the_nearest_are_asked_and_it_is_said_why(far, monkeypatch):
    operator = far.cloud.account("operator", role="operator")
    for name in ("london", "oslo", "tokyo", "york"):
        far.has(name)
    away = {"london": 0.08, "oslo": 0.011, "tokyo": 0.2, "york": 0.01}

    def looked(_looks, sources, reserved):
        return [Seen(each.name, away[each.name], reserved[each.name]) for each in sources]

    monkeypatch.setattr(Looks, "at", looked)
    with far.cloud.database.write() as tx:
        body = {"total": 100, "reserved": 40}
        zone = Fact(
            kind=FactKind.ZONE, key="z", version=1, body={"cpu_mhz": body, "memory_mib": body}
        )
        grid_facts.put(tx, "york", [zone])
    asked = far.cloud.do(operator, catalogue.fetch, WEB)
    far.server().step()
    state, steps = far.operation(asked.id)
    assert (state, steps[0]) == (
        "done",
        "fetches image web/3 from london or oslo or tokyo or york: 0 of 1 MiB",
    )
    assert steps[1] == (
        "image web/3: of 4 regions that have it, asks oslo (11 ms away, load 0%)"
        " and york (10 ms away, load 40%) and london (80 ms away, load 0%)"
    )
    assert not far.sources["tokyo"].sent
    sent = [number for source in far.sources.values() for number in source.sent]
    assert set(sent) == set(range(16)), "they share the work"
