"""Shared volumes that tiers in other regions read: copied at home, brought, read by elements there, renewed and let go."""

import hashlib
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from make_farm import farm_in
from make_spread_farm import BLUEPRINT, FAR, Regions, regions_of
from test_images_of_snapshots import bring
from test_landing import attend, with_hosts
from test_snapshots import say
from test_volumes import make

from arable.domain.errors import BadInput, CloudError, Conflict, LimitExceeded, NotFound
from arable.domain.ids import BlueprintId, FarmId, ImageId, TransferId, VolumeId
from arable.domain.image import KeptPart
from arable.domain.manifest import GuestWish, ImagePart, PartFormat, PartRole
from arable.domain.settings import ACCOUNT_IMAGE_MIB
from arable.domain.units import MIB
from arable.drivers.storage.sim import flat_file
from arable.services import attachments, blueprints, farms, images, volumes
from arable.services.grid_desk import GridDesk
from arable.sim.files import MemoryFiles
from arable.store import came_volumes, sent_volumes, settings, transfers
from arable.store import images as kept_images
from arable.wire.blueprints import BlueprintVersionIn
from arable.wire.images import ImageChange, ImageQuery, VersionQuery
from arable.wire.machines import DeployIn
from arable.wire.volumes import AttachVolumeIn, VolumeChange

READS = {key: value for key, value in BLUEPRINT.items() if key != "name"} | {"reads": ["catalogue"]}
NAME = "catalogue@home"


@pytest.fixture
def two(tmp_path):
    with regions_of(tmp_path, "london") as made:
        for region in ("home", "london"):
            cloud = made[region].cloud
            cloud.around = replace(cloud.around, images=MemoryFiles())
            with_hosts(cloud, "a")
        publish(made)
        yield made


def publish(two: Regions, **but: Any) -> None:
    home = two["home"]
    ((id_,),) = home.cloud.rows("select id from blueprint where name = 'web'")
    ask = msgspec.convert({**READS, **but}, BlueprintVersionIn)
    home.cloud.do(home.ann, blueprints.create_version, BlueprintId(id_), ask)


def catalogue(two: Regions, *, shared: bool = True, name: str = "catalogue") -> VolumeId:
    """A volume that something was written to."""
    home = two["home"]
    made = make(home.cloud, home.ann, name, mib=64)
    home.cloud.run("update volume set pool = 'pool-a' where id = :id", id=made)
    if shared:
        share(two, made)
    return made


def share(two: Regions, volume: VolumeId, how: str = "read-only") -> None:
    home = two["home"]
    home.cloud.do(home.ann, volumes.update, volume, VolumeChange(share=how))


def on(word: str) -> bytes:
    """What is on a volume."""
    return flat_file(64 * MIB, word)


def sha256(word: str) -> str:
    return hashlib.sha256(on(word)).hexdigest()


def wait(two: Regions, turns: int = 1) -> None:
    for _ in range(turns):
        two.turn(4)


def copied(two: Regions, word: str = "one") -> None:
    """Home's host takes what it is asked to take, and brings it."""
    home = two["home"]
    for _ in range(8):
        wait(two)
        for id_, body in home.cloud.rows("select id, body from manifest_item where kind = 'snapshot' and body is not null"):  # fmt: skip
            if msgspec.json.decode(body)["act"] == "bring":
                bring(home.cloud, id_, on(word), said=sha256(word))
        say(home.cloud)


