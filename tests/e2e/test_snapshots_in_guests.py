"""A machine writes while its volume is kept as it is; set back, that is as if the machine had lost its power then."""

import pytest

from arable.wire.images import ImageIn, VersionQuery
from arable.wire.offerings import DiskOfferingIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import AttachVolumeIn, DetachVolumeIn, VolumeIn
from e2e.customers import Customer
from e2e.lab_cloud import LabCloud

pytestmark = pytest.mark.real

CHUNKS = 24
PLUGGED = "while [ ! -b /dev/sda ]; do sleep 1; done"
# Each chunk is on the disk before its number is said, and the next one begun. Whoever reads meanwhile finds a number.
WRITES = (
    "dd if=/dev/urandom of=/tmp/chunk bs=64k count=1 2>/dev/null; echo 0 > /tmp/at;"
    f"(n=0; while [ $n -lt {CHUNKS} ]; do"
    " dd if=/tmp/chunk of=/dev/sda bs=64k count=1 seek=$n conv=notrunc,fsync 2>/dev/null;"
    " n=$((n + 1)); echo $n > /tmp/next; mv /tmp/next /tmp/at; done; touch /tmp/over) & md5sum < /tmp/chunk"
)
AT = "cat /tmp/at"
OVER = f"while [ ! -e /tmp/over ]; do sleep 1; done; {AT}"
READS = (
    f"n=0; while [ $n -lt {CHUNKS} ]; do"
    " dd if=/dev/sda bs=64k count=1 skip=$n 2>/dev/null | md5sum; n=$((n + 1)); done"
)
NOTHING = "dd if=/dev/zero bs=64k count=1 2>/dev/null | md5sum"


def test_a_snapshot_of_a_disk_that_is_written_to_has_what_was_said_to_be_written(
    cloud: LabCloud, red: Customer
) -> None:
    cloud.operator.disk_offerings.create(DiskOfferingIn(name="keeping"))
    api, writer = red.api, red.machine("red-1")
    volume = api.volumes.create(VolumeIn(name="kept", offering="keeping", mib=16))
    red.wait(api.volumes.attach(volume.id, AttachVolumeIn(machine=writer.id)).id)
    at = red.at("red-1")
    at.run(PLUGGED)
    chunk = at.run(WRITES).split()[0]
    taken = []
    for name in ("early", "late"):
        before = int(at.run(AT))
        made = api.snapshots.create(SnapshotIn(name=name, volume=volume.id))
        red.wait(made.operation)
        taken.append((name, made.snapshot.id, before, int(at.run(AT))))
    assert int(at.run(OVER)) == CHUNKS, "the machine was not disturbed"
    nothing = at.run(NOTHING).split()[0]
    wholes: dict[str, int] = {}
    for name, snapshot, least, most in reversed(taken):
        red.wait(api.volumes.detach(volume.id, DetachVolumeIn()).id)
        at.run("[ ! -e /sys/block/sda ]")
        red.wait(api.snapshots.restore(snapshot).id)
        red.wait(api.volumes.attach(volume.id, AttachVolumeIn(machine=writer.id)).id)
        at.run(PLUGGED)
        whole = wholes[name] = _whole(at.run(READS, seconds=120), chunk, nothing)
        assert least <= whole <= most + 1
    ask = VolumeIn(name="copy", offering="keeping", snapshot="late")
    copied = api.volumes.create(ask)
    assert copied.operation, "it takes a while"
    red.wait(copied.operation)
    image = api.images.create(ImageIn(name="late-image", snapshot="late"))
    assert image.operation, "its host brings it"
    red.wait(image.operation)
    red.wait(api.volumes.detach(volume.id, DetachVolumeIn()).id)
    for _, snapshot, _, _ in taken:
        red.wait(api.snapshots.delete(snapshot).id)
    red.wait(api.volumes.delete(volume.id).id)
    at.run("[ ! -e /sys/block/sda ]")
    red.wait(api.volumes.attach(copied.id, AttachVolumeIn(machine=writer.id)).id)
    at.run(PLUGGED)
    assert _whole(at.run(READS, seconds=120), chunk, nothing) == wholes["late"]
    red.wait(api.volumes.detach(copied.id, DetachVolumeIn()).id)
    red.wait(api.volumes.delete(copied.id).id)
    at.run("[ ! -e /sys/block/sda ]")
    fresh = api.volumes.create(VolumeIn(name="fresh", offering="keeping", image="late-image"))
    red.wait(api.volumes.attach(fresh.id, AttachVolumeIn(machine=writer.id)).id)
    at.run(PLUGGED)
    assert _whole(at.run(READS, seconds=120), chunk, nothing) == wholes["late"]
    red.wait(api.volumes.detach(fresh.id, DetachVolumeIn()).id)
    red.wait(api.volumes.delete(fresh.id).id)
    (version,) = api.images.get(image.id).versions
    api.images.delete_version(image.id, VersionQuery(number=version.number))
    api.images.delete(image.id)


def _whole(told: str, chunk: str, nothing: str) -> int:
    """How many chunks are there, the first ones, none of them torn."""
    found = told.split()[::2]
    whole = found.index(nothing) if nothing in found else CHUNKS
    assert found == [chunk] * whole + [nothing] * (CHUNKS - whole)
    return whole
