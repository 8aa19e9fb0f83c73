"""A farm's machines have volumes of its storage zone alone; volumes go from one to another when their owner says so."""

import msgspec
from make_farm import change, farm_in, prepare
from test_landing import attend, report, routed, seen
from test_machines_on_shared_disks import item, shared
from test_volumes import attach, detach, make, of, refused, shared_data

from arable.domain.errors import BadInput, Conflict, NotFound
from arable.domain.ids import FarmId, StorageZoneId, VolumeId
from arable.domain.manifest import ExportWish, GuestWish
from arable.services import attachments, farms, networks, storage_zones, volumes
from arable.wire.machines import NicIn
from arable.wire.networks import NetworkIn
from arable.wire.storage_zones import StorageZoneIn, StorageZoneQuery
from arable.wire.volumes import AttachVolumeIn, VolumeChange, VolumeIn, VolumeQuery

__all__ = ["shared"]


def empty(**but):
    """A farm without anything in it."""
    lists = {part: [] for part in ("networks", "tiers", "passages", "ways_in")}
    return farm_in(**{"name": "shop", **lists, **but})


def give(cloud, me, volume: str, zone: str | None):
    return cloud.do(me, volumes.update, VolumeId(volume), VolumeChange(storage_zone=zone))


def stopped(cloud, me, name: str, farm: str | None = None) -> str:
    """A machine that is off, of that farm or the default one."""
    if farm is None:
        return cloud.deploy(me, name=name, start=False).machines[0].id
    ask = NetworkIn(name=f"{name}-net", farm=farm, cidr=f"10.9.{ord(name[-1])}.0/24")
    network = cloud.do(me, networks.create, ask).id
    nic = NicIn(network=network)
    made = cloud.deploy(me, name=name, farm=farm, networks=(nic,), start=False)
    return made.machines[0].id


def test_a_volume_stays_in_the_storage_zone_of_the_farm_that_had_it(cloud):
    me = prepare(cloud)
    shop = cloud.do(me, farms.create, empty()).farm
    assert shop.storage_zone == shop.id
    first, second = stopped(cloud, me, "a"), stopped(cloud, me, "b", shop.id)
    volume = make(cloud, me)
    assert of(cloud, me, volume).storage_zone is None
    attach(cloud, me, volume, first)
    default = of(cloud, me, volume).storage_zone
    assert default.startswith("farm-")
    assert default != shop.id
    error = cloud.refused(me, volumes.update, volume, VolumeChange(storage_zone="shop"))
    assert (type(error), error.field) == (Conflict, "storage_zone")
    detach(cloud, me, volume)
    assert of(cloud, me, volume).storage_zone == default
    assert "another storage zone than the farm of b" in refused(cloud, me, volume, second)
    give(cloud, me, volume, "shop")
    assert of(cloud, me, volume).storage_zone == shop.id
    assert "another storage zone than the farm of a" in refused(cloud, me, volume, first)
    attach(cloud, me, volume, second)
    detach(cloud, me, volume)
    give(cloud, me, volume, None)
    attach(cloud, me, volume, first)
    query = VolumeQuery(storage_zone=default)
    assert volume in [each.id for each in cloud.do(me, volumes.page, query).items]


def test_farms_that_are_made_with_one_share_its_volumes(lone_cloud):
    cloud = lone_cloud
    me = prepare(cloud)
    books = cloud.do(me, storage_zones.create, StorageZoneIn(name="books"))
    made = [
        cloud.do(me, farms.create, empty(name=name, storage_zone="books")).farm
        for name in ("one", "two")
    ]
    assert {each.storage_zone for each in made} == {books.id}
    volume = make(cloud, me, storage_zone=books.id)
    first, second = (stopped(cloud, me, each.name, each.id) for each in made)
    attach(cloud, me, volume, first)
    detach(cloud, me, volume)
    attach(cloud, me, volume, second)
    assert "another storage zone" in refused(cloud, me, make(cloud, me, "x", storage_zone="one"), stopped(cloud, me, "c"))  # fmt: skip
    found = cloud.do(me, storage_zones.get, StorageZoneId(books.id))
    assert (found.farms, found.machines, found.volumes) == (2, 2, 4)
    error = cloud.refused(me, storage_zones.delete, StorageZoneId(books.id))
    assert "2 farms have books, and 4 volumes are in it" in error.public


