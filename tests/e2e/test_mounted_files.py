"""A machine whose disks are files in a directory that two hosts have mounted, and a third one keeps.

What a customer does with disks works as with others; it moves while it runs; and whatever is lost, it runs again with all
that it wrote, on one host: another one when its own has no power, and its own when the keeper was away for too long.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from arable.client.errors import Conflict
from arable.lab import fail, power
from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.hosts import PowerIn
from arable.wire.images import ImageIn
from arable.wire.machines import MoveIn
from arable.wire.offerings import DiskOfferingIn, OfferingIn
from arable.wire.snapshots import SnapshotIn
from arable.wire.volumes import (
    AttachVolumeIn,
    DetachVolumeIn,
    LimitVolumeIn,
    MigrateVolumeIn,
    ResizeVolumeIn,
    VolumeChange,
    VolumeIn,
    VolumeQuery,
)
from e2e.belief_and_truth import qemus, said
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.customers import READY, Customer, customer
from e2e.guest_terminal import Terminal
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real
WITHIN = 240.0  # seconds; a minute on a machine that has nothing else to do
MIB = 1 << 20
WRITE = (
    "dd if=/dev/urandom of=/tmp/much bs=64k count=16 2>/dev/null;"
    " dd if=/tmp/much of=/dev/{disk} bs=1M seek={at} conv=fsync,notrunc 2>/dev/null; md5sum < /tmp/much"
)
READ = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/{disk} bs=1M skip={at} count=1 2>/dev/null | md5sum"
DISK = "while [ ! -b /dev/sda ]; do sleep 1; done"
GONE = "while [ -e /sys/block/sda ]; do sleep 1; done"
BOOT = "cat /proc/sys/kernel/random/boot_id"
HOSTS = frozenset({"a1", "a2"})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).with_name("files.yaml"))
    wanted = Wanted(data=tmp_path_factory.mktemp("files"), topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        yield made


@pytest.fixture(scope="module")
def red(lab: LabCloud) -> Iterator[Customer]:
    """With the machine `web`, which has a volume `data`; both stay."""
    size = {"cpus": 1, "cpu_mhz": 500, "memory_mib": 128, "root_mib": 64, "storage": "shared"}
    lab.operator.offerings.create(OfferingIn(name="steady", highly_available=True, **size))
    lab.operator.disk_offerings.create(DiskOfferingIn(name="further", storage="shared"))
    until(lambda: mounted(lab) == HOSTS, "they have seen that the pool is kept", WITHIN)
    made = customer(lab.operator, lab.url, "red")
    made.wait(made.deploy("web", offering="steady"))
    made.api.volumes.create(VolumeIn(name="data", offering="further", mib=16))
    attach(made)
    yield made
    made.close()


def mounted(lab: LabCloud) -> set[str]:
    """Hosts that would take machines of the pool."""
    return {host.name for host in lab.operator.hosts.all() if host.facts.get("mounts")}


def data(red: Customer) -> str:
    (found,) = [each.id for each in red.api.volumes.all() if each.name == "data"]
    return found


def attach(red: Customer) -> Terminal:
    """The volume `data` to the machine, which runs."""
    red.wait(red.api.volumes.attach(data(red), AttachVolumeIn(machine=red.machine("web").id)).id)
    at = red.at("web")
    at.run(f"{READY}; {DISK}")
    return at


def runs(lab: LabCloud, red: Customer, host: str) -> Terminal:
    """The machine runs there, and nowhere else."""
    until(lambda: red.machine("web").state == "running", "it runs", WITHIN)
    until(lambda: lab.whereabouts()["web"] == host, f"on {host}", WITHIN)
    settled(lambda: [one for one, _ in qemus(lab, host)], [red.machine("web").id])
    for other in HOSTS - {host}:
        if lab.site.init(other):
            assert not qemus(lab, other)
    at = red.at("web")
    at.run(f"{READY}; {DISK}")
    return at


def read(at: Terminal) -> list[str]:
    return [at.run(READ.format(disk=disk, at=at_)) for disk, at_ in (("vda", 0), ("sda", 0))]


def kept(lab: LabCloud, what: str = "") -> list[str]:
    """Whatever in the pool's directory is of that volume, or of any volume or machine."""
    root = power.files(lab.site.place, "k1")
    names = [str(each.relative_to(root)) for each in root.rglob("*")]
    return sorted(
        name for name in names if (what in name) and ("volume-" in name or "machine-" in name)
    )


def migrated(lab: LabCloud, volume: str, pool: str) -> str:
    """The operation; empty while a copy of before is still being erased."""
    try:
        return lab.operator.volumes.migrate(volume, MigrateVolumeIn(pool=pool)).id
    except Conflict as refused:
        if "still being erased" not in str(refused):
            raise
        return ""


def is_up(lab: LabCloud, host: str) -> bool:
    return {each.name: each.state for each in lab.operator.hosts.all()}[host] == "up"


