"""Machines that write, on disks of an iSCSI pool: volumes come and go, and are kept, again and again; then a host is put
into maintenance, and its machine goes to the other one. Nothing is lost.

`CYCLES=100` has a volume come and go so often; a few times are what every run can afford.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.groups import GroupIn
from arable.wire.hosts import HostChange
from arable.wire.offerings import DiskOfferingIn, OfferingIn
from arable.wire.operations import OperationQuery
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import AttachVolumeIn, VolumeChange, VolumeIn
from e2e.belief_and_truth import qemus
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.customers import READY, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import until

pytestmark = pytest.mark.real
WITHIN = 240.0

# Numbers, one after the other, each on the disk before the next one is begun.
COUNT = (
    "(n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); printf %-512d $n |"
    " dd of=/dev/vda bs=512 seek=$n conv=notrunc,fsync 2>/dev/null || echo $n >> /tmp/failed;"
    " echo $n > /tmp/n.new; mv /tmp/n.new /tmp/n; done; echo yes > /tmp/done) & true"
)
COUNTS_ON = "was=$(cat /tmp/n); while [ $(cat /tmp/n) = $was ]; do sleep 1; done; cat /tmp/n"
ALL_THERE = (
    "touch /tmp/stop; while [ ! -e /tmp/done ]; do sleep 1; done; echo 3 > /proc/sys/vm/drop_caches;"
    "count=$(cat /tmp/n); dd if=/dev/vda bs=512 skip=1 count=$count 2>/dev/null | tr -d '\\0' | tr -s ' ' '\\n'"
    " | grep -v '^$' > /tmp/is; seq 1 $count > /tmp/should; cmp /tmp/is /tmp/should && [ ! -e /tmp/failed ]"
)

# On a disk that came while it ran, and goes with it.
FURTHER = (
    "while [ ! -b /dev/sda ]; do sleep 1; done;"
    "dd if=/dev/urandom of=/tmp/much bs=64k count=16 2>/dev/null;"
    "dd if=/tmp/much of=/dev/sda conv=fsync 2>/dev/null; md5sum < /tmp/much; rm /tmp/much"
)
READ = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/sda bs=64k count=16 2>/dev/null | md5sum"


CYCLES = int(os.environ.get("CYCLES", "3"))
LONG = 600.0  # a machine that does much else reads slowly
PLUGGED = "while [ ! -b /dev/sda ]; do sleep 1; done"
GONE = "while [ -e /sys/block/sda ]; do sleep 1; done"
# A chunk of its own in each cycle, on the disk before the next word; behind all chunks somebody writes all the time.
CHUNK, CHUNKS, BEHIND = 8, 200, 450  # KiB; of 32 KiB
WRITES = "dd if=/dev/urandom bs={chunk}k count=2 2>/dev/null | dd of=/dev/sda bs={chunk}k seek={at} conv=notrunc,fsync 2>/dev/null"
LOAD = (
    "rm -f /tmp/quiet /tmp/calm; (while [ ! -e /tmp/quiet ]; do dd if=/dev/urandom of=/dev/sda bs=32k count=4"
    f" seek={BEHIND} conv=notrunc,fsync 2>/dev/null; done; touch /tmp/calm) & true"
)
QUIET = "touch /tmp/quiet; while [ ! -e /tmp/calm ]; do sleep 1; done"
SUM = (
    "echo 3 > /proc/sys/vm/drop_caches;"
    f" dd if=/dev/sda bs={CHUNK}k count={2 * CHUNKS} 2>/dev/null | md5sum"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).parent / "iscsi.yaml")
    folder = tmp_path_factory.mktemp("shared") / "cloud"
    wanted = Wanted(data=folder, topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        ask = OfferingIn(
            name="movable", cpus=1, cpu_mhz=500, memory_mib=128, root_mib=64, storage="shared"
        )
        made.operator.offerings.create(ask)
        made.operator.disk_offerings.create(DiskOfferingIn(name="common", storage="shared"))
        yield made


def test_a_volume_comes_and_goes_and_is_kept_while_machines_write(shared: LabCloud) -> None:
    """On two hosts in turn. What was on it is there each time, and when it is set back; and many may read it in the end."""
    blue = customer(shared.operator, shared.url, "blue")
    api = blue.api
    api.groups.create(GroupIn(name="apart", rule="apart"))
    blue.wait(blue.deploy("web", offering="movable", count=2, group="apart"))
    machines = ["web-1", "web-2"]
    ids = {name: blue.machine(name).id for name in machines}
    for name in machines:
        blue.at(name).run(READY)
        blue.at(name).run(COUNT)
    volume = api.volumes.create(VolumeIn(name="data", offering="common", mib=16)).id
    told, kept, clock = "", list[str](), RealClock()
    begun = clock.monotonic()
    for cycle in range(CYCLES):
        name = machines[cycle % 2]
        at = blue.at(name)
        blue.wait(api.volumes.attach(volume, AttachVolumeIn(machine=ids[name])).id)
        at.run(PLUGGED)
        assert not told or at.run(SUM, seconds=LONG) == told, f"cycle {cycle}"
        at.run(WRITES.format(chunk=CHUNK, at=2 * (cycle % CHUNKS)), seconds=LONG)
        told = at.run(SUM, seconds=LONG)
        at.run(LOAD)
        made = api.snapshots.create(SnapshotIn(name=f"s{cycle}", volume=volume))
        blue.wait(made.operation)
        kept.append(made.snapshot.id)
        if len(kept) > 2:
            blue.wait(api.snapshots.delete(kept.pop(0)).id)
        at.run(QUIET)
        # Written behind the snapshot's back: it must not be there when the volume is set back.
        at.run(WRITES.format(chunk=CHUNK, at=0))
        blue.wait(api.volumes.detach(volume).id)
        at.run(GONE)
        blue.wait(api.snapshots.restore(kept[-1]).id)
    print(f"{CYCLES} cycles in {clock.monotonic() - begun:.0f} s")
    assert api.volumes.update(volume, VolumeChange(share="read-only")).share == "read-only"
    for name in machines:
        blue.wait(api.volumes.attach(volume, AttachVolumeIn(machine=ids[name])).id)
    for name in machines:
        at = blue.at(name)
        at.run(PLUGGED)
        assert at.run(SUM, seconds=LONG) == told
        assert at.run("cat /sys/block/sda/ro").strip() == "1"
        at.run("dd if=/dev/zero of=/dev/sda bs=4k count=1 conv=notrunc,fsync", fails=True)
        assert at.run(SUM, seconds=LONG) == told
        at.run(ALL_THERE)
    blue.hang_up()
    blue.destroy(machines)
    left = {each.id: each.state for each in api.volumes.all()}
    assert left == {volume: "available"}
    for snapshot in kept:
        blue.wait(api.snapshots.delete(snapshot).id)
    blue.wait(api.volumes.delete(volume).id)
    blue.close()


def test_its_machine_leaves_while_it_writes_and_answers_on_the_other_one(shared: LabCloud) -> None:
    red = customer(shared.operator, shared.url, "red")
    red.wait(red.deploy("web", offering="movable"))
    at = red.at("web")
    at.run(READY)
    booted = at.run("cat /proc/sys/kernel/random/boot_id")
    volume = red.api.volumes.create(VolumeIn(name="data", offering="common", mib=16)).id
    red.wait(red.api.volumes.attach(volume, AttachVolumeIn(machine=red.machine("web").id)).id)
    told = at.run(FURTHER)
    at.run(COUNT)
    at.run("while [ ! -s /tmp/n ]; do sleep 1; done")
    before = int(at.run(COUNTS_ON))
    red.hang_up()
    old = shared.whereabouts()["web"]
    (new,) = {"a1", "a2"} - {old}
    known = {host.name: host.id for host in shared.operator.hosts.all()}
    clock = RealClock()
    begun = clock.monotonic()
    shared.operator.hosts.update(known[old], HostChange(maintenance=True))
    (drained,) = until(
        lambda: list(
            shared.operator.operations.all(OperationQuery(kind="host.drain", state=("done",)))
        ),
        "the host is empty",
        WITHIN,
    )
    print(f"emptied after {clock.monotonic() - begun:.1f} s")
    assert shared.whereabouts()["web"] == new
    assert drained.steps[-2].text == f"{old} is empty"
    assert not shared.operator.hosts.get(known[old]).staying
    assert red.machine("web").state == "running"
    until(lambda: not qemus(shared, old), "nothing runs there", WITHIN)
    runs = [red.machine("web").id]
    until(lambda: [one for one, _ in qemus(shared, new)] == runs, "it runs on the other", WITHIN)
    at = red.at("web")
    assert at.run("cat /proc/sys/kernel/random/boot_id") == booted
    assert int(at.run(COUNTS_ON)) > before
    at.run(ALL_THERE)
    assert at.run(READ) == told
    red.wait(red.api.volumes.detach(volume).id)
    at.run("[ ! -e /sys/block/sda ]")
    left = red.api.volumes.get(volume)
    assert (left.state, left.placed) == ("available", True)
    red.close()
