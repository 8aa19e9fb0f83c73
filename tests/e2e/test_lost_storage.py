"""A storage host loses its power for good: the machine whose disks were there runs from their replicas, with all that the
last whole point has; and the host that comes back serves none of it, and keeps the replicas from then on.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.lab import fail
from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.events import EventQuery
from arable.wire.offerings import DiskOfferingIn, OfferingIn
from arable.wire.settings import SettingsChange
from arable.wire.volumes import AttachVolumeIn, VolumeIn, VolumeOut
from e2e.belief_and_truth import qemus
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.customers import READY, Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real
WITHIN = 240.0  # seconds; a minute on a machine that has nothing else to do
SAFE = {"storage": "shared", "replicated": True}
MUCH = "dd if=/dev/urandom of=/tmp/much bs=64k count=16 2>/dev/null"
KEEP = "dd if=/tmp/much of=/dev/{disk} seek={seek} bs=64k conv=fsync,notrunc 2>/dev/null; md5sum < /tmp/much"
READ = "dd if=/dev/{disk} skip={seek} bs=64k count=16 2>/dev/null | md5sum"
DISK = "while [ ! -b /dev/sda ]; do sleep 1; done"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).with_name("two-stores.yaml"))
    wanted = Wanted(data=tmp_path / "cloud", topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        yield made


def test_its_machine_runs_on_from_the_replicas(two: LabCloud) -> None:
    operator = two.operator
    operator.settings.update(SettingsChange(values={"replicate_seconds": 10}))
    size = {"cpus": 1, "cpu_mhz": 500, "memory_mib": 128, "root_mib": 64}
    operator.offerings.create(OfferingIn(name="safe", highly_available=True, **size, **SAFE))
    operator.disk_offerings.create(DiskOfferingIn(name="safe-disk", **SAFE))
    red = customer(operator, two.url, "red")
    red.wait(red.deploy("books", offering="safe"))
    data = red.api.volumes.create(VolumeIn(name="ledger", offering="safe-disk", mib=16))
    attach = AttachVolumeIn(machine=red.machine("books").id)
    red.wait(red.api.volumes.attach(data.id, attach).id)
    pools = {pool.id: two.hosts()[pool.host] for pool in operator.pools.all() if pool.host}

    def disks() -> list[VolumeOut]:
        return [each for each in operator.volumes.all() if each.machine or each.id == data.id]

    def replicated() -> bool:
        """All disks, with all that was written until now."""
        since = now
        return all(each.replicated_at and each.replicated_at > since for each in disks())

    clock = RealClock()
    at = red.at("books")
    at.run(f"{READY}; {DISK}")
    told = [at.run(f"{MUCH}; {KEEP.format(disk=disk, seek=0)}") for disk in ("vda", "sda")]
    now = clock.now()
    until(replicated, "a first point is whole", WITHIN)
    told.append(at.run(f"{MUCH}; {KEEP.format(disk='sda', seek=64)}"))
    now = clock.now()
    until(replicated, "a second point has what was written since", WITHIN)
    (first,) = {pools[each.pool or ""] for each in disks()}
    (second,) = {"s1", "s2"} - {first}
    assert {pools[each.replica_pool or ""] for each in disks()} == {second}
    red.hang_up()
    before = qemus(two, "a1")
    assert len(before) == 1

    begun = clock.monotonic()
    fail.power_off(two.site, first)
    settled(lambda: {pools[each.pool or ""] for each in disks()}, {second}, WITHIN)
    print(f"brought back from replicas after {clock.monotonic() - begun:.1f} s")
    until(lambda: qemus(two, "a1") not in ([], before), "it runs anew", WITHIN)
    assert read(red) == told
    print(f"its guest has read all after {clock.monotonic() - begun:.1f} s")
    kinds = [
        event.kind
        for event in red.api.events.all(EventQuery())
        if event.kind == "volume.failed-over"
    ]
    assert len(kinds) == 2, "the customer is told, of each disk"

    red.hang_up()
    fail.power_on(two.site, first)
    until(
        lambda: {h.name: h.state for h in operator.hosts.all()}[first] == "up", "it is back", WITHIN
    )
    now = clock.now()
    until(replicated, "replicas are kept there anew", WITHIN)
    assert {pools[each.replica_pool or ""] for each in disks()} == {first}
    assert {pools[each.pool or ""] for each in disks()} == {second}
    assert read(red) == told
    red.close()


def read(red: Customer) -> list[str]:
    """What the disks have that were written to, as the guest sees it."""
    until(lambda: red.machine("books").state == "running", "it runs", WITHIN)
    at = red.at("books")
    at.run(f"{READY}; {DISK}")
    return [
        at.run(READ.format(disk=disk, seek=seek))
        for disk, seek in (("vda", 0), ("sda", 0), ("sda", 64))
    ]