def test_its_disks_grow_and_are_kept_while_it_runs_and_are_set_back_at_rest(
    lab: LabCloud, red: Customer
) -> None:
    api, volume, machine = red.api, data(red), red.machine("web").id
    at = red.at("web")
    booted = at.run(BOOT)
    root, early = (at.run(WRITE.format(disk=disk, at=0)) for disk in ("vda", "sda"))
    made = api.snapshots.create(SnapshotIn(name="early", volume=volume))
    red.wait(made.operation)
    red.wait(api.volumes.resize(volume, ResizeVolumeIn(mib=32)).id)
    assert int(at.run("cat /sys/block/sda/size")) * 512 == 32 * MIB
    late = at.run(WRITE.format(disk="sda", at=0))
    far = at.run(WRITE.format(disk="sda", at=20))
    assert [at.run(READ.format(disk="sda", at=where)) for where in (0, 20)] == [late, far]
    red.wait(api.volumes.detach(volume).id)
    at.run(GONE)
    attach(red)
    assert read(at) == [root, late]
    assert at.run(BOOT) == booted, "it ran all the while"
    red.wait(api.volumes.detach(volume).id)
    at.run(GONE)
    red.wait(api.snapshots.restore(made.snapshot.id).id)
    attach(red)
    assert read(at) == [root, early]
    assert at.run(BOOT) == booted
    # The root disk, too, which its machine must be off for.
    first = next(
        each.id for each in api.volumes.all() if each.machine == machine and not each.position
    )
    whole = api.snapshots.create(SnapshotIn(name="whole", volume=first))
    red.wait(whole.operation)
    assert at.run(WRITE.format(disk="vda", at=0)) != root
    red.hang_up()
    red.wait(api.machines.stop(machine).id)
    red.wait(api.snapshots.restore(whole.snapshot.id).id)
    red.wait(api.machines.start(machine).id)
    assert read(runs(lab, red, lab.whereabouts()["web"])) == [root, early]
    for each in (made, whole):
        red.wait(api.snapshots.delete(each.snapshot.id).id)


def test_what_was_kept_is_copied_and_read_by_many_while_its_machine_runs(
    lab: LabCloud, red: Customer
) -> None:
    """The keeper reads what a host has open."""
    api, volume, machine, at = red.api, data(red), red.machine("web").id, red.at("web")
    was = at.run(WRITE.format(disk="sda", at=0))
    made = api.snapshots.create(SnapshotIn(name="now", volume=volume))
    red.wait(made.operation)
    later = at.run(WRITE.format(disk="sda", at=0))
    copied = api.volumes.create(VolumeIn(name="copy", offering="further", snapshot="now"))
    assert copied.operation, "it takes a while"
    red.wait(copied.operation)
    image = api.images.create(ImageIn(name="as-now", snapshot="now"))
    assert image.operation, "its host brings it"
    red.wait(image.operation)
    lab.operator.operations.wait(
        lab.operator.volumes.limit(volume, LimitVolumeIn(iops=500)).id, seconds=int(WITHIN)
    )
    words = ("virsh", "blkdeviotune", machine, "sda")
    assert "total_iops_sec : 500" in said(lab, lab.whereabouts()["web"], *words)
    assert read(at)[1] == later
    red.wait(api.volumes.detach(volume).id)
    at.run(GONE)
    api.volumes.update(copied.id, VolumeChange(share="read-only"))
    red.wait(api.volumes.attach(copied.id, AttachVolumeIn(machine=machine)).id)
    at.run(DISK)
    assert read(at)[1] == was
    assert at.run("cat /sys/block/sda/ro").strip() == "1"
    red.wait(api.volumes.detach(copied.id, DetachVolumeIn(machine=machine)).id)
    at.run(GONE)
    readers = VolumeQuery(view_of=copied.id)
    until(lambda: not list(api.volumes.all(readers)), "its way to read is forgotten", WITHIN)
    red.wait(api.volumes.delete(copied.id).id)
    fresh = api.volumes.create(VolumeIn(name="fresh", offering="further", image="as-now"))
    red.wait(api.volumes.attach(fresh.id, AttachVolumeIn(machine=machine)).id)
    at.run(DISK)
    assert read(at)[1] == was
    red.wait(api.volumes.detach(fresh.id).id)
    at.run(GONE)
    red.wait(api.volumes.delete(fresh.id).id)
    red.wait(api.snapshots.delete(made.snapshot.id).id)
    attach(red)
    assert read(at)[1] == later


