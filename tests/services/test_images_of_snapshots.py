"""Images that are made of snapshots: what is refused, what their hosts are told, what their bytes and words end."""

import hashlib
from dataclasses import replace

import pytest
from make_cloud import DISK, INITRD, KERNEL, Cloud, add_image
from test_landing import attend, report, seen
from test_snapshots import ended, off, say, take, wished
from test_volumes import two
from test_volumes_grow import root

from arable.controllers import removals
from arable.domain.errors import BadInput, CloudError, Conflict, Forbidden, LimitExceeded, NotFound
from arable.domain.ids import HostId, ImageId, OperationId
from arable.domain.manifest import HostReport
from arable.domain.settings import ACCOUNT_IMAGE_MIB
from arable.domain.snapshot import SnapshotAct
from arable.domain.units import MIB
from arable.drivers.storage.sim import flat_file
from arable.runtime.ca import FIRST_EPOCH
from arable.services import bringing, images, power, snapshots, volumes
from arable.sim.files import MemoryFiles
from arable.store import settings
from arable.wire.images import ImageIn, ImageOut
from arable.wire.machines import DestroyIn
from arable.wire.volumes import VolumeIn

__all__ = ["off", "two"]

CONTENT = flat_file(1024 * MIB, "first")
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def files(cloud) -> MemoryFiles:
    made = MemoryFiles()
    cloud.around = replace(cloud.around, images=made)
    return made


@pytest.fixture
def kept(files, off, cloud):
    """The owner of a snapshot, and the snapshot."""
    assert files.parts() == set()
    me, _machine, _volume, snapshot = off
    return me, snapshot


def image(cloud: Cloud, me, **but) -> ImageOut:
    return cloud.do(me, bringing.create, ImageIn(**{"name": "mould", "snapshot": "before"} | but))


def refused(cloud: Cloud, me, **but) -> CloudError:
    ask = ImageIn(**{"name": "mould", "snapshot": "before"} | but)
    return cloud.refused(me, bringing.create, ask)


def get(cloud: Cloud, me, made: ImageOut) -> ImageOut:
    return cloud.do(me, images.get, ImageId(made.id))


def host_of(cloud: Cloud, operation: str) -> HostId:
    query = "select host from manifest_item where id = :id"
    ((host,),) = cloud.rows(query, id=operation)
    return HostId(host)


def bring(
    cloud: Cloud, operation: str, content: bytes = CONTENT, *, by: str = "", said: str = SHA256
) -> None:
    """What the gateway does with what a host brings."""
    host, waiting = HostId(by or host_of(cloud, operation)), OperationId(operation)
    who = (cloud.around, host, FIRST_EPOCH, waiting)
    with cloud.database.read() as tx:
        taken = bringing.may(tx, *who, said, len(content))
    taken.write(content)
    received = taken.done()
    with cloud.database.write() as tx:
        bringing.brought(tx, *who, received)


def test_an_image_of_a_snapshot_has_a_version_when_its_host_has_brought_the_bytes(kept, cloud):
    me, snapshot = kept
    made = image(cloud, me, minimum_memory_mib=64)
    assert (made.versions, made.snapshot) == ((), snapshot)
    (wish,) = wished(cloud).values()
    assert (wish.act, wish.snapshot, wish.operation) == (
        SnapshotAct.BRING,
        snapshot,
        made.operation,
    )
    assert "mould is being made of before" in cloud.refused(me, snapshots.delete, snapshot).public
    say(cloud, done=False, told="the disk is full", tries=1)
    assert get(cloud, me, made).told == "the disk is full"
    bring(cloud, made.operation)
    assert ended(cloud, me, made.operation) == "done"
    assert not wished(cloud)
    now = get(cloud, me, made)
    (version,) = now.versions
    assert (now.operation, now.told, version.number) == (None, "", 1)
    assert (version.digest, version.parts[0].virtual_bytes) == (SHA256, 1024 * MIB)
    say(cloud)
    deployed = cloud.deploy(me, image="mould", name="cast")
    assert deployed.machines
    assert (
        cloud.do(me, volumes.create, VolumeIn(name="v", offering="any", image="mould")).mib == 1024
    )
    cloud.do(me, snapshots.delete, snapshot)


def test_the_bytes_are_taken_of_that_host_alone_and_once(kept, cloud):
    me, _ = kept
    made = image(cloud, me)
    others = cloud.rows(
        "select id from host where id <> :host", host=host_of(cloud, made.operation)
    )
    with pytest.raises(NotFound):
        bring(cloud, made.operation, by=others[0][0])
    with pytest.raises(Forbidden):
        bring(cloud, made.operation, by="host-unknown")
    asked = made.operation
    host = host_of(cloud, asked)
    bring(cloud, asked)
    with pytest.raises(NotFound, match="no image is to be made"):
        bring(cloud, asked, by=host)
    assert len(get(cloud, me, made).versions) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT[:-1] + b"?", SHA256),
        (b"x" * 70_000, hashlib.sha256(b"x" * 70_000).hexdigest()),
        (b"QFI\xfb" + CONTENT[4:8] + b"\1" * 12 + CONTENT[20:], None),
    ],
    ids=["another digest", "no qcow2", "over another file"],
)
def test_what_is_not_as_it_was_said_is_not_taken(kept, cloud, content, said):
    me, _ = kept
    made = image(cloud, me)
    with pytest.raises(BadInput):
        bring(cloud, made.operation, content, said=said or hashlib.sha256(content).hexdigest())
    assert cloud.around.images.parts() == set()
    assert get(cloud, me, made).operation == made.operation
    bring(cloud, made.operation)
    assert len(get(cloud, me, made).versions) == 1