def test_a_farm_keeps_the_storage_zone_that_it_was_made_with(lone_cloud):
    cloud = lone_cloud
    me = prepare(cloud)
    for name in ("books", "others"):
        cloud.do(me, storage_zones.create, StorageZoneIn(name=name))
    farm = cloud.do(me, farms.create, empty(storage_zone="books")).farm
    assert cloud.do(me, farms.update, FarmId(farm.id), change(storage_zone="books"))
    error = cloud.refused(me, farms.update, FarmId(farm.id), change(storage_zone="others"))
    assert (type(error), error.field) == (Conflict, "storage_zone")
    error = cloud.refused(me, farms.create, empty(name="next", storage_zone="shop2"))
    assert (type(error), error.field) == (NotFound, "storage_zone")
    own = cloud.do(me, farms.create, empty(name="own")).farm
    error = cloud.refused(me, farms.create, empty(name="next", storage_zone=own.id))
    assert (type(error), error.field) == (BadInput, "storage_zone")


def test_what_a_farm_had_alone_is_nobodys_when_it_is_gone(lone_cloud):
    cloud = lone_cloud
    me = prepare(cloud)
    farm = cloud.do(me, farms.create, empty()).farm
    volume = make(cloud, me, storage_zone="shop")
    cloud.do(me, farms.delete, FarmId(farm.id))
    assert isinstance(cloud.refused(me, farms.get, FarmId(farm.id)), NotFound)
    assert of(cloud, me, volume).storage_zone is None
    attach(cloud, me, volume, stopped(cloud, me, "a"))


def test_strangers_storage_zones_are_not_there(lone_cloud):
    cloud = lone_cloud
    me, you = cloud.account("me"), cloud.account("you")
    mine = cloud.do(me, storage_zones.create, StorageZoneIn(name="books"))
    assert cloud.do(you, storage_zones.page, StorageZoneQuery()).items == []
    for name in (mine.id, "books"):
        ask = VolumeIn(name="data", offering="any", mib=1, storage_zone=name)
        error = cloud.refused(you, volumes.create, ask)
        assert (type(error), error.field) == (NotFound, "storage_zone")
    cloud.do(you, storage_zones.create, StorageZoneIn(name="books"))
    error = cloud.refused(me, storage_zones.create, StorageZoneIn(name="books"))
    assert (type(error), error.field) == (Conflict, "name")
    cloud.do(me, storage_zones.delete, StorageZoneId(mine.id))


def test_storage_hosts_are_told_of_each_disk_and_of_the_machine(shared):
    cloud = shared
    me = cloud.account("me")
    routed(cloud, me)
    machine = cloud.deploy(me, offering="steady").machines[0].id
    attend(cloud)
    report(cloud, seen(cloud, machine))
    volume = shared_data(cloud, me)
    cloud.do(me, attachments.attach, volume, AttachVolumeIn(machine=machine))
    attend(cloud)
    wish = msgspec.json.decode(item(cloud, "export", machine)[1], type=ExportWish)
    ((farm,),) = cloud.rows("select farm from machine where id = :id", id=machine)
    assert wish.storage_zone == farm
    assert {disk.storage_zone for disk in wish.disks} == {farm}
    assert all(disk.zoned for disk in wish.disks)
    guest = msgspec.json.decode(item(cloud, "guest", machine)[1], type=GuestWish)
    assert {disk.storage_zone for disk in guest.disks} == {""}, "its own host is told of no masks"