def test_a_volume_goes_to_a_pool_of_another_kind_and_comes_back(
    lab: LabCloud, red: Customer
) -> None:
    operator, volume, at = lab.operator, data(red), red.at("web")
    told = at.run(WRITE.format(disk="sda", at=0))
    owners = {lab.hosts()[each.host]: each.id for each in operator.pools.all() if each.host}
    made = red.api.snapshots.create(SnapshotIn(name="goes-along", volume=volume))
    red.wait(made.operation)
    red.wait(red.api.volumes.detach(volume).id)
    at.run(GONE)
    assert kept(lab, volume)
    for host in ("s1", "k1"):
        begin = partial(migrated, lab, volume, owners[host])
        asked = until(begin, "what was left of it before is erased", WITHIN)
        operator.operations.wait(asked, seconds=int(WITHIN))
        assert operator.volumes.get(volume).pool == owners[host]
        settled(lambda: bool(kept(lab, volume)), host == "k1")
    attach(red)
    assert read(at)[1] == told
    red.wait(red.api.snapshots.delete(made.snapshot.id).id)


def test_it_moves_while_it_runs_and_writes_on_the_other_host(lab: LabCloud, red: Customer) -> None:
    at = red.at("web")
    booted, told = at.run(BOOT), [at.run(WRITE.format(disk=disk, at=0)) for disk in ("vda", "sda")]
    red.hang_up()
    old = lab.whereabouts()["web"]
    (new,) = HOSTS - {old}
    known = {name: id_ for id_, name in lab.hosts().items()}
    asked = lab.operator.machines.move(red.machine("web").id, MoveIn(to=known[new]))
    lab.operator.operations.wait(asked.id, seconds=int(WITHIN))
    at = runs(lab, red, new)
    assert at.run(BOOT) == booted
    assert read(at) == told
    told = [at.run(WRITE.format(disk=disk, at=0)) for disk in ("vda", "sda")]
    assert read(at) == told
    red.hang_up()


def test_it_starts_on_the_other_host_when_its_own_is_powered_off_because_it_froze(
    lab: LabCloud, red: Customer
) -> None:
    """Its QEMU has the files locked until then, and nobody else is let in."""
    at = red.at("web")
    told = [at.run(WRITE.format(disk=disk, at=0)) for disk in ("vda", "sda")]
    red.hang_up()
    old = lab.whereabouts()["web"]
    (new,) = HOSTS - {old}
    (frozen,) = qemus(lab, old)
    clock = RealClock()
    begun = clock.monotonic()
    fail.freeze(lab.site, old)
    until(lambda: not frozen[1].alive, "it is powered off", WITHIN)
    at = runs(lab, red, new)
    print(f"frozen, powered off, and it runs elsewhere after {clock.monotonic() - begun:.1f} s")
    assert read(at) == told
    known = {name: id_ for id_, name in lab.hosts().items()}
    lab.operator.hosts.power(known[old], PowerIn(power="on"))
    until(lambda: is_up(lab, old), "the old host is back", WITHIN)
    assert read(runs(lab, red, new)) == told


def test_it_starts_on_the_other_host_when_its_own_is_gone_and_nobody_can_switch_it(
    lab: LabCloud, red: Customer
) -> None:
    at = red.at("web")
    told = [at.run(WRITE.format(disk=disk, at=0)) for disk in ("vda", "sda")]
    red.hang_up()
    old = lab.whereabouts()["web"]
    (new,) = HOSTS - {old}
    known = {name: id_ for id_, name in lab.hosts().items()}
    lab.operator.hosts.remove_bmc(known[old])
    clock = RealClock()
    begun = clock.monotonic()
    fail.power_off(lab.site, old)
    at = runs(lab, red, new)
    print(f"it runs elsewhere after {clock.monotonic() - begun:.1f} s")
    assert read(at) == told
    fail.power_on(lab.site, old)
    until(lambda: is_up(lab, old), "the old host is back", WITHIN)
    assert read(runs(lab, red, new)) == told


def test_it_runs_on_without_the_keeper_for_a_lease_and_starts_again_when_that_is_back(
    lab: LabCloud, red: Customer
) -> None:
    host = lab.whereabouts()["web"]
    before = qemus(lab, host)
    fail.kill_agent(lab.site, "k1")
    fail.start_agent(lab.site, "k1")
    until(lambda: is_up(lab, "k1"), "it is back", WITHIN)
    at = red.at("web")
    told = [at.run(WRITE.format(disk=disk, at=0)) for disk in ("vda", "sda")]
    assert qemus(lab, host) == before, "it did not notice"
    fail.kill_agent(lab.site, "k1")
    red.hang_up()
    settled(lambda: qemus(lab, host), [], WITHIN)
    fail.start_agent(lab.site, "k1")
    until(lambda: qemus(lab, host) not in ([], before), "it is started anew", WITHIN)
    assert read(runs(lab, red, host)) == told


def test_nothing_of_it_is_left_when_it_is_deleted(lab: LabCloud, red: Customer) -> None:
    machine = red.machine("web").id
    assert kept(lab)
    red.hang_up()
    red.destroy(["web"])
    red.wait(red.api.volumes.delete(data(red)).id)
    # Which epochs a machine has had is not forgotten: they are over for ever.
    settled(lambda: kept(lab), [f"leases/machines/{machine}"])
