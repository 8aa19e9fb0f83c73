"""Volumes that go to another pool: who may ask, what is refused, what hosts are told, what their words end."""

import msgspec
import pytest
from make_cloud import Cloud
from test_landing import report
from test_snapshots import off
from test_volumes import attach, detach, make, of, state, two
from test_volumes_grow import root

from arable.controllers import carries, removals
from arable.domain.access import ROLES
from arable.domain.carry import CarrySeen, CarryWish
from arable.domain.errors import BadInput, Conflict, Forbidden, NoRoom, NotFound
from arable.domain.ids import HostId, VolumeId
from arable.domain.manifest import GIVE_UP, HostReport
from arable.domain.units import MIB
from arable.services import (
    bringing,
    copies,
    explanations,
    migrating,
    power,
    resizing,
    snapshots,
    volumes,
)
from arable.store import restore as restoring
from arable.wire.images import ImageIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import (
    MigrateVolumeIn,
    ResizeVolumeIn,
    VolumeIn,
)

__all__ = ["off", "two"]


@pytest.fixture
def cloud(lone_cloud) -> Cloud:
    """`test_carried_on_each_engine.py` has what locks may be about."""
    return lone_cloud


@pytest.fixture
def boss(cloud):
    rank, permissions = ROLES["operator"]
    return cloud.account("boss", role="operator", rank=rank, permissions=permissions)


def elsewhere(cloud: Cloud, volume: str) -> str:
    """The other host's pool."""
    query = "select o.id from pool o, volume v where v.id = :id and o.id <> v.pool"
    return str(cloud.rows(query, id=volume)[0][0])


def go(cloud: Cloud, boss, volume: str, pool: str):
    return cloud.do(boss, migrating.migrate, VolumeId(volume), MigrateVolumeIn(pool=pool))


def ungone(cloud: Cloud, who, volume: str, pool: str):
    return cloud.refused(who, migrating.migrate, VolumeId(volume), MigrateVolumeIn(pool=pool))


def told(cloud: Cloud) -> dict[str, CarryWish]:
    """What hosts are told of what is carried, by host."""
    query = "select host, body from manifest_item where kind = 'carry' and body is not null"
    return {host: msgspec.json.decode(body, type=CarryWish) for host, body in cloud.rows(query)}


def word(cloud: Cloud, *, by: str = "", **but) -> None:
    """The host where it goes says how that stands."""
    (wish, *_) = told(cloud).values()
    said = CarrySeen(operation=wish.operation, **{"done": True, **but})
    report(cloud, HostReport(host=HostId(by or wish.target), generation=1, carries=(said,)))


def scraps(cloud: Cloud) -> list[tuple[str, str]]:
    query = "select host, id from manifest_item where kind = 'scrap' and body is not null"
    return [(host, volume) for host, volume in cloud.rows(query)]


def erased(cloud: Cloud) -> None:
    """Hosts have erased what they were told to."""
    for host, volume, generation in cloud.rows(
        "select host, id, generation from manifest_item where kind = 'scrap' and body is not null"
    ):
        words = {"host": HostId(host), "generation": generation, "scrapped": (VolumeId(volume),)}
        report(cloud, HostReport(**words))


def balanced(cloud: Cloud) -> bool:
    """Every host reserves what is in its pool, is to come there, and is left there."""
    return not cloud.rows("""
        select h.id from host h where h.reserved_disk_mib <>
          coalesce((select sum(v.mib) from volume v where v.pool = h.pool), 0)
          + coalesce((select sum(s.mib) from snapshot s join volume v on v.id = s.volume
                      where v.pool = h.pool), 0)
          + coalesce((select sum(c.mib) from carry c
                      where coalesce(c.left_in, c.target) = h.pool), 0)
    """)