def arrive(two: Regions) -> list[str]:
    """London fetches what it may fetch, as its servers do; what that was."""
    london, home = two["london"].cloud, two["home"].cloud
    found = []
    for (id_,) in london.rows("select id from transfer where state = 'wanted'"):
        with london.database.write() as tx:
            now = london.around.clock.now()
            claimed = transfers.claim(tx, TransferId(id_), "server", now, now)
            assert claimed
            assert claimed.home == "home", "who has it is known without any catalogue"
            (part,) = claimed.version.parts
            may = kept_images.shared_with(tx, part.sha256, "london")
            assert not may
        with pytest.raises(
            CloudError, match="no image store"
        ):  # it is let in, and there are no chunks here
            GridDesk(home.database, home.around).part("london", part.sha256)
        with london.database.write() as tx:
            kept_images.keep_part(tx, KeptPart(account=claimed.account, part=part, created_at=now))
            transfers.arrived(tx, claimed.transfer)
        found.append(part.sha256)
    return found


@dataclass(frozen=True)
class Owner:
    account: Any
    farm: FarmId
    farm_name: str = "shop"


def element(two: Regions, name: str = "e") -> Any:
    """One more element of the part is made."""
    london = two["london"]
    owner = Owner(london.ann.account, FarmId(london.farm().id))
    ask = DeployIn(name=name, offering="small", image="tiny")
    with london.cloud.database.write() as tx:
        return london.hands.deploy_with(tx, owner, ask, [], [NAME])


def reads(two: Regions, machine: str) -> str:
    """The digest of what it reads."""
    rows = two["london"].cloud.rows(
        "select source, mib, read_only, stays from volume where machine = :id and position > 0",
        id=machine,
    )
    ((source, mib, read_only, stays),) = rows
    assert (mib, read_only, stays) == (64, 1, 0)
    return str(msgspec.json.decode(source)["sha256"])


def versions(two: Regions, region: str) -> list[Any]:
    return two[region].cloud.rows(
        "select i.name, v.number, v.arriving from image i join image_version v on v.image = i.id where i.home <> ''"
        " order by v.number"
    )


def told(two: Regions) -> str:
    return two["home"].farm().regions[0].told


def farm(two: Regions, word: str = "one") -> VolumeId:
    """All of it: a farm of which a tier in london reads what is on a volume of home."""
    volume = catalogue(two)
    two.apply(FAR)
    copied(two, word)
    wait(two)
    assert arrive(two) == [sha256(word)]
    two.settle()
    assert two.state() == "ready"
    return volume


def test_what_is_on_a_volume_comes_by_itself_and_elements_read_it(two):
    catalogue(two)
    two.apply(FAR)
    wait(two)
    two.settle(1)
    assert two.state() == "changing"
    assert "a copy of catalogue is being made at home" in told(two)
    with pytest.raises(Conflict, match="on its way"):
        element(two)
    copied(two)
    wait(two)
    assert versions(two, "london") == [(NAME, 1, 1)]
    with pytest.raises(Conflict, match="on its way"):
        element(two)
    assert arrive(two) == [sha256("one")]
    two.settle()
    assert two.state() == "ready"
    made = element(two)
    assert reads(two, made.id) == sha256("one")
    home = two["home"].cloud
    assert home.rows("select count(*) from snapshot") == [(0,)], "none is left of how it was made"
    assert "snapshots" not in home.used(two["home"].ann)
    assert home.rows("select made, due_at from sent_volume") == [(1, None)]


def test_the_guest_cannot_write_and_other_disks_are_as_they_were(two):
    farm(two)
    made = element(two)
    cloud = two["london"].cloud
    cloud.run("update network set appliance_state = 'running', appliance_host = 'host-a'")
    cloud.run("update machine set attention = true")
    attend(cloud)
    query = "select body from manifest_item where kind = 'guest' and id = :id"
    ((body,),) = cloud.rows(query, id=made.id)
    disks = msgspec.json.decode(body, type=GuestWish).disks
    assert [disk.read_only for disk in disks] == [False, True]
    assert disks[1].source
    assert disks[1].source.sha256 == sha256("one")


