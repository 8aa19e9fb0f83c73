"""A host is put into maintenance: its machine, on disks of an iSCSI pool, goes to the other one while it writes, and loses nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.hosts import HostChange
from arable.wire.offerings import DiskOfferingIn, OfferingIn
from arable.wire.operations import OperationQuery
from arable.wire.volumes import AttachVolumeIn, VolumeIn
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


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).parent / "iscsi.yaml")
    wanted = Wanted(data=tmp_path / "cloud", topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        yield made


def test_its_machine_leaves_while_it_writes_and_answers_on_the_other_one(shared: LabCloud) -> None:
    ask = OfferingIn(
        name="movable", cpus=1, cpu_mhz=500, memory_mib=128, root_mib=64, storage="shared"
    )
    shared.operator.offerings.create(ask)
    red = customer(shared.operator, shared.url, "red")
    red.wait(red.deploy("web", offering="movable"))
    at = red.at("web")
    at.run(READY)
    booted = at.run("cat /proc/sys/kernel/random/boot_id")
    more = DiskOfferingIn(name="common", storage="shared")
    shared.operator.disk_offerings.create(more)
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
