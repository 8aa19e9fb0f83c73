"""Images are brought where policies say, by the regions that are meant, and by no others."""

from datetime import timedelta

import pytest
from make_elsewhere import elsewhere, part_of
from regions_on_wires import grid_of

from arable.controllers import image_policies as controller
from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.region import FactKind
from arable.services import grid_manager, image_policies
from arable.services.image_policies import ImageHands
from arable.store import grid_facts, grid_members, settings
from arable.wire.image_policies import ImagePolicyIn


@pytest.fixture
def three(tmp_path):
    with grid_of(tmp_path, "eu", "us", "asia") as grid:
        yield grid


def bring(grid, name: str) -> list[tuple[str, int]]:
    """The region's round; what it has brought from then on."""
    cloud = grid[name].cloud
    with cloud.database.write() as tx:
        controller.attend(ImageHands(lambda: cloud.around), tx, grid.clock.now())
    query = "select i.name, x.number from transfer x join image i on i.id = x.image order by 1, 2"
    return [tuple(row) for row in cloud.rows(query)]


def label(grid, name: str, *labels: str) -> None:
    with grid.manager.database.write() as tx:
        member = grid_members.by_name(tx, name, lock=True)
        grid_manager.label(tx, member, labels)


def said(grid, image: str = "web", **ask) -> None:
    cloud = grid["eu"].cloud
    operator = cloud.callers.get("operator") or cloud.account("operator", role="operator")
    cloud.do(operator, image_policies.put, f"image-eu{image}", ImagePolicyIn(**ask))
    grid.settle()


def test_regions_are_meant_by_name_or_by_label_and_bring_it_by_themselves(three):
    three["eu"].image("web")
    three["eu"].image("other")
    label(three, "asia", "far", "hot")
    three.settle()
    said(three, labels=("far",))
    assert bring(three, "asia") == [("web", 1)]
    assert bring(three, "us") == []
    said(three, at=("us",))
    assert bring(three, "us") == [("web", 1)]
    shown = three["eu"].cloud.do(
        three["eu"].cloud.callers["operator"], image_policies.get, "image-euweb"
    )
    assert [(p.region, p.here, p.missing) for p in shown.places] == [("us", (), (1,))]


def test_new_versions_follow_or_do_not_as_is_said_and_the_newest_are_enough(three):
    for number in (1, 2, 3):
        three["eu"].image("web", number=number)
    three["eu"].image("still")
    three.settle()
    said(three, at=("us",), versions=2)
    said(three, "still", at=("us",), follow=False)
    assert bring(three, "us") == [("still", 1), ("web", 2), ("web", 3)]
    three["eu"].image("web", number=4)
    three["eu"].image("still", number=2)
    three.settle()
    assert bring(three, "us") == [("still", 1), ("web", 2), ("web", 3), ("web", 4)]
    assert bring(three, "us") == bring(three, "us"), "each once"


def test_what_was_taken_back_is_wanted_no_more_and_a_region_may_ignore_all(three):
    three["eu"].image("web")
    three.settle()
    said(three, at=("us", "asia"))
    with three["asia"].cloud.database.write() as tx:
        settings.put(tx, {"image_policies": "ignore"})
    assert bring(three, "asia") == []
    cloud = three["eu"].cloud
    cloud.do(cloud.callers["operator"], image_policies.delete, "image-euweb")
    three.settle()
    assert bring(three, "us") == []
    with pytest.raises(NotFound):
        cloud.do(cloud.callers["operator"], image_policies.get, "image-euweb")


def test_the_policy_outlives_the_grid_manager_and_its_own_region(three):
    """What was told is known: a region that was cut off brings it when it can, whoever may be away then."""
    three["eu"].image("web")
    three.settle()
    said(three, at=("us",))
    for name in three.regions:
        three[name].line.cut = True
    three.clock.wait(timedelta(hours=1))
    assert bring(three, "us") == [("web", 1)]


def test_a_private_image_follows_only_where_its_account_is_federated_with_that_region(three):
    for name in three.regions:
        three[name].cloud.account("acme")
    eu = three["eu"].cloud
    three["eu"].image("mine", public=False, account="account-acme")
    acme = eu.callers["acme"]
    three.settle()
    ask = ImagePolicyIn(at=("us", "asia"))
    assert isinstance(eu.refused(acme, image_policies.put, "image-eumine", ask), Conflict)
    three["eu"].federate("account-acme", "us", "asia")
    three["us"].federate("account-acme", "eu")
    three["asia"].federate("account-acme", "us")  # with another one alone
    three.settle()
    eu.do(acme, image_policies.put, "image-eumine", ask)
    three.settle()
    three.settle()
    assert bring(three, "us") == [("mine", 1)]
    assert bring(three, "asia") == []
    with three["asia"].cloud.database.read() as tx:
        known = grid_facts.of(tx, "eu", FactKind.POLICY)
    assert len(known) == 1, "it is told, since the account is known there, and does not count"
    other = eu.account("other")
    assert isinstance(eu.refused(other, image_policies.put, "image-eumine", ask), NotFound)


def test_what_can_not_be_is_refused_with_the_field(three):
    eu = three["eu"].cloud
    operator = eu.account("operator", role="operator")
    three["eu"].image("web")
    three.settle()
    for ask, field in ((ImagePolicyIn(), "at"), (ImagePolicyIn(at=("us", "mars")), "at.1")):
        told = eu.refused(operator, image_policies.put, "image-euweb", ask)
        assert (type(told), told.field) == (BadInput, field)


def test_what_could_not_be_brought_is_tried_again_after_a_while(three):
    three["eu"].image("web")
    three.settle()
    said(three, at=("us",))
    assert bring(three, "us") == [("web", 1)]
    us = three["us"].cloud
    us.run("update transfer set state = 'failed'")
    bring(three, "us")
    assert us.rows("select state from transfer") == [("failed",)]
    three.clock.wait(controller.AGAIN)
    bring(three, "us")
    assert us.rows("select state from transfer") == [("wanted",)]


def test_it_is_brought_like_any_other_and_then_counts_as_fetched(lone_cloud, tmp_path):
    with elsewhere(lone_cloud, tmp_path) as far:
        far.has("london")
        lone_cloud.account("operator", role="operator")
        with lone_cloud.database.write() as tx:
            hands = ImageHands(lambda: lone_cloud.around)
            assert hands.bring(tx, "london", "root/shop/shop", "web", 3)
            assert not hands.bring(tx, "london", "root/shop/shop", "web", 9)
        far.server().step()
        query = "select fetched, arriving, pinned from image_version where number = 3"
        assert [tuple(map(bool, row)) for row in lone_cloud.rows(query)] == [(True, False, False)]
        assert far.store.parts() == {part_of(far.sources["london"].content).sha256}
