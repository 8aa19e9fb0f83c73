"""Rollouts as rows: they begin by a document or by what was published, go on, end, and turn back by themselves."""

from datetime import timedelta

import msgspec
import pytest
from make_cloud import DISK
from make_farm import change
from make_shop import BLUEPRINT, SHOP, Shop

from arable.controllers import farm_documents, watches
from arable.domain.access import EVERYTHING
from arable.domain.alert import AlertKind
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.ids import BlueprintId, ImageId, RolloutId, TierId
from arable.services import blueprints, farms, images, releases, rollouts, tiers
from arable.store import images as image_rows
from arable.wire.blueprints import BlueprintVersionIn
from arable.wire.images import VersionQuery
from arable.wire.rollouts import ReleaseQuery, RolloutQuery
from arable.wire.tiers import TierChange

MADE = "select number, state, blueprint_number, image_version from element order by number"


class Rolled(Shop):
    """A farm of two elements that serve, of the first version of an image."""

    def __init__(self, cloud, **tier) -> None:
        super().__init__(cloud, tier)
        self.said = {**SHOP["tiers"][0], **tier}
        cloud.run("update image set newest = 1")
        self.turn(2)
        assert set(self.states()) == {"serving"}

    def document(self) -> None:
        with self.cloud.database.write() as tx:
            farm_documents.attend(self.hands, tx, self.cloud.around.clock.now(), [self.farm])

    def publish(self) -> None:
        """Another version of the image."""
        with self.cloud.database.write() as tx:
            image = image_rows.own(tx, EVERYTHING, ImageId("image-tiny"), lock=True)
            images.new_version(tx, self.cloud.around, image, [DISK])

    def blueprint(self, **said) -> None:
        """Another version of the blueprint."""
        ((id_,),) = self.cloud.rows("select id from blueprint")
        ask = {name: value for name, value in BLUEPRINT.items() if name != "name"}
        ask = msgspec.convert(ask | said, BlueprintVersionIn)
        self.cloud.do(self.ann, blueprints.create_version, BlueprintId(id_), ask)

    def say(self, **tier):
        """The document says something else of the tier."""
        self.said |= tier
        return self.cloud.do(self.ann, farms.update, self.farm, change(tiers=[self.said]))

    def renews(self, version: int = 2, **tier):
        self.publish()
        return self.say(image_version=version, **tier)

    def turn(self, times: int = 1, seconds: float = 15, **told) -> None:
        """Everybody does their part, and some time goes by."""
        for _ in range(times):
            self.round()
            self.run_all()
            self.says(**told)
            self.round(2)
            self.cloud.run("update machine set state = 'expunging' where wish = 'gone'")
            self.cloud.around.clock.wait(timedelta(seconds=seconds))

    def ends(self, **told) -> None:
        for _ in range(40):
            self.turn(**told)
            if self.cloud.rows("select 1 from rollout where ended_at is null") == []:
                self.document()
                return
        raise AssertionError(f"it never ends: {self.last()} {self.cloud.rows(MADE)}")

    def last(self):
        return self.cloud.do(self.ann, rollouts.page, RolloutQuery()).items[0]

    def made(self) -> list:
        return [(number, image) for number, _, _, image in self.cloud.rows(MADE)]

    def ended(self, id_: str):
        return self.cloud.rows("select state, steps, error from operation where id = :id", id=id_)[
            0
        ]

    def alerts(self) -> list[str]:
        with self.cloud.database.read() as tx:
            found = list(watches.failed_rollouts(tx, self.cloud.around.clock.now()))
        assert {each.kind for each in found} <= {AlertKind.ROLLOUT_FAILED}
        return [each.text for each in found]


@pytest.fixture
def shop(lone_cloud) -> Rolled:
    """Of one element, which is quicker."""
    return Rolled(lone_cloud, count=1)


def test_a_tiers_elements_are_renewed_one_after_the_other_and_the_change_is_then_done(cloud):
    shop = Rolled(cloud)
    change_ = shop.renews()
    assert [step.about for step in change_.steps if step.what == "tier"] == [
        "image version 1 -> 2, other which images, 2 elements to renew"
    ]
    begun = shop.last()
    assert (begun.state, begun.name, begun.renewed, begun.count) == ("rolling", "shop-web", 0, 2)
    assert (begun.before.image_version, begun.goal.image_version) == (1, 2)
    shop.turn()
    assert shop.made() == [(1, 1), (2, 1), (3, 2)], "one more is made first"
    shop.document()
    assert shop.ended(change_.operation)[0] == "running"
    shop.turn(seconds=0)
    assert shop.states() == ["serving"] * 3, "and serves for some time before an old one goes"
    shop.ends()
    assert shop.made() == [(1, 2), (2, 2)]
    assert shop.states() == ["serving", "serving"]
    assert (shop.last().state, shop.last().renewed) == ("done", 2)
    state, steps, error = shop.ended(change_.operation)
    assert (state, error) == ("done", None)
    assert "web: 1 of 2 elements renewed" in steps
    assert shop.alerts() == []
    kinds = "select kind from event where kind like 'rollout.%' order by number"
    assert cloud.rows(kinds) == [("rollout.begun",), ("rollout.done",)]
    assert shop.wanting() == []


