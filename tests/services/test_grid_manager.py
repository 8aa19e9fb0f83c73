"""Regions and the grid manager on virtual time: what one says all hear, whatever the wires do to it."""

from datetime import timedelta

import msgspec
import pytest
from regions_on_wires import Grid, grid_of, join
from sqlalchemy import update

from arable.controllers import watches
from arable.domain.alert import AlertKind, Severity
from arable.domain.errors import Conflict, Forbidden, Unauthenticated
from arable.domain.region import GRID_ONLY
from arable.runtime.ca import new_request
from arable.runtime.entropy import Entropy
from arable.services import grid_manager
from arable.store import grid, grid_facts, grid_members, incarnations
from arable.store import schema as t


@pytest.fixture
def two(tmp_path):
    with grid_of(tmp_path, "eu", "us") as made:
        yield made


@pytest.fixture
def three(tmp_path):
    with grid_of(tmp_path, "eu", "us", "asia") as made:
        yield made


def converged(made: Grid) -> bool:
    """The grid manager has the truth of each, and each has that of the others."""
    for name, region in made.regions.items():
        if made.manager.facts(name) != region.own():
            return False
        for other in made.regions.values():
            if other is region:
                continue
            with other.cloud.database.read() as tx:
                known = {f.at: f.body for f in grid_facts.of(tx, name)}
            said = {
                at: body
                for at, (body, audience) in region.own().items()
                if at[0] != "image" and audience != GRID_ONLY
            }
            public = {
                (name, b["image"])
                for (k, _), (b, a) in region.own().items()
                if k == "image" and not a
            }
            if known != said or {p for p in other.catalogue() if p[0] == name} != public:
                return False
    return True


def test_what_a_region_has_the_others_know(two):
    two["eu"].image("web")
    two.settle()
    assert converged(two)
    assert two["us"].catalogue() == {("eu", "tiny"), ("eu", "web")}
    with two["us"].cloud.database.read() as tx:
        (found,) = grid.find(tx, "web")
        peers = grid.peers(tx)
        names = [m.name for m in grid_members.every(tx)]
    assert (found.region, found.public) == ("eu", True)
    assert [(p.name, p.url, str(p.state)) for p in peers] == [
        ("eu", "https://10.0.0.1:2", "reached")
    ]
    assert names == ["eu", "us"]


def test_what_is_gone_is_forgotten_with_its_parts(two):
    two["eu"].image("web")
    two.settle()
    before = two["us"].holdings()
    two["eu"].drop_image("web")
    two.settle()
    assert two["us"].catalogue() == {("eu", "tiny")}
    assert two["us"].holdings() == before - 1
    assert converged(two)


def test_a_new_version_is_told_at_once_and_alone(two):
    two.settle()
    two["eu"].image("web")
    two["eu"].sync.step()
    two["us"].sync.step()
    assert ("eu", "web") in two["us"].catalogue()


def test_nothing_private_is_told_to_whom_it_is_no_business(three):
    for name in ("eu", "us", "asia"):
        three[name].cloud.account("acme")
    three["eu"].image("secret", public=False, account="account-acme")
    three.settle()
    said = [at for at in three.manager.facts("eu") if at[0] == "image" and "secret" in at[1]]
    assert not said, "not even the grid manager is told"
    three["eu"].federate("account-acme", "us")
    three["us"].federate("account-acme", "eu")
    three.settle()
    three.settle()
    assert ("eu", "secret") in three["us"].catalogue()
    assert ("eu", "secret") not in three["asia"].catalogue()
    with three["us"].cloud.database.read() as tx:
        assert grid.find(tx, "secret", account="root/other/other") == []
        assert len(grid.find(tx, "secret", account="root/acme/acme")) == 1
    three["us"].federate("account-acme")
    three.settle()
    three.settle()
    assert ("eu", "secret") not in three["us"].catalogue(), "and it is taken back"


def test_a_partition_of_ten_minutes_stops_nobody_and_ends_well(three):
    three.settle()
    three["us"].line.cut = True
    for minute in range(10):
        three["us"].image(f"us{minute}")
        three["eu"].image(f"eu{minute}")
        three.turn(60)
    assert "cut" in three["us"].link().told
    with three["eu"].cloud.database.read() as tx:
        assert {p.name: str(p.state) for p in grid.peers(tx)}["us"] == "silent"
    assert ("us", "tiny") in three["eu"].catalogue(), "what was known stays known"
    three["us"].line.cut = False
    three.settle()
    assert converged(three)
    assert three["us"].link().told == ""