def test_what_can_not_be_brought_is_no_image(kept, cloud):
    me, snapshot = kept
    made = image(cloud, me)
    say(cloud, done=False, told="the disk is full", tries=3, but="host-elsewhere")
    assert get(cloud, me, made).operation
    say(cloud, done=False, told="the disk is full", tries=3)
    assert ended(cloud, me, made.operation) == "failed mould can't be made: the disk is full"
    assert not wished(cloud)
    with pytest.raises(NotFound):
        get(cloud, me, made)
    cloud.do(me, snapshots.delete, snapshot)


def test_one_whose_bytes_were_forgotten_is_not_waited_for_in_vain(kept, cloud):
    me, _ = kept
    made = image(cloud, me)
    say(cloud)
    assert "older copy of the database" in ended(cloud, me, made.operation)
    assert not wished(cloud)


def test_one_that_got_another_version_meanwhile_stays_when_its_snapshot_can_not_be_brought(
    kept, cloud
):
    me, _ = kept
    made = image(cloud, me)
    with cloud.database.write() as tx:
        found = images.images.own(tx, me.scope, ImageId(made.id), lock=True)
        images.new_version(tx, cloud.around, found, [DISK])
    say(cloud, done=False, told="the disk is full", tries=3)
    now = get(cloud, me, made)
    assert (len(now.versions), now.operation) == (1, None)


def test_one_that_is_being_made_is_given_up(kept, cloud):
    me, snapshot = kept
    made = image(cloud, me)
    cloud.do(me, images.delete, ImageId(made.id))
    assert "superseded" in ended(cloud, me, made.operation)
    assert not wished(cloud)
    cloud.do(me, snapshots.delete, snapshot)


def test_the_limit_of_image_files_holds_when_it_is_asked_for_and_when_it_is_brought(kept, cloud):
    me, _ = kept
    with cloud.database.write() as tx:
        settings.put(tx, {ACCOUNT_IMAGE_MIB.name: 1023})
    assert isinstance(refused(cloud, me), LimitExceeded)
    with cloud.database.write() as tx:
        settings.put(tx, {ACCOUNT_IMAGE_MIB.name: 1024})
    made = image(cloud, me)
    with cloud.database.write() as tx:
        settings.put(tx, {ACCOUNT_IMAGE_MIB.name: 1})
        images.images.keep_part(
            tx, images.KeptPart(account=me.account, part=DISK, created_at=cloud.around.clock.now())
        )
    with pytest.raises(LimitExceeded):
        bring(cloud, made.operation)
    assert get(cloud, me, made).operation


def test_what_is_refused(kept, cloud):
    me, snapshot = kept
    assert isinstance(refused(cloud, me, public=True), Forbidden)
    assert isinstance(refused(cloud, me, snapshot="absent"), NotFound)
    assert isinstance(refused(cloud, cloud.account("other"), snapshot=snapshot), NotFound)
    image(cloud, me, name="taken")
    assert isinstance(refused(cloud, me, name="taken"), Conflict)
    cloud.do(
        me, images.delete, ImageId(cloud.rows("select id from image where name = 'taken'")[0][0])
    )
    cloud.do(me, snapshots.delete, snapshot)
    assert "is deleting" in refused(cloud, me).public


def test_a_root_disk_that_boots_by_a_kernel_takes_that_along(files, two, cloud):
    me, _machine, _ = two
    files.content |= {part.sha256: b"" for part in (KERNEL, INITRD)}
    with cloud.database.write() as tx:
        parts = (DISK, INITRD, KERNEL)
        add_image(tx, cloud, "booted", me.account, parts=parts, minimum_memory_mib=96)
    machine = cloud.deploy(me, image="booted", name="by-kernel").machines[0].id
    attend(cloud)
    report(cloud, seen(cloud, machine))
    take(cloud, me, root(cloud, machine))
    say(cloud)
    made = image(cloud, me)
    bring(cloud, made.operation)
    now = get(cloud, me, made)
    assert {part.sha256 for part in now.versions[0].parts} == {SHA256, KERNEL.sha256, INITRD.sha256}
    assert (now.command_line, now.minimum_memory_mib) == ("console=ttyS0", 96)
    assert cloud.deploy(me, image="mould", name="cast").machines


@pytest.mark.parametrize("how", ["expunged", "lost"])
def test_it_ends_with_its_snapshot(files, off, cloud, how):
    me, machine, volume, snapshot = off
    made = image(cloud, me)
    host = host_of(cloud, made.operation)
    if how == "expunged":
        cloud.do(me, power.destroy, machine, DestroyIn(expunge=True))
        attend(cloud)
        report(cloud, HostReport(host=host, generation=9, scrapped=(volume,)))
    else:
        cloud.run(f"update host set removing = true, state = 'down' where id = '{host}'")
        for _ in range(3):
            with cloud.database.write() as tx:
                removals.attend(tx, cloud.around.clock.now())
    assert isinstance(cloud.refused(me, snapshots.get, snapshot), NotFound)
    assert "went away" in ended(cloud, me, made.operation)
    assert not wished(cloud)
    assert files.parts() == set()
    with pytest.raises(NotFound):
        get(cloud, me, made)


def test_one_that_is_not_taken_yet_is_waited_for(files, two, cloud):
    me, machine, _ = two
    take(cloud, me, root(cloud, machine))
    assert "is creating" in refused(cloud, me).public