def test_while_new_ones_bake_nobody_looks_before_it_is_time(shop):
    shop.renews()
    shop.turn(2, seconds=0)
    assert shop.states() == ["serving"] * 2
    assert shop.wanting() == []
    shop.cloud.around.clock.wait(timedelta(seconds=30))
    assert shop.wanting() == [shop.farm]


def test_new_elements_that_fail_turn_it_back_by_itself_and_whoever_asked_is_told(cloud):
    shop = Rolled(cloud)
    change_ = shop.renews()
    shop.turn()
    cloud.run("update machine set state = 'error' where name = 'shop-web-3'")
    shop.round(2)
    last = shop.last()
    assert (last.state, last.failures) == ("back", 1)
    told = "1 of its new elements failed, 0 may: web-3: its machine could not be started"
    assert last.told == told
    assert shop.alerts() == [f"a rollout of shop-web was turned back: {told}"]
    assert cloud.rows("select image_version from tier") == [(1,)]
    shop.ends()
    assert shop.made() == [(1, 1), (2, 1)]
    assert (shop.last().state, shop.last().told) == ("failed", told)
    state, _, error = shop.ended(change_.operation)
    assert state == "failed"
    assert told in str(error)
    assert cloud.rows("select 1 from event where kind = 'farm.ready'") == []
    assert shop.alerts(), "until somebody tries again, or for a day"
    shop.say(image_version=2)  # which the document still says
    assert shop.last().state == "rolling"
    assert shop.alerts() == []


def test_by_hand_it_rests_goes_on_and_turns_back(shop):
    cloud, ann = shop.cloud, shop.ann
    change_ = shop.renews()
    shop.turn(2, seconds=20)
    shop.round()
    assert shop.states() == ["draining", "serving"]
    id_ = RolloutId(shop.last().id)
    paused = cloud.do(ann, rollouts.pause, id_)
    assert (paused.state, paused.told) == ("paused", "paused by hand")
    shop.turn(2, seconds=20)
    assert shop.states() == ["serving", "serving"], "taken back"
    assert shop.made() == [(1, 1), (2, 2)]
    assert shop.wanting() == []
    assert "can't pause while paused" in cloud.refused(ann, rollouts.pause, id_).public
    assert cloud.do(ann, rollouts.resume, id_).state == "rolling"
    assert shop.wanting() == [shop.farm]
    made = cloud.do(ann, rollouts.back, id_)
    assert (made.rollout.state, made.rollout.told) == ("back", "turned back by hand")
    state, _, error = shop.ended(change_.operation)
    assert (state, "turned back by hand" in str(error)) == ("running", True)
    shop.ends()
    assert shop.made() == [(1, 1)]
    assert shop.last().state == "failed"
    assert shop.ended(made.operation)[0] == "done"
    assert shop.ended(change_.operation)[0] == "failed"
    assert shop.alerts() == [], "somebody wanted it so"
    assert "can't turn back while failed" in cloud.refused(ann, rollouts.back, id_).public


def test_a_newer_goal_takes_the_place_of_one_that_rolls(shop):
    first = shop.renews()
    shop.turn(2)
    shop.renews(3)
    newer, older = shop.cloud.do(shop.ann, rollouts.page, RolloutQuery()).items
    assert (older.state, older.told) == ("failed", "another release was asked for")
    assert (newer.before.image_version, newer.goal.image_version) == (1, 3)
    assert shop.ended(first.operation)[0] == "failed"
    shop.ends()
    assert shop.made() == [(1, 3)]


def test_the_release_before_asked_for_again_turns_it_back_as_asked(shop):
    shop.renews()
    shop.turn(2)
    asked = shop.say(image_version=1)
    assert (shop.last().state, shop.last().told) == (
        "back",
        "its document says the release before again",
    )
    shop.ends()
    assert shop.made() == [(1, 1)]
    assert shop.ended(asked.operation)[0] == "done"
    assert shop.alerts() == []


