"""A storage host whose power nobody can see is lost, and an operator says that it has none: all volumes that were there come
back from their replicas at once, of machines that ran on several hosts, that were off, and of none. When it comes back, it
serves none of its old copies.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.client.errors import Conflict
from arable.lab import fail, power
from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.clock import RealClock
from arable.wire.events import EventQuery
from arable.wire.offerings import DiskOfferingIn, OfferingIn
from arable.wire.pools import FailOverIn
from arable.wire.settings import SettingsChange
from arable.wire.volumes import AttachVolumeIn, VolumeIn, VolumeOut
from e2e.belief_and_truth import qemus
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.customers import READY, Customer, customer
from e2e.guest_terminal import Terminal
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real
WITHIN = 300.0  # seconds; a minute on a machine that has nothing else to do
SIZE = {"cpus": 1, "cpu_mhz": 500, "memory_mib": 128, "root_mib": 32, "storage": "shared"}
MACHINES = ("ledger", "clerk", "archive")
"""Each has two disks besides its first."""
WRITE = "dd if=/dev/urandom of=/tmp/{disk} bs=64k count=8 2>/dev/null; dd if=/tmp/{disk} of=/dev/{disk} bs=64k conv=fsync,notrunc 2>/dev/null; md5sum < /tmp/{disk}"
READ = "dd if=/dev/{disk} bs=64k count=8 2>/dev/null | md5sum"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).with_name("lost-pool.yaml"))
    wanted = Wanted(data=tmp_path_factory.mktemp("lab"), topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        yield made


@pytest.fixture(scope="module")
def red(lab: LabCloud) -> Iterator[Customer]:
    made = customer(lab.operator, lab.url, "red")
    yield made
    made.close()


def places(lab: LabCloud) -> dict[str, str]:
    """Of which host's pool a pool's id is."""
    return {pool.id: lab.hosts()[pool.host] for pool in lab.operator.pools.all() if pool.host}


def volumes(lab: LabCloud) -> list[VolumeOut]:
    return list(lab.operator.volumes.all())


def states(lab: LabCloud) -> dict[str, str]:
    return {host.name: host.state for host in lab.operator.hosts.all()}


def files(lab: LabCloud, host: str) -> set[str]:
    """Of which volumes the host has a file that can be served."""
    found = power.agent_disk(lab.site.place, host).glob("**/volumes/volume-*")
    return {path.name.partition(".")[0] for path in found}


def disks(red: Customer, name: str) -> Terminal:
    """A terminal where all of them are there. Those that are attached while a guest runs have names in no order."""
    at = red.at(name)
    at.run(f"{READY}; while [ ! -b /dev/sdb ]; do sleep 1; done")
    return at


def written(red: Customer, name: str) -> set[str]:
    return {disks(red, name).run(WRITE.format(disk=disk)) for disk in ("vda", "sda", "sdb")}


def read(red: Customer, name: str) -> set[str]:
    return {disks(red, name).run(READ.format(disk=disk)) for disk in ("vda", "sda", "sdb")}


def test_all_comes_back_from_replicas_by_an_operators_word_and_the_old_copies_never(
    lab: LabCloud, red: Customer
) -> None:
    operator = lab.operator
    operator.settings.update(SettingsChange(values={"replicate_seconds": 10}))
    for name, again in (("safe", True), ("calm", False)):
        made = OfferingIn(name=name, highly_available=again, replicated=True, **SIZE)
        operator.offerings.create(made)
    safe = DiskOfferingIn(name="safe-disk", storage="shared", replicated=True)
    operator.disk_offerings.create(safe)
    red.wait(
        red.deploy("ledger", offering="safe", tags=("left",)),
        red.deploy("clerk", offering="calm", tags=("right",)),
        red.deploy("archive", offering="safe", tags=("left",)),
    )
    ids = {name: red.machine(name).id for name in MACHINES}
    attaching = []
    for name in MACHINES:
        for at in range(2):
            ask = VolumeIn(name=f"{name}-{at}", offering="safe-disk", mib=16)
            disk = red.api.volumes.create(ask).id
            attaching.append(red.api.volumes.attach(disk, AttachVolumeIn(machine=ids[name])).id)
    red.wait(*attaching)
    told = {name: written(red, name) for name in MACHINES}
    (loose,) = [v for v in volumes(lab) if v.machine == ids["archive"] and v.position == 2]
    red.wait(red.api.volumes.detach(loose.id).id)
    red.wait(red.api.machines.stop(ids["archive"]).id)
    red.hang_up()

    owners, clock = places(lab), RealClock()
    by_host = {host: pool for pool, host in owners.items()}
    now = clock.now()

    def replicated() -> bool:
        """All disks, with all that was written until now."""
        return all(each.replicated_at and each.replicated_at > now for each in volumes(lab))

    until(replicated, "all of it has replicas", WITHIN)
    assert len(volumes(lab)) == 9
    assert {owners[each.pool or ""] for each in volumes(lab)} == {"s1"}, "the most room"
    assert lab.whereabouts() == {"ledger": "a1", "clerk": "a2"}
    before = {host: qemus(lab, host) for host in ("a1", "a2")}

    begun = clock.monotonic()
    fail.power_off(lab.site, "s1")
    until(lambda: states(lab)["s1"] == "down", "it is missed", WITHIN)
    lost = by_host["s1"]
    with pytest.raises(Conflict, match="without power"):
        operator.pools.fail_over(lost, FailOverIn())
    plan = operator.pools.fail_over_plan(lost)
    assert (plan.machines, plan.volumes, plan.left) == (3, 9, 0), plan
    asked = operator.pools.fail_over(lost, FailOverIn(without_power=True))
    operator.operations.wait(asked.id, seconds=int(WITHIN))
    assert {owners[each.pool or ""] for each in volumes(lab)} == {"s2"}
    print(f"brought back by word after {clock.monotonic() - begun:.1f} s")
    for name, host in (("ledger", "a1"), ("clerk", "a2")):
        until(lambda h=host: qemus(lab, h) not in ([], before[h]), "it runs anew", WITHIN)
        assert [machine for machine, _ in qemus(lab, host)] == [ids[name]]
        until(lambda n=name: red.machine(n).state == "running", "it runs", WITHIN)
        assert read(red, name) == told[name], name
    print(f"their guests have read all after {clock.monotonic() - begun:.1f} s")
    assert red.machine("archive").state == "stopped"
    red.wait(red.api.volumes.attach(loose.id, AttachVolumeIn(machine=ids["archive"])).id)
    red.wait(red.api.machines.start(ids["archive"]).id)
    assert read(red, "archive") == told["archive"]
    told_of = [
        e.subject for e in red.api.events.all(EventQuery()) if e.kind == "volume.failed-over"
    ]
    assert sorted(told_of) == sorted(each.id for each in volumes(lab)), "their owner knows"

    assert files(lab, "s1") == {each.id for each in volumes(lab)}
    running = {host: qemus(lab, host) for host in ("a1", "a2")}
    fail.power_on(lab.site, "s1")
    until(lambda: states(lab)["s1"] == "up", "it is back", WITHIN)
    now = clock.now()
    until(replicated, "replicas are kept there anew", WITHIN)
    settled(lambda: files(lab, "s1"), set(), WITHIN)
    assert {owners[each.pool or ""] for each in volumes(lab)} == {"s2"}
    assert {owners[each.replica_pool or ""] for each in volumes(lab)} == {"s1"}
    assert {host: qemus(lab, host) for host in ("a1", "a2")} == running, "nobody noticed"
    for name in MACHINES:
        assert read(red, name) == told[name], name
