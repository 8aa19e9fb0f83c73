"""Volumes that many machines read: how they come to be so, who has them, and what can't be done to them meanwhile."""

from datetime import timedelta

import msgspec
import pytest
from make_cloud import Cloud
from make_shop import Shop
from test_landing import attend, report, seen
from test_machines_on_shared_disks import item
from test_volumes import attach, detach, disks, make, of, refused, state, two

from arable.domain.errors import BadInput, CloudError, Conflict, LimitExceeded
from arable.domain.ids import HostId, SnapshotId, VolumeId
from arable.domain.manifest import GuestWish, HostReport
from arable.services import attachments, limiting, power, resizing, snapshots, volumes
from arable.wire.machines import DestroyIn, StopIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import (
    AttachVolumeIn,
    DetachVolumeIn,
    LimitVolumeIn,
    ResizeVolumeIn,
    VolumeChange,
    VolumeQuery,
)

__all__ = ["two"]


def share(cloud: Cloud, me, volume: str, how: str = "read-only"):
    return cloud.do(me, volumes.update, volume, VolumeChange(share=how))


def filled(cloud: Cloud, me, machine: str) -> VolumeId:
    """A volume that a machine has written to."""
    volume = make(cloud, me, "site")
    attach(cloud, me, volume, machine)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    detach(cloud, me, volume)
    attend(cloud)
    report(cloud, seen(cloud, machine))
    assert of(cloud, me, volume).state == "available"
    return volume


def views(cloud: Cloud, me, volume: str) -> dict[str, str]:
    """By machine."""
    found = cloud.do(me, volumes.page, VolumeQuery(view_of=volume)).items
    return {each.machine: each.id for each in found}


def told(cloud: Cloud) -> str:
    ((text,),) = cloud.rows("select told from tier")
    return text


def no(cloud: Cloud, me, use_case, *asked) -> CloudError:
    error = cloud.refused(me, use_case, *asked)
    assert isinstance(error, Conflict), error
    return error


@pytest.fixture
def read(two, cloud):
    """A volume that a machine which runs reads, and one that is off."""
    me, here, _ = two
    volume = filled(cloud, me, here)
    share(cloud, me, volume)
    ((host,),) = cloud.rows("select host from machine where id = :id", id=here)
    off = cloud.deploy(me, name="off", start=False).machines[0].id
    asked = [attach(cloud, me, volume, machine) for machine in (here, off)]
    assert [each.state for each in asked] == ["running", "done"]
    attend(cloud)
    report(cloud, seen(cloud, here))
    assert state(cloud, me, asked[0]) == "done"
    return me, volume, here, off, host


def test_each_machine_has_a_view_and_is_told_so(read, cloud):
    me, volume, here, off, _ = read
    found = views(cloud, me, volume)
    assert found.keys() == {here, off}
    assert disks(cloud, here)[1:] == [found[here]]
    told = msgspec.json.decode(item(cloud, "guest", here)[1], type=GuestWish)
    assert (told.disks[1].view_of, told.disks[1].bytes) == (volume, 0)
    whole, part = of(cloud, me, volume), of(cloud, me, found[here])
    assert (whole.share, whole.state, whole.view_of) == ("read-only", "available", None)
    assert (part.view_of, part.state, part.mib, part.stays) == (volume, "attached", 0, False)
    assert part.storage_zone == whole.storage_zone
    assert attach(cloud, me, volume, here).state == "done", "it has it already"
    assert cloud.used(me)["volumes"] == 4 + 1 + 2, "root disks, the volume, two views"
    cloud.do(me, power.start, off)
    attend(cloud)
    assert disks(cloud, off)[1:] == [found[off]], "where the volume is"


def test_what_is_read_stays_as_it_is(read, cloud):
    me, volume, here, *_ = read
    (view,) = {id_ for machine, id_ in views(cloud, me, volume).items() if machine == here}
    for change in (VolumeChange(share="none"), VolumeChange(storage_zone=None)):
        assert "2 machines read site" in no(cloud, me, volumes.update, volume, change).public
    assert "2 machines read site" in no(cloud, me, volumes.delete, volume).public
    assert "stays as it is" in no(cloud, me, resizing.resize, volume, ResizeVolumeIn(mib=9999)).public  # fmt: skip
    for use_case, asked in (
        (resizing.resize, ResizeVolumeIn(mib=9999)),
        (limiting.limit, LimitVolumeIn(offering="any")),
        (volumes.update, VolumeChange(name="x")),
    ):
        assert "how a machine reads" in no(cloud, me, use_case, view, asked).public
    assert "how a machine reads" in no(cloud, me, snapshots.create, SnapshotIn(name="s", volume=view)).public  # fmt: skip
    made = cloud.do(me, snapshots.create, SnapshotIn(name="s", volume=volume)).snapshot.id
    cloud.run("update snapshot set state = 'available', operation = null")
    assert "stays as it is" in no(cloud, me, snapshots.restore, SnapshotId(made)).public