def test_who_waits_for_what_was_rolled_out_by_itself_is_told_that_it_is_turned_back(shop):
    shop.say(image_version="newest", automatic=True)
    shop.publish()
    shop.turn(2)
    begun = shop.last().operation
    assert shop.ended(begun)[0] == "running"
    shop.say(image_version=1, automatic=False)
    assert shop.ended(begun)[0] == "failed"
    shop.ends()
    assert shop.made() == [(1, 1)]


def test_while_it_comes_back_the_same_document_changes_nothing(shop):
    shop.renews()
    shop.turn(2)
    shop.cloud.do(shop.ann, rollouts.back, RolloutId(shop.last().id))
    again = shop.say(most=5)
    assert shop.last().state == "back"
    assert shop.cloud.rows("select image_version, most from tier") == [(1, 5)]
    shop.ends()
    assert shop.ended(again.operation)[0] == "done"


def test_another_change_of_the_farm_waits_for_the_rollout_too(shop):
    first = shop.renews()
    ((tier,),) = shop.cloud.rows("select id from tier")
    grown = shop.cloud.do(shop.ann, tiers.update, TierId(tier), TierChange(count=2))
    assert shop.ended(first.operation)[0] == "failed"
    assert shop.last().operation == grown.operation
    shop.ends()
    assert shop.made() == [(1, 2), (2, 2)]
    assert shop.ended(grown.operation)[0] == "done"


def test_where_none_may_be_missing_and_none_be_more_it_says_so(lone_cloud):
    shop = Rolled(lone_cloud, count=1, least=1)
    shop.blueprint(update={"surge": 0, "unavailable": 1})
    shop.say(version=2)
    shop.turn()
    assert shop.last().told == "none may be missing: at least 1 have to serve"
    assert shop.states() == ["serving"]
    shop.say(least=0)
    shop.ends()
    assert [row[2] for row in lone_cloud.rows(MADE)] == [2]


def test_a_canary_is_watched_before_the_rest_and_said_so(lone_cloud):
    shop = Rolled(lone_cloud, count=2)
    shop.blueprint(update={"canary": "50%", "canary_seconds": 300})
    begun = shop.say(version=2)
    for _ in range(10):
        shop.turn()
        if "canary" in shop.last().told:
            break
    seen = shop.last()
    assert (seen.canary, seen.canary_seconds) == (1, 300)
    assert seen.told == "its canary, 1 of 2, is watched for 300 s"
    shop.turn(5)  # far longer than others bake
    assert [row[2] for row in lone_cloud.rows(MADE)].count(2) == 1
    shop.turn(20)
    shop.ends()
    assert [row[2] for row in lone_cloud.rows(MADE)] == [2, 2]
    assert shop.ended(begun.operation)[0] == "done"


def test_a_number_is_a_canary_too_and_nonsense_is_refused(lone_cloud):
    shop = Rolled(lone_cloud, count=2)
    shop.blueprint(update={"canary": 1})
    for bad in ("x", "0%", "101%", -1):
        with pytest.raises(msgspec.ValidationError):
            shop.blueprint(update={"canary": bad})


# --- what is published


def test_what_a_tier_follows_is_rolled_out_when_it_is_published(cloud):
    shop = Rolled(cloud, count=1, image_version="newest", automatic=True)
    assert shop.wanting() == []
    shop.publish()
    assert shop.wanting() == [shop.farm]
    shop.ends()
    assert shop.made() == [(1, 2)]
    done = "select state, target from operation where kind = 'tier.rollout'"
    assert cloud.rows(done) == [("done", shop.last().tier)]
    shop.blueprint(user_data="#!/bin/sh\n")  # which it does not follow
    shop.turn()
    assert len(shop.cloud.do(shop.ann, rollouts.page, RolloutQuery()).items) == 1


def test_a_tier_that_follows_its_blueprint_gets_its_new_versions(shop):
    shop.say(version="newest", automatic=True)
    shop.blueprint(user_data="#!/bin/sh\n", update={"surge": 2})
    shop.turn()
    assert (shop.last().goal.blueprint_version, shop.last().surge) == (2, 2)
    shop.ends()
    assert [row[2] for row in shop.cloud.rows(MADE)] == [2]


def test_a_version_that_failed_is_not_tried_again_by_itself_but_the_next_one_is(shop):
    shop.say(image_version="newest", automatic=True)
    shop.publish()
    shop.turn()
    shop.cloud.run("update machine set state = 'error' where name = 'shop-web-2'")
    shop.round()
    shop.ends()
    assert shop.last().state == "failed"
    shop.cloud.run("update tier set attention = true")
    shop.turn()
    assert shop.last().state == "failed"
    shop.publish()
    shop.ends()
    assert shop.made() == [(1, 3)]


