"""What goes with farms' parts, on both databases: which parts a blueprint goes with, and which that came are of no use."""

from dataclasses import replace

import msgspec
from make_cloud import DISK, add_image

from arable.domain.farm_part import FarmPart
from arable.domain.ids import BlueprintId, FarmId, VolumeId
from arable.domain.volume_copies import CameVolume, SentVolume
from arable.services import blueprints as blueprints_
from arable.services import came_volumes as services
from arable.services import farms
from arable.store import blueprints, came_volumes, farm_regions, images, sent_volumes
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


def test_what_is_on_shared_volumes_is_kept_for_whom_it_is(cloud):
    ann = cloud.account("ann")
    farm = FarmId(cloud.do(ann, farms.create, msgspec.convert({"name": "f"}, FarmIn)).farm.id)
    now, volume = cloud.around.clock.now(), VolumeId("volume-a")
    with cloud.database.write() as tx:
        add_image(tx, cloud, "site", ann.account)
        image = images.named(tx, ann.account, "site")
        assert image
        images.save(tx, image.changed(home="home"))
        says = {"volumes": [{"id": volume, "name": "site", "sha256": DISK.sha256}]}
        part = FarmPart(farm=farm, region="eu", account=ann.account, version=1, spec=says, due_at=now)  # fmt: skip
        farm_regions.put(tx, part)
        for region, may in (("eu", True), ("us", False)):
            assert farm_regions.is_told_of(tx, region, DISK.sha256) is may
        assert not farm_regions.is_told_of(tx, "eu", "0" * 64)
        assert farm_regions.waits_for(tx, ann.account, "site")
        assert [each.farm for each in farm_regions.reading(tx, ann.account, volume)] == [farm]
        sent = SentVolume(volume=volume, account=ann.account, image=image.id, number=1, made=1)
        sent_volumes.put(tx, sent)
        assert (came_volumes.left(tx, 9), came_volumes.empty(tx, 9)) == ([], [])
        sent_volumes.wake(tx, ann.account, now)
        assert [each.volume for each in sent_volumes.due(tx, now, 9)] == [volume]
        sent_volumes.look_again(tx, now)
        assert sent_volumes.get(tx, volume, lock=True) == replace(sent, shares=2, due_at=now)
        sent_volumes.drop(tx, volume)
        came_volumes.put(tx, CameVolume(farm=farm, name="site@home", image=image.id, number=2, before=1))  # fmt: skip
        assert came_volumes.left(tx, 9) == []
        came_volumes.drop(tx, farm, ["other"])
        assert list(came_volumes.of_farm(tx, farm)) == ["site@home"]
        came_volumes.drop(tx, farm)
        farm_regions.put(tx, replace(part, gone=True))
        assert not farm_regions.is_told_of(tx, "eu", DISK.sha256)
    with cloud.database.write() as tx:
        assert came_volumes.left(tx, 9) == [(image.id, 1)]
        assert services.sweep(tx) == 2
        assert images.named(tx, ann.account, "site") is None