def test_one_copy_is_there_for_all_farms(two):
    farm(two)
    home = two["home"]
    lists = {"networks": [], "tiers": [], "passages": [], "ways_in": []}
    networks = [{"name": "front", "cidr": "10.77.0.0/24"}, {"name": "edge", "cidr": "10.78.0.0/24"}]
    said = lists | FAR | {"name": "other", "networks": networks}
    home.cloud.do(home.ann, farms.create, farm_in(**said))
    wait(two, 2)
    london = two["london"].cloud
    assert london.rows("select count(*) from came_volume") == [(2,)]
    assert versions(two, "london") == [(NAME, 1, 0)]
    assert versions(two, "home") == [(NAME, 1, 0)]
    assert london.rows("select count(*) from transfer") == [(0,)]


def test_what_was_shared_anew_is_another_version(two):
    volume = farm(two)
    old = element(two, "old")
    share(two, volume, "none")
    wait(two, 2)
    assert two.state() == "ready", "it reads what it has"
    share(two, volume)
    copied(two, "two")
    wait(two)
    assert versions(two, "london") == [(NAME, 1, 0), (NAME, 2, 1)]
    two.settle(1)
    assert two.state() == "changing"
    assert reads(two, element(two, "between").id) == sha256("one"), "whole, though not the newest"
    assert arrive(two) == [sha256("two")]
    two.settle()
    assert two.state() == "ready"
    assert reads(two, element(two, "new").id) == sha256("two")
    assert reads(two, old.id) == sha256("one")


def test_the_same_again_moves_nothing(two):
    volume = farm(two)
    share(two, volume, "none")
    share(two, volume)
    copied(two, "one")
    wait(two)
    assert arrive(two) == []
    assert versions(two, "london") == [(NAME, 1, 0)]


def test_what_is_written_while_it_is_copied_is_not_told(two):
    """It was shared, given back and written to before its host took the snapshot."""
    volume = catalogue(two)
    two.apply(FAR)
    wait(two)
    home = two["home"].cloud
    assert home.rows("select count(*) from snapshot") == [(1,)]
    share(two, volume, "none")
    say(home)  # taken, of who knows what
    wait(two, 2)
    say(home)
    wait(two, 2)
    assert home.rows("select count(*) from snapshot") == [(0,)]
    assert home.rows("select count(*) from image where home <> ''") == [(0,)]
    two.settle(1)
    assert "catalogue is not shared at home just now" in told(two)
    share(two, volume)
    copied(two, "two")
    wait(two)
    assert arrive(two) == [sha256("two")]


def test_it_goes_with_the_last_part_that_reads_it(two):
    volume = farm(two)
    home, london = two["home"], two["london"]
    refused = home.cloud.refused(home.ann, volumes.delete, volume)
    assert isinstance(refused, Conflict)
    assert "shop in london" in refused.public
    home.cloud.do(home.ann, farms.delete, FarmId(home.farm().id))
    two.settle(6)
    assert london.farms() == []
    for place in (home, london):
        for _ in range(2):
            two.turn(61)
            place.sync.step()
        assert place.cloud.rows("select name from image where home <> ''") == []
    assert home.cloud.rows("select * from sent_volume") == []
    assert london.cloud.rows("select * from came_volume") == []
    home.cloud.do(home.ann, volumes.delete, volume)


def test_what_elements_still_lie_over_stays_until_they_are_gone(two):
    farm(two)
    element(two)
    london = two["london"]
    part = FarmId(london.farm().id)
    with london.cloud.database.write() as tx:
        came_volumes.drop(tx, part)
    two.turn(61)
    london.sync.step()
    assert versions(two, "london") == [(NAME, 1, 0)]
    london.cloud.run("delete from volume where read_only")
    two.turn(61)
    london.sync.step()
    assert versions(two, "london") == []


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("none", NotFound, "there is none in the farm's zone: make it, and share it"),
        ("unshared", Conflict, "is not shared read-only"),
        ("zoned", BadInput, "in another storage zone than the farm"),
    ],
)
def test_what_cannot_go_is_refused_at_home(two, how, kind, words):
    if how != "none":
        made = catalogue(two, shared=how == "zoned")
        two["home"].cloud.run("update volume set storage_zone = :z where id = :id", id=made, z="farm-x" if how == "zoned" else None)  # fmt: skip
    with pytest.raises(kind, match=words) as refused:
        two.apply(FAR)
    assert refused.value.field == "tiers.1.blueprint"