def test_what_its_document_would_be_refused_with_is_told_and_not_tried(shop):
    shop.say(version="newest", automatic=True)
    shop.blueprint(user_data="#!/bin/sh\necho {{tier.other.address}}\n")
    shop.turn()
    assert shop.last().state == "failed"
    assert "which this farm does not have" in shop.last().told
    assert len(shop.alerts()) == 1
    shop.cloud.run("update tier set attention = true")
    shop.turn()
    assert len(shop.cloud.do(shop.ann, rollouts.page, RolloutQuery()).items) == 1


@pytest.mark.parametrize("said", [{}, {"image_version": 1}, {"image_version": "newest"}])
def test_others_are_only_listed_as_behind(shop, said):
    shop.say(**said)
    shop.publish()
    shop.turn()
    assert shop.cloud.do(shop.ann, rollouts.page, RolloutQuery()).items == []
    (row,) = shop.cloud.do(shop.ann, releases.page, ReleaseQuery(behind=True)).items
    assert (row.image_name, row.image_version, row.newest_image_version) == ("tiny", 1, 2)
    assert [(run.image_version, run.elements, run.serving) for run in row.runs] == [(1, 1, 1)]
    assert row.behind
    assert shop.cloud.do(shop.ann, releases.page, ReleaseQuery(behind=False)).items == []


def test_what_follows_nothing_is_not_automatic(shop):
    said = change(tiers=[{**SHOP["tiers"][0], "automatic": True}])
    error = shop.cloud.refused(shop.ann, farms.update, shop.farm, said)
    assert (type(error), error.field) == (BadInput, "tiers.0.automatic")


# --- versions that differ


def test_the_check_of_the_version_before_holds_until_all_are_renewed(shop):
    check = {"kind": "http", "path": "/new"}
    kept = "select health from balancer"
    before = shop.cloud.rows(kept)
    shop.blueprint(check=check)
    shop.say(version=2)
    assert shop.cloud.rows(kept) == before
    shop.turn(3)
    shop.say(most=5)  # which lays it out again
    assert shop.cloud.rows(kept) == before
    shop.ends()
    assert "/new" in str(shop.cloud.rows(kept))
    assert "=" in {step.sign for step in shop.say().steps}


def test_versions_that_answer_at_other_ports_can_not_follow_each_other(shop):
    shop.blueprint(ports=[{"port": 8080}])
    said = change(tiers=[{**SHOP["tiers"][0], "version": 2}])
    error = shop.cloud.refused(shop.ann, farms.update, shop.farm, said)
    assert type(error) is Conflict
    assert "needs another name" in error.public


def test_a_version_that_a_tier_may_go_back_to_can_not_be_deleted(shop):
    shop.renews()
    shop.cloud.run("delete from machine_boot")
    shop.cloud.run("update element set machine = null")
    shop.cloud.run("update machine set image = 'image-other'")
    shop.cloud.run("update volume set source = '[]'")
    operator = shop.cloud.account("olga", role="operator")
    for number in (1, 2):
        which = VersionQuery(number=number)
        error = shop.cloud.refused(operator, images.delete_version, ImageId("image-tiny"), which)
        assert "may go back to it" in error.public


# --- whose they are, and with what they end


def test_a_strangers_rollout_is_not_there(shop):
    shop.renews()
    bob = shop.cloud.account("bob")
    id_ = RolloutId(shop.last().id)
    for use in (rollouts.get, rollouts.pause, rollouts.resume, rollouts.back):
        assert type(shop.cloud.refused(bob, use, id_)) is NotFound
    assert shop.cloud.do(bob, rollouts.page, RolloutQuery()).items == []
    assert shop.cloud.do(bob, releases.page, ReleaseQuery()).items == []
    operator = shop.cloud.account("olga", role="operator")
    assert len(shop.cloud.do(operator, releases.page, ReleaseQuery()).items) == 1


def test_it_ends_with_its_tier(shop):
    shop.renews()
    shop.turn(2)
    shop.cloud.do(shop.ann, farms.update, shop.farm, change(tiers=[], ways_in=[]))
    assert (shop.last().state, shop.last().told) == ("failed", "its tier is leaving")
    shop.turn(6)
    assert shop.cloud.rows("select id from tier") == []
    assert shop.cloud.rows("select id from rollout") == []