def test_machines_let_go_of_it_and_then_one_may_write_to_it_again(read, cloud):
    me, volume, here, off, host = read
    found = views(cloud, me, volume)
    error = cloud.refused(me, attachments.detach, volume, DetachVolumeIn())
    assert (type(error), error.field) == (BadInput, "machine")
    assert cloud.do(me, attachments.detach, volume, DetachVolumeIn(machine=off)).state == "done"
    asked = detach(cloud, me, found[here])
    assert asked.state == "running"
    attend(cloud)
    report(cloud, seen(cloud, here))
    assert state(cloud, me, asked) == "done"
    assert {of(cloud, me, each).state for each in found.values()} == {"erasing"}
    no(cloud, me, volumes.update, volume, VolumeChange(share="none"))
    scrapped = HostReport(host=HostId(host), generation=99, scrapped=tuple(found.values()))
    report(cloud, scrapped)
    assert views(cloud, me, volume) == {}
    share(cloud, me, volume, "none")
    assert attach(cloud, me, volume, here).state == "running"
    assert cloud.used(me)["volumes"] == 4 + 1


def test_a_machine_that_goes_takes_its_view_along_and_nothing_else(read, cloud):
    me, volume, here, off, host = read
    found = views(cloud, me, volume)
    cloud.do(me, power.destroy, off, DestroyIn(expunge=True))
    attend(cloud)
    assert item(cloud, "scrap", found[off])[1], "what was made for it"
    report(cloud, HostReport(host=HostId(host), generation=99, scrapped=(found[off],)))
    assert views(cloud, me, volume).keys() == {here}
    assert of(cloud, me, volume).state == "available"
    cloud.do(me, power.stop, here, StopIn())
    assert of(cloud, me, found[here]).state == "attached"


def test_a_view_that_was_lost_with_its_host_goes_at_once(read, cloud):
    me, volume, here, off, _ = read
    before = cloud.used(me)["volumes"]
    cloud.run("update volume set pool = null where view_of is not null and machine = :id", id=off)
    assert cloud.do(me, attachments.detach, volume, DetachVolumeIn(machine=off)).state == "done"
    assert views(cloud, me, volume).keys() == {here}
    assert cloud.used(me)["volumes"] == before - 1


def test_only_what_something_is_on_and_nobody_has_is_shared(two, cloud):
    me, here, _ = two
    fresh = make(cloud, me, "fresh")
    assert "nothing is on fresh yet" in no(cloud, me, volumes.update, fresh, VolumeChange(share="read-only")).public  # fmt: skip
    attach(cloud, me, fresh, here)
    assert "detach it first" in no(cloud, me, volumes.update, fresh, VolumeChange(share="read-only")).public  # fmt: skip


def test_views_count_as_volumes_of_the_limit(read, cloud):
    me, volume, *_ = read
    third = cloud.deploy(me, name="third", start=False).machines[0].id
    cloud.run("update quota set max_volumes = used_volumes")
    error = cloud.refused(me, attachments.attach, volume, AttachVolumeIn(machine=third))
    assert isinstance(error, LimitExceeded)
    before = cloud.used(me)
    refused(cloud, me, volume, "machine-0000000000000000000z")
    assert cloud.used(me) == before


def again(shop: Shop) -> None:
    shop.cloud.around.clock.wait(timedelta(minutes=5))
    shop.round()


def test_every_element_of_a_blueprint_reads_the_volumes_that_it_names(lone_cloud):
    cloud = lone_cloud
    shop = Shop(cloud, blueprint={"reads": ["site"]})
    shop.round()
    assert "there is no volume named site" in told(cloud)
    volume = make(cloud, shop.ann, "site")
    again(shop)
    assert "site, which its blueprint reads, is not shared read-only" in told(cloud)
    cloud.run("update volume set pool = 'pool-a', read_only = true where name = 'site'")
    again(shop)
    found = views(cloud, shop.ann, volume)
    assert len(found) == 2
    assert of(cloud, shop.ann, volume).storage_zone == shop.farm
    ((machines,),) = cloud.rows("select count(*) from machine where farm = :id", id=shop.farm)
    assert machines == 2


def test_a_blueprint_reads_no_more_than_a_machine_has_places_for(lone_cloud):
    disks = [{"name": f"d{at}", "offering": "any", "mib": 1} for at in range(5)]
    with pytest.raises(BadInput, match="7 disks at most"):
        Shop(lone_cloud, blueprint={"disks": disks, "reads": ["a", "b"]})