def test_what_the_accounts_limit_there_refuses_is_told(two):
    london = two["london"]
    much = ImagePart(role=PartRole.DISK, sha256="a" * 64, bytes=MIB, format=PartFormat.RAW)
    with london.cloud.database.write() as tx:
        settings.put(tx, {ACCOUNT_IMAGE_MIB.name: 1})
        now = london.cloud.around.clock.now()
        kept_images.keep_part(tx, KeptPart(account=london.ann.account, part=much, created_at=now))
    catalogue(two)
    two.apply(FAR)
    copied(two)
    two.settle(2)
    assert two.state() == "refused"
    assert "what is on the volume catalogue of home can't be had here" in told(two)
    assert versions(two, "london") == []


def test_an_element_there_counts_what_it_reads(two):
    farm(two)
    london = two["london"]
    before = london.cloud.used(london.ann)
    element(two)
    after = london.cloud.used(london.ann)
    assert after["volumes"] - before.get("volumes", 0) == 2
    london.cloud.run("update quota set max_storage_mib = used_storage_mib")
    with pytest.raises(LimitExceeded):
        element(two, "more")
    assert london.cloud.used(london.ann) == after


def test_what_limits_refuse_at_home_is_told_and_tried_again(two):
    home = two["home"].cloud
    home.run("update quota set max_snapshots = 0")
    catalogue(two)
    two.apply(FAR)
    wait(two, 2)
    assert "limit" in home.rows("select told from sent_volume")[0][0]
    two.settle(1)
    assert "limit" in told(two)
    home.run("update quota set max_snapshots = -1")
    for _ in range(3):
        two.turn(301)
        copied(two)
    assert arrive(two) == [sha256("one")]


@pytest.mark.parametrize("fate", ["answer", "late"])
def test_calls_are_lost_doubled_and_late(two, fate):
    volume = catalogue(two)
    two.wan.fates = [fate] * 2
    two.apply(FAR)
    copied(two)
    two.settle(4)
    arrive(two)
    share(two, volume, "none")
    two.wan.fates = [fate] * 2
    share(two, volume)
    copied(two, "two")
    two.settle(6)
    two.wan.late()
    arrive(two)
    two.settle()
    assert two.state() == "ready"
    assert reads(two, element(two).id) == sha256("two")


def test_a_cut_delays_it_and_what_was_given_up_is_fetched_once_home_asks(two):
    volume = farm(two)
    share(two, volume, "none")
    share(two, volume)
    two.wan.cut.add("london")
    copied(two, "two")
    assert versions(two, "london") == [(NAME, 1, 0)]
    assert reads(two, element(two).id) == sha256("one")
    two.wan.cut.clear()
    two.turn(61)
    london = two["london"].cloud
    london.run("update transfer set state = 'failed', told = 'nobody has it'")
    two.turn(61)
    assert arrive(two) == [sha256("two")]


def test_home_of_an_older_copy_tells_what_it_has_and_nothing_is_mixed(two):
    """Its store was set back to before the second version: numbers mean nothing, digests do."""
    volume = farm(two)
    home = two["home"].cloud
    rows = home.rows("select image, number, made, shares from sent_volume")
    share(two, volume, "none")
    share(two, volume)
    copied(two, "two")
    wait(two)
    arrive(two)
    image, number, made, shares = rows[0]
    home.run(
        "update sent_volume set number = :n, made = :m, shares = :s", n=number, m=made, s=shares
    )
    home.run("delete from image_version_part where number = 2")
    home.run("delete from image_version where number = 2")
    home.run("update image set newest = 1 where id = :id", id=image)
    share(two, volume, "none")
    share(two, volume)
    copied(two, "three")
    wait(two)
    assert arrive(two) == [sha256("three")]
    assert [number for _, number, _ in versions(two, "home")] == [2]
    assert [number for _, number, _ in versions(two, "london")][-1] == 3
    assert reads(two, element(two).id) == sha256("three")


