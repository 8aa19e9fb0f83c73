"""A volume goes from one machine to another while both run, and takes along what was written to it."""

import pytest

from arable.wire.offerings import DiskOfferingIn
from arable.wire.operations import OperationOut
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import AttachVolumeIn, MigrateVolumeIn, VolumeIn
from e2e.customers import Customer
from e2e.lab_cloud import LabCloud

pytestmark = pytest.mark.real

SERIAL = "while [ ! -b /dev/sda ]; do sleep 1; done; tail -c +5 /sys/block/sda/device/vpd_pg80"
WRITE = (
    "dd if=/dev/urandom of=/tmp/much bs=64k count=16 2>/dev/null;"
    "dd if=/tmp/much of=/dev/sda conv=fsync 2>/dev/null; md5sum < /tmp/much; rm /tmp/much"
)
READ = (
    "while [ ! -b /dev/sda ]; do sleep 1; done; dd if=/dev/sda bs=64k count=16 2>/dev/null | md5sum"
)


def test_what_one_machine_wrote_is_read_by_the_next(cloud: LabCloud, red: Customer) -> None:
    cloud.operator.disk_offerings.create(DiskOfferingIn(name="roomy"))
    deployed = red.deploy("reader", tags=("left",))
    volume = red.api.volumes.create(VolumeIn(name="data", offering="roomy", mib=16))

    def done(operation: OperationOut) -> None:
        red.api.operations.wait(operation.id, seconds=120)

    hosts = cloud.whereabouts()
    writer = next(name for name in ("red-1", "red-2") if hosts[name] == "a1")
    done(red.api.volumes.attach(volume.id, AttachVolumeIn(machine=red.machine(writer).id)))
    at = red.at(writer)
    assert volume.id.partition("-")[2][:20] in at.run(SERIAL)
    told = at.run(WRITE)
    done(red.api.volumes.detach(volume.id))
    at.run("[ ! -e /sys/block/sda ]")
    red.wait(deployed)
    done(red.api.volumes.attach(volume.id, AttachVolumeIn(machine=red.machine("reader").id)))
    assert red.at("reader").run(READ) == told
    red.hang_up()
    red.destroy(["reader"])
    left = red.api.volumes.get(volume.id)
    assert (left.state, left.machine) == ("available", None)
    done(red.api.volumes.delete(volume.id))
    assert volume.id not in {each.id for each in red.api.volumes.all()}


def test_what_one_machine_wrote_is_read_on_another_host_when_its_volume_went_there(
    cloud: LabCloud, red: Customer
) -> None:
    """From pod to pod, with a snapshot of what was there before."""
    cloud.operator.disk_offerings.create(DiskOfferingIn(name="carried"))
    hosts = {name: host for name, host in cloud.whereabouts().items() if name.startswith("red-")}
    here = next(name for name, host in hosts.items() if host == "a1")
    there = next(name for name, host in hosts.items() if host == "b1")
    volume = red.api.volumes.create(VolumeIn(name="wanderer", offering="carried", mib=16)).id

    def done(operation: str) -> None:
        red.api.operations.wait(operation, seconds=120)

    done(red.api.volumes.attach(volume, AttachVolumeIn(machine=red.machine(here).id)).id)
    at = red.at(here)
    before = at.run(f"{SERIAL} > /dev/null; {WRITE}")
    done(red.api.snapshots.create(SnapshotIn(name="before", volume=volume)).operation)
    after = at.run(WRITE)
    done(red.api.volumes.detach(volume).id)
    (pool,) = (p for p in cloud.operator.pools.all() if cloud.hosts().get(p.host or "") == "b1")
    cloud.operator.operations.wait(
        cloud.operator.volumes.migrate(volume, MigrateVolumeIn(pool=pool.id)).id, seconds=120
    )
    done(red.api.volumes.attach(volume, AttachVolumeIn(machine=red.machine(there).id)).id)
    at = red.at(there)
    assert at.run(READ) == after != before
    done(red.api.volumes.detach(volume).id)
    at.run("[ ! -e /sys/block/sda ]")
    (snapshot,) = [each for each in red.api.snapshots.all() if each.volume == volume]
    done(red.api.snapshots.restore(snapshot.id).id)
    done(red.api.volumes.attach(volume, AttachVolumeIn(machine=red.machine(there).id)).id)
    assert at.run(READ) == before
    done(red.api.volumes.detach(volume).id)
    done(red.api.snapshots.delete(snapshot.id).id)
    done(red.api.volumes.delete(volume).id)