def test_it_is_in_the_other_pool_when_that_ones_host_has_all_of_it(off, boss, cloud):
    me, _machine, volume, snapshot = off
    target = elsewhere(cloud, volume)
    (here,) = cloud.rows(
        "select h.id from host h join volume v on v.pool = h.pool where v.id = :i", i=volume
    )[0]
    asked = go(cloud, boss, volume, target)
    assert go(cloud, boss, volume, target).id == asked.id
    wishes = told(cloud)
    assert len(wishes) == 2
    assert len(set(map(str, wishes.values()))) == 1
    wish = wishes[here]
    assert (wish.source, wish.pool, wish.bytes) == (here, target, of(cloud, me, volume).mib * MIB)
    assert wish.image
    assert of(cloud, me, volume).state == "migrating"
    assert balanced(cloud)
    word(cloud, by=wish.source)  # it is not for the source to say
    word(cloud, done=False, told="busy", copied_bytes=3 * MIB)
    word(cloud, done=False, told="busy", copied_bytes=4 * MIB)
    assert of(cloud, me, volume).told == "busy"
    (said,) = cloud.rows("select steps from operation where kind = 'volume.migrate'")
    assert said[0].count("waits: busy") == 1, "whoever waits is told, once"
    word(cloud)
    assert (state(cloud, boss, asked), of(cloud, me, volume).state) == ("done", "attached")
    assert cloud.rows("select pool, change from volume where id = :id", id=volume) == [(target, "")]
    assert (told(cloud), scraps(cloud)) == ({}, [(here, volume)])
    assert balanced(cloud), "its room is held until it is erased there"
    assert "still being erased" in ungone(cloud, boss, volume, elsewhere(cloud, volume)).public
    erased(cloud)
    assert (scraps(cloud), cloud.rows("select * from carry")) == ([], [])
    assert balanced(cloud)
    cloud.do(me, snapshots.delete, snapshot)
    ((host, _body),) = cloud.rows(
        "select host, body from manifest_item where kind = 'snapshot' and body is not null"
    )
    assert host == wish.target, "its snapshots are where it is"
    assert go(cloud, boss, volume, target).state == "done", "where it is already"


def test_nothing_else_is_done_with_it_meanwhile(off, boss, cloud):
    me, machine, volume, snapshot = off
    go(cloud, boss, volume, elsewhere(cloud, volume))
    for refused in (
        cloud.refused(me, power.start, machine),
        cloud.refused(me, resizing.resize, volume, ResizeVolumeIn(mib=99_000)),
        cloud.refused(me, snapshots.create, SnapshotIn(name="more", volume=volume)),
        cloud.refused(me, snapshots.restore, snapshot),
        cloud.refused(me, snapshots.delete, snapshot),
        cloud.refused(me, copies.create, VolumeIn(name="copy", offering="any", snapshot=snapshot)),
        cloud.refused(me, bringing.create, ImageIn(name="mould", snapshot=snapshot)),
    ):
        assert isinstance(refused, Conflict)
        assert "carried" in refused.public or "migrating" in refused.public, refused.public
    said = cloud.do(me, explanations.explain, machine).says
    assert any("migrating" in each for each in said), said


def test_what_can_not_be_is_refused_and_leaves_nothing(two, boss, cloud):
    me, machine, other = two
    volume = root(cloud, machine)
    target = elsewhere(cloud, volume)
    assert isinstance(ungone(cloud, me, volume, target), Forbidden)
    running = ungone(cloud, boss, volume, target)
    assert "Stop" in running.public
    assert "detach" in running.public
    assert isinstance(ungone(cloud, boss, volume, "nowhere"), NotFound)
    data = make(cloud, me)
    assert "on no storage pool yet" in ungone(cloud, boss, data, target).public
    attach(cloud, me, data, machine)
    cloud.run("update volume set change = '', operation = null where id = :id", id=data)
    cloud.run(
        "update machine set state = 'stopped', wish = 'stopped', host = null where id = :id",
        id=machine,
    )
    assert "all disks of" in ungone(cloud, boss, volume, target).public
    assert "all disks of" in ungone(cloud, boss, data, target).public
    detach(cloud, me, data)
    cloud.run("update pool set kind = 'nbd' where id = :id", id=target)
    assert isinstance(ungone(cloud, boss, volume, target), BadInput)
    cloud.run("update pool set kind = 'local' where id = :id", id=target)
    cloud.run("update volume set tags = '[\"ssd\"]' where id = :id", id=volume)
    assert "lacks ssd" in ungone(cloud, boss, volume, target).public
    cloud.run("update volume set tags = '[]' where id = :id", id=volume)
    cloud.run("update host set maintenance = true where pool = :id", id=target)
    assert "in maintenance" in ungone(cloud, boss, volume, target).public
    cloud.run("update host set maintenance = false, disk_full = true where pool = :id", id=target)
    assert "it is full" in ungone(cloud, boss, volume, target).public
    cloud.run(
        "update host set disk_full = false, disk_mib = reserved_disk_mib, disk_percent = 100 where pool = :id",
        id=target,
    )
    refused = ungone(cloud, boss, volume, target)
    assert isinstance(refused, NoRoom)
    assert "no room for" in refused.public
    assert other
    assert balanced(cloud)