def test_a_restored_home_copies_anew_what_may_be_another_thing(two):
    farm(two)
    home = two["home"].cloud
    with home.database.write() as tx:
        sent_volumes.look_again(tx, home.around.clock.now())
    copied(two, "newer")
    wait(two)
    assert arrive(two) == [sha256("newer")]


def test_a_disk_of_an_element_is_no_volume_to_share(two):
    farm(two)
    made = element(two)
    london = two["london"]
    ((disk,),) = london.cloud.rows("select id from volume where read_only")
    before = london.cloud.used(london.ann)
    london.cloud.do(london.ann, attachments.attach, VolumeId(disk), AttachVolumeIn(machine=made.id))
    assert london.cloud.used(london.ann) == before
    refused = london.cloud.refused(london.ann, volumes.update, VolumeId(disk), VolumeChange(share="none"))  # fmt: skip
    assert isinstance(refused, Conflict)


def test_that_region_of_an_older_copy_is_told_anew(two):
    farm(two)
    london = two["london"].cloud
    london.run("delete from came_volume")
    london.run("update farm_partner set version = 1")
    two.settle()
    assert reads(two, element(two).id) == sha256("one")


def test_nobody_else_has_it_and_nobody_changes_it_by_hand(two):
    farm(two)
    home = two["home"]
    desk = GridDesk(home.cloud.database, home.cloud.around)
    for region in ("paris", "home"):
        with pytest.raises(NotFound):
            desk.part(region, sha256("one"))
    for region in ("home", "london"):
        place = two[region]
        (shown,) = [
            each for each in place.cloud.do(place.ann, images.page, ImageQuery()).items if each.home
        ]
        assert (shown.name, shown.home) == (NAME, "home")
        for use_case, ask in (
            (images.update, ImageChange(name="mine")),
            (images.delete_version, VersionQuery(number=1)),
        ):
            refused = place.cloud.refused(place.ann, use_case, ImageId(shown.id), ask)
            assert "on a shared volume of home" in refused.public
    you = home.cloud.account("you")
    assert NAME not in str(home.cloud.do(you, images.page, ImageQuery()))


def test_a_version_that_is_published_brings_what_it_reads(two):
    publish(two, reads=[])
    said = deepcopy(FAR)
    said["tiers"][1].update(version="newest", automatic=True)
    two.apply(said)
    two.settle()
    assert two["home"].cloud.rows("select * from sent_volume") == []
    publish(two)
    two.settle(1)
    assert "home has no volume catalogue that the farm may read" in told(two)
    catalogue(two)
    copied(two)
    wait(two)
    assert arrive(two) == [sha256("one")]


def test_a_volume_that_is_lost_at_home_stays_where_it_came(two):
    volume = farm(two)
    two["home"].cloud.run("delete from volume where id = :id", id=volume)
    two["home"].cloud.run("update sent_volume set due_at = 0")
    wait(two, 2)
    assert reads(two, element(two).id) == sha256("one")


def test_a_host_that_cannot_bring_it_is_told_and_asked_again(two):
    catalogue(two)
    two.apply(FAR)
    home = two["home"].cloud
    wait(two)
    say(home)
    wait(two, 2)
    say(home, done=False, told="its disk is broken", tries=99)
    wait(two, 2)
    assert "its disk is broken" in home.rows("select told from sent_volume")[0][0]
    for _ in range(2):
        two.turn(61)
        copied(two)
    assert arrive(two) == [sha256("one")]
