"""What goes with farms' parts, on both databases: which parts a blueprint goes with, and which that came are of no use."""

import msgspec

from arable.domain.farm_part import FarmPart
from arable.domain.ids import BlueprintId, FarmId
from arable.services import blueprints as blueprints_
from arable.services import farms
from arable.store import blueprints, farm_regions
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmIn


def test_parts_are_found_by_their_blueprints_and_what_came_goes_when_it_is_of_no_use(cloud):
    ann = cloud.account("ann")
    farm = FarmId(cloud.do(ann, farms.create, msgspec.convert({"name": "f"}, FarmIn)).farm.id)
    ask = msgspec.convert({"name": "web", "image": "tiny", "offering": "small"}, BlueprintIn)
    own = BlueprintId(cloud.do(ann, blueprints_.create, ask).id)
    now = cloud.around.clock.now()
    part = FarmPart(
        farm=farm,
        region="eu",
        account=ann.account,
        version=1,
        spec={"blueprints": [{"id": own}]},
        due_at=now,
    )
    with cloud.database.write() as tx:
        farm_regions.put(tx, part)
        found = farm_regions.made_of(tx, own, ann.account)
        assert [(each.farm, each.region) for each in found] == [(farm, "eu")]
        assert farm_regions.made_of(tx, own, None) == found
        assert farm_regions.made_of(tx, BlueprintId("blueprint-other"), None) == []
        assert blueprints.came(tx, ann.account, "eu", "blueprint-there") is None
        kept = blueprints.get(tx, ann.scope, own).changed(home="eu", home_id="blueprint-there")
        blueprints.save(tx, kept)
        assert blueprints.came(tx, ann.account, "eu", "blueprint-there") == kept
    with cloud.database.write() as tx:
        assert blueprints.sweep(tx, ann.account) == [kept]
        assert blueprints.sweep(tx, ann.account) == []
