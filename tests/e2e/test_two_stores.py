"""Two storage hosts in a pod, of different kinds: disks go from one to the other under a machine that runs; and when one of
the two loses its power for good, the machine whose disks were there runs from their replicas, with all that the last whole
point has. The host that comes back serves none of it, and keeps the replicas from then on.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.client.errors import Conflict
from arable.lab import fail
from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.events import EventQuery
from arable.wire.offerings import DiskOfferingIn, OfferingIn
from arable.wire.settings import SettingsChange
from arable.wire.volumes import AttachVolumeIn, MigrateVolumeIn, VolumeIn, VolumeOut
from e2e.belief_and_truth import qemus
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.customers import READY, Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real
WITHIN = 240.0  # seconds; a minute on a machine that has nothing else to do
SIZE = {"cpus": 1, "cpu_mhz": 500, "memory_mib": 128, "root_mib": 64, "storage": "shared"}
MUCH = "dd if=/dev/urandom of=/tmp/much bs=64k count=16 2>/dev/null"
KEEP = "dd if=/tmp/much of=/dev/{disk} seek={seek} bs=64k conv=fsync,notrunc 2>/dev/null; md5sum < /tmp/much"
READ = "dd if=/dev/{disk} skip={seek} bs=64k count=16 2>/dev/null | md5sum"
DISK = "while [ ! -b /dev/sda ]; do sleep 1; done"
COUNT = (
    "(i=0; while [ ! -e /tmp/stop ]; do i=$((i+1));"
    " echo $i | dd of=/dev/sda seek=200 bs=64k conv=notrunc,fsync,sync 2>/dev/null; done; echo $i > /tmp/last) &"
)
COUNTED = "touch /tmp/stop; while [ ! -e /tmp/last ]; do sleep 1; done; cat /tmp/last"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).with_name("two-stores.yaml"))
    wanted = Wanted(data=tmp_path_factory.mktemp("two"), topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        yield made


@pytest.fixture(scope="module")
def red(two: LabCloud) -> Iterator[Customer]:
    made = customer(two.operator, two.url, "red")
    yield made
    made.close()


def pools(two: LabCloud) -> dict[str, str]:
    """By id, whose they are."""
    return {pool.id: two.hosts()[pool.host] for pool in two.operator.pools.all() if pool.host}


def deployed(red: Customer, name: str, offering: str, disk: str) -> str:
    """A machine with a further disk; the id of that."""
    red.wait(red.deploy(name, offering=offering))
    made = red.api.volumes.create(VolumeIn(name=f"of-{name}", offering=disk, mib=16))
    red.wait(red.api.volumes.attach(made.id, AttachVolumeIn(machine=red.machine(name).id)).id)
    return made.id


def disks(two: LabCloud, machine: str) -> list[VolumeOut]:
    return [each for each in two.operator.volumes.all() if each.machine == machine]


def read(red: Customer, name: str) -> list[str]:
    """What the disks have that were written to, as the guest sees it."""
    until(lambda: red.machine(name).state == "running", "it runs", WITHIN)
    at = red.at(name)
    at.run(f"{READY}; {DISK}")
    where = (("vda", 0), ("sda", 0), ("sda", 64))
    return [at.run(READ.format(disk=disk, seek=seek)) for disk, seek in where]


def test_disks_go_from_iscsi_to_nbd_under_a_machine_that_runs_and_back_at_rest(
    two: LabCloud, red: Customer
) -> None:
    operator = two.operator
    operator.offerings.create(OfferingIn(name="steady", **SIZE))
    operator.disk_offerings.create(DiskOfferingIn(name="steady-disk", storage="shared"))
    data = deployed(red, "mover", "steady", "steady-disk")
    machine, owners = red.machine("mover").id, pools(two)

    def where() -> set[str]:
        return {owners[each.pool or ""] for each in disks(two, machine)}

    at = red.at("mover")
    at.run(f"{READY}; {DISK}")
    told = [at.run(f"{MUCH}; {KEEP.format(disk=disk, seek=0)}") for disk in ("vda", "sda")]
    told.append(at.run(READ.format(disk="sda", seek=64)))
    at.run(COUNT)
    guests = qemus(two, "a1")
    assert where() == {"s1"}, "where the most room is"
    by_host = {host: pool for pool, host in owners.items()}
    operator.settings.update(SettingsChange(values={"move_mib_per_second": 16}))
    asked = operator.volumes.migrate(data, MigrateVolumeIn(pool=by_host["s2"]))
    operator.operations.wait(asked.id, seconds=int(WITHIN))
    assert where() == {"s2"}, "all its disks went along"
    assert qemus(two, "a1") == guests, "and it ran on"
    last = at.run(COUNTED)
    assert int(last) > 1
    assert at.run("dd if=/dev/sda skip=200 bs=64k count=1 2>/dev/null | head -n 1") == last
    assert read(red, "mover") == told
    with pytest.raises(Conflict, match="nbd only"):
        operator.volumes.migrate(data, MigrateVolumeIn(pool=by_host["s1"]))
    operator.settings.update(SettingsChange(values={"move_mib_per_second": None}))
    red.hang_up()

    red.wait(red.api.machines.stop(machine).id)
    for disk in sorted(disks(two, machine), key=lambda each: -each.position):
        if disk.position:  # the others first: all disks of a machine are in one pool
            red.wait(red.api.volumes.detach(disk.id).id)
        moved = operator.volumes.migrate(disk.id, MigrateVolumeIn(pool=by_host["s1"]))
        operator.operations.wait(moved.id, seconds=int(WITHIN))
    red.wait(red.api.volumes.attach(data, AttachVolumeIn(machine=machine)).id)
    red.wait(red.api.machines.start(machine).id)
    assert where() == {"s1"}, "at rest they may go to it"
    assert read(red, "mover") == told
    red.hang_up()
    red.destroy(["mover"])


def test_a_machine_runs_on_from_replicas_when_its_storage_host_is_lost(
    two: LabCloud, red: Customer
) -> None:
    operator = two.operator
    operator.settings.update(SettingsChange(values={"replicate_seconds": 10}))
    operator.offerings.create(
        OfferingIn(name="safe", highly_available=True, replicated=True, **SIZE)
    )
    safe = DiskOfferingIn(name="safe-disk", storage="shared", replicated=True)
    operator.disk_offerings.create(safe)
    deployed(red, "books", "safe", "safe-disk")
    machine, owners = red.machine("books").id, pools(two)

    def replicated() -> bool:
        """All disks, with all that was written until now."""
        found = [each.replicated_at for each in disks(two, machine)]
        return all(each and each > now for each in found)

    clock = RealClock()
    at = red.at("books")
    at.run(f"{READY}; {DISK}")
    told = [at.run(f"{MUCH}; {KEEP.format(disk=disk, seek=0)}") for disk in ("vda", "sda")]
    now = clock.now()
    until(replicated, "a first point is whole", WITHIN)
    told.append(at.run(f"{MUCH}; {KEEP.format(disk='sda', seek=64)}"))
    now = clock.now()
    until(replicated, "a second point has what was written since", WITHIN)
    (first,) = {owners[each.pool or ""] for each in disks(two, machine)}
    (second,) = {"s1", "s2"} - {first}
    assert {owners[each.replica_pool or ""] for each in disks(two, machine)} == {second}
    red.hang_up()
    before = qemus(two, "a1")
    assert len(before) == 1

    begun = clock.monotonic()
    fail.power_off(two.site, first)
    settled(lambda: {owners[each.pool or ""] for each in disks(two, machine)}, {second}, WITHIN)
    print(f"brought back from replicas after {clock.monotonic() - begun:.1f} s")
    until(lambda: qemus(two, "a1") not in ([], before), "it runs anew", WITHIN)
    assert read(red, "books") == told
    print(f"its guest has read all after {clock.monotonic() - begun:.1f} s")
    told_of = [
        e.subject for e in red.api.events.all(EventQuery()) if e.kind == "volume.failed-over"
    ]
    assert sorted(told_of) == sorted(each.id for each in disks(two, machine)), "its owner knows"

    red.hang_up()
    fail.power_on(two.site, first)
    until(
        lambda: {h.name: h.state for h in operator.hosts.all()}[first] == "up", "it is back", WITHIN
    )
    now = clock.now()
    until(replicated, "replicas are kept there anew", WITHIN)
    assert {owners[each.replica_pool or ""] for each in disks(two, machine)} == {first}
    assert {owners[each.pool or ""] for each in disks(two, machine)} == {second}
    assert read(red, "books") == told