def test_one_that_fails_stays_where_it_is(off, boss, cloud):
    me, machine, volume, _snapshot = off
    target = elsewhere(cloud, volume)
    asked = go(cloud, boss, volume, target)
    (wish, *_) = told(cloud).values()
    word(cloud, done=False, told="the disk is broken", tries=GIVE_UP)
    assert "the disk is broken" in state(cloud, boss, asked)
    assert of(cloud, me, volume).state == "attached"
    assert scraps(cloud) == [(wish.target, volume)]
    erased(cloud)
    assert balanced(cloud)
    cloud.do(me, power.start, machine)


def test_a_copy_that_is_a_stranger_is_not_erased(off, boss, cloud):
    _me, _machine, volume, _snapshot = off
    asked = go(cloud, boss, volume, elsewhere(cloud, volume))
    word(cloud, done=False, told="another copy is there", tries=1, stranger=True)
    assert "another copy" in state(cloud, boss, asked)
    assert (scraps(cloud), told(cloud)) == ([], {})
    assert balanced(cloud)


def test_it_can_be_called_off_and_a_late_word_changes_nothing(off, boss, cloud):
    me, _machine, volume, _snapshot = off
    assert "not on its way" in cloud.refused(boss, migrating.cancel, volume).public
    asked = go(cloud, boss, volume, elsewhere(cloud, volume))
    (wish, *_) = told(cloud).values()
    assert isinstance(cloud.refused(me, migrating.cancel, volume), Forbidden)
    assert cloud.do(boss, migrating.cancel, volume).state == "done"
    assert "called off" in state(cloud, boss, asked)
    before = cloud.rows("select pool, change from volume where id = :id", id=volume)
    late = CarrySeen(operation=wish.operation, done=True)
    report(cloud, HostReport(host=wish.target, generation=1, carries=(late,)))
    assert cloud.rows("select pool, change from volume where id = :id", id=volume) == before
    assert scraps(cloud) == [(wish.target, volume)]
    erased(cloud)
    assert balanced(cloud)


def test_its_owner_may_delete_it_meanwhile(two, boss, cloud):
    me, machine, _ = two
    data = make(cloud, me)
    cloud.run(
        "update volume set pool = (select pool from volume where id = :r) where id = :id",
        r=root(cloud, machine),
        id=data,
    )
    cloud.run(
        "update host set reserved_disk_mib = reserved_disk_mib + 512 where pool = (select pool from volume where id = :id)",
        id=data,
    )
    asked = go(cloud, boss, data, elsewhere(cloud, data))
    assert balanced(cloud)
    deleted = cloud.do(me, volumes.delete, data)
    assert "superseded" in state(cloud, boss, asked)
    assert len(scraps(cloud)) == 2
    erased(cloud)
    assert state(cloud, me, deleted) == "done"
    assert cloud.rows("select * from carry") == []
    assert balanced(cloud)


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_host_that_is_lost_for_good_takes_along_what_was_to_come_or_to_go(off, boss, cloud, end):
    me, _machine, volume, _snapshot = off
    asked = go(cloud, boss, volume, elsewhere(cloud, volume))
    (wish, *_) = told(cloud).values()
    lost = wish.source if end == "source" else wish.target
    cloud.run("update host set removing = true where id = :id", id=lost)
    with cloud.database.write() as tx:
        for _ in range(3):
            removals.attend(tx, cloud.around.clock.now())
    assert "failed" in state(cloud, boss, asked)
    erased(cloud)
    assert cloud.rows("select * from carry") == []
    assert told(cloud) == {}
    assert balanced(cloud)
    if end == "target":
        assert of(cloud, me, volume).state == "attached"


def test_hosts_follow_a_changed_address(off, boss, cloud):
    _me, _machine, volume, _snapshot = off
    go(cloud, boss, volume, elsewhere(cloud, volume))
    (wish, *_) = told(cloud).values()
    assert wish.address == ""
    (cidr,) = cloud.rows(
        "select p.cidr from pod p join host h on h.pod = p.id where h.id = :id", id=wish.source
    )[0]
    inside = cidr.rpartition(".")[0] + ".9:10807"
    for address, wanted in (("192.0.2.1:1", ""), (inside, inside)):
        cloud.run("update host set peer_address = :a where id = :id", a=address, id=wish.source)
        with cloud.database.write() as tx:
            carries.attend(tx, cloud.around.clock.now())
        assert {each.address for each in told(cloud).values()} == {wanted}


def test_an_older_copy_of_the_database_erases_nothing_that_was_left(off, boss, cloud):
    _me, _machine, volume, _snapshot = off
    go(cloud, boss, volume, elsewhere(cloud, volume))
    word(cloud)
    with cloud.database.write() as tx:
        restoring.renew(tx, "restored", cloud.around.clock.now())
    assert (scraps(cloud), cloud.rows("select * from carry")) == ([], [])
    assert balanced(cloud)
