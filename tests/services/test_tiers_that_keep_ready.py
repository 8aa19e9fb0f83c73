"""How many elements of a tier are kept ready is said by its document, and by itself; orders and limits count them."""

from make_farm import SHOP, change, farm_in, prepare

from arable.domain.ids import FarmId
from arable.services import farms, tiers
from arable.wire.tiers import TierChange


def test_a_tier_says_how_many_are_kept_ready_and_its_document_says_the_same(cloud):
    ann = prepare(cloud)
    made = cloud.do(ann, farms.create, farm_in()).farm
    web = made.tiers[0].id
    ready = cloud.do(ann, tiers.update, web, TierChange(standby=1)).tier
    assert (ready.count, ready.standby, ready.ready) == (2, 1, 0)
    assert cloud.do(ann, farms.get, FarmId(made.id)).spec["tiers"][0]["standby"] == 1
    assert cloud.do(ann, tiers.update, web, TierChange(count=3)).tier.standby == 1
    steps = cloud.do(ann, farms.update, FarmId(made.id), change(tiers=SHOP["tiers"])).steps
    assert [step.about for step in steps if step.sign == "~"] == ["standby 1 -> 0"]


def test_a_tier_that_nobody_calls_keeps_none_ready(cloud):
    ann = prepare(cloud)
    uncalled = {**SHOP["tiers"][0], "standby": 1}
    farm = farm_in(tiers=[uncalled], passages=[], ways_in=[])
    refused = cloud.refused(ann, farms.create, farm)
    assert (refused.field, "way in" in refused.public) == ("tiers.0.standby", True)
    made = cloud.do(ann, farms.create, farm_in(tiers=[SHOP["tiers"][0]], passages=[], ways_in=[]))
    id_ = made.farm.tiers[0].id
    assert cloud.refused(ann, tiers.update, id_, TierChange(standby=1)).field == "tiers.0.standby"