@pytest.mark.parametrize("seed", range(2))
def test_lost_doubled_and_late_messages_do_no_harm(three, seed):
    dice = Entropy(str(seed)).random
    fates = ("", "", "ask", "answer", "double", "late")
    for region in three.regions.values():
        region.line.lose = lambda: dice.choice(fates)
    made: dict[str, list[str]] = {name: [] for name in three.regions}
    for turn in range(10):
        name = dice.choice(sorted(made))
        if made[name] and dice.random() < 0.4:
            three[name].drop_image(made[name].pop())
        else:
            made[name].append(f"{name}{turn}")
            three[name].image(made[name][-1])
        three.turn(dice.choice((5, 20, 700)))
        if dice.random() < 0.3:
            three[dice.choice(sorted(made))].line.late()
    for region in three.regions.values():
        region.line.lose = lambda: ""
    three.settle()
    for region in three.regions.values():
        region.line.late()
    three.settle()
    assert converged(three)


def test_a_grid_manager_without_its_store_is_told_all_again(two):
    two["eu"].image("web")
    two.settle()
    with two.manager.database.write() as tx:
        for name in two.regions:
            grid_facts.forget(tx, name)
            member = grid_members.by_name(tx, name)
            grid_members.save(tx, grid_manager.replace(member, seen=0, floor=0))
        incarnations.draw(tx, "another", two.clock.now())
    two.settle()
    two.settle()
    assert converged(two)


def test_a_region_whose_store_was_set_back_is_believed(two):
    two.settle()
    copy = two["eu"].own()
    link = two["eu"].link()
    two["eu"].image("web")
    two.settle()
    two["eu"].drop_image("web")
    with two["eu"].cloud.database.write() as tx:
        grid_facts.forget(tx, "eu")
        grid_members.change_link(tx, acked=link.acked, snapshot_at=link.snapshot_at)
    two.settle()
    two.settle()
    later = {at for at in copy if at[0] == "bill"}  # what takes long to reckon comes minutes later
    assert copy.keys() - later == two["eu"].own().keys()
    assert converged(two)


def test_who_was_away_for_longer_than_what_is_gone_is_kept_hears_all(two):
    two["eu"].image("web")
    two.settle()
    two["us"].line.cut = True
    two["eu"].drop_image("web")
    two.settle()
    two.clock.wait(grid_manager.GONE_KEPT + timedelta(hours=1))
    two.settle()
    assert two.manager.do(lambda tx, _: grid_facts.counted(tx))[1] > 0, "it was forgotten"
    two["us"].line.cut = False
    two.settle()
    assert converged(two)


def test_certificates_are_renewed_in_time(two):
    two.settle()
    before = two["eu"].link()
    two.clock.wait(timedelta(days=16))
    two.settle()
    after = two["eu"].link()
    assert after.certificate != before.certificate
    assert after.key_sealed != before.key_sealed


# --- joining and leaving


def remove(made, name):
    def gone(tx, around):
        found = grid_members.by_name(tx, name, lock=True)
        grid_manager.remove(tx, found, around.clock.now())

    made.manager.do(gone)


def test_a_token_works_once_and_repeats_its_answer_to_whom_it_gave_it(two):
    token, request = two.manager.token(), new_request("asia").request
    first = two.manager.join("asia", token, request)
    assert two.manager.join("asia", token, request).id == first.id
    with pytest.raises(Unauthenticated):
        two.manager.join("asia", token)
    with pytest.raises(Unauthenticated):
        two.manager.join("africa", token)


def test_a_token_counts_for_its_time_and_its_region(two):
    with pytest.raises(Forbidden):
        two.manager.join("asia", two.manager.token("africa"))
    late = two.manager.token()
    two.clock.wait(timedelta(hours=4))
    with pytest.raises(Unauthenticated):
        two.manager.join("asia", late)


def test_nobody_takes_a_regions_place_by_any_token(two):
    with pytest.raises(Conflict, match="made for it by name"):
        two.manager.join("eu")
    assert two.manager.join("eu", two.manager.token("eu")).region == "eu"
    two["eu"].sync.step()
    assert "not in the grid any more" in two["eu"].link().told, (
        "the old certificate is worth nothing"
    )


def test_a_region_that_comes_back_at_once_is_known_as_it_is_now(two):
    two["eu"].image("web")
    two.settle()
    remove(two, "eu")
    two["eu"].drop_image("web")
    with two["eu"].cloud.database.write() as tx:
        grid_members.remove_link(tx)
    join(two, two["eu"])
    two.settle()
    two.settle()
    assert two["us"].catalogue() == {("eu", "tiny")}
    assert converged(two)


def test_a_removed_region_is_forgotten_and_may_come_back(two):
    two.settle()
    remove(two, "eu")
    two.settle()
    assert two["us"].catalogue() == set()
    with two["us"].cloud.database.read() as tx:
        assert [str(p.state) for p in grid.peers(tx)] == ["gone"]
    assert "not in the grid any more" in two["eu"].link().told
    with two["eu"].cloud.database.write() as tx:
        grid_members.remove_link(tx)
    join(two, two["eu"])
    two.settle()
    two.settle()
    assert converged(two)


# --- what can't be read


def test_one_fact_that_nobody_can_read_holds_up_nothing_else_and_is_told(two):
    """It is put aside; what was known of the same thing stays; all others go on, and it is over when it is mended."""
    two.settle()
    before = two.manager.facts("eu")
    zone = next(at for at in before if at[0] == "zone")
    two["eu"].image("web")

    def break_it(ask):
        spoilt = tuple(
            msgspec.structs.replace(doc, body={"name": 7}) if (doc.kind, doc.key) == zone else doc
            for doc in ask.facts
        )
        return msgspec.structs.replace(ask, facts=spoilt)

    two["eu"].line.change = break_it
    two["eu"].run(update(t.zone).values(enabled=False))
    two.settle()
    assert ("eu", "web") in two["us"].catalogue()
    assert two.manager.facts("eu")[zone] == before[zone], "the last one that could be read"
    (told,) = two["eu"].link().refused
    assert told.startswith(f"zone {zone[1]}: ")
    kinds = {finding.kind for finding in unheard(two["eu"].cloud, two.clock.now())}
    assert kinds == {AlertKind.GRID_FACTS_REFUSED}
    two.clock.wait(timedelta(minutes=11))
    two.settle()  # all of it was told anew, and is told of once
    assert two.manager.facts("eu")[zone] == before[zone]
    with two.manager.database.read() as tx:
        query = "select count(*) from event where kind = 'region.fact-refused'"
        assert tx.exec_driver_sql(query).scalar() == 1
        assert list(grid_facts.aside(tx, "eu")) == [zone]
    two["eu"].line.change = lambda ask: ask
    two.clock.wait(timedelta(minutes=11))
    two.settle()
    assert converged(two)
    assert two["eu"].link().refused == ()
    with two.manager.database.read() as tx:
        assert grid_facts.aside(tx, "eu") == {}


def test_what_a_region_can_not_read_of_others_holds_up_nothing_else(two, caplog):
    two["eu"].image("web")
    two["eu"].image("odd")
    two.settle()
    with two.manager.database.write() as tx:
        tx.exec_driver_sql(
            "update grid_fact set body = '{\"account\": 7}', seq = 1000 where key like '%odd%'"
        )
        tx.exec_driver_sql("update grid_counter set seq = 1000")
    two["eu"].image("more")
    two.settle()
    assert {("eu", "web"), ("eu", "more")} <= two["us"].catalogue()
    assert "eu's image" in two["us"].link().refused[0]
    assert "can't be read" in caplog.text


def test_a_grid_manager_that_is_not_heard_is_an_alert_in_each_region(two):
    two.settle()
    cloud = two["eu"].cloud
    assert unheard(cloud, two.clock.now()) == []
    two["eu"].line.cut = True
    two.clock.wait(timedelta(seconds=301))
    two["eu"].sync.step()
    (found,) = unheard(cloud, two.clock.now())
    assert (found.kind, found.severity) == (AlertKind.GRID_UNHEARD, Severity.WARNING)
    assert found.text.endswith(": cut")
    two.clock.wait(timedelta(days=1))
    (found,) = unheard(cloud, two.clock.now())
    assert found.severity is Severity.CRITICAL


def unheard(cloud, at):
    with cloud.database.read() as tx:
        return list(watches.unheard_grid(tx, at))
