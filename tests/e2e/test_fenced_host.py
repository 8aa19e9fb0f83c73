"""A host that freezes is found out by its peers, powered off by its BMC, and back when an operator says so; and one that
sleeps for want of work is woken by its BMC for a machine that no other host may have.
"""

from collections.abc import Iterator

import pytest

from arable.lab import fail
from arable.lab.topology import parse
from arable.processes import up
from arable.processes.up import EXAMPLES, Wanted
from arable.runtime.clock import RealClock
from arable.wire.hosts import HostChange, HostQuery, PowerIn
from arable.wire.machines import DeployIn
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.lab_cloud import LabCloud
from e2e.patience import until

pytestmark = pytest.mark.real
WITHIN = 180.0  # seconds; half a minute on a machine that has nothing else to do


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    text = (EXAMPLES / "lab-small.yaml").read_text()
    topology = parse(text if "bmc:" in text else text.replace("    zones:", "    bmc: true\n    zones:"))  # fmt: skip
    wanted = Wanted(data=tmp_path_factory.mktemp("fenced"), topology=topology, api="127.0.0.1:0")
    assert up.topology_of(None).regions[0].bmc, "as in the lab that people get"
    with lab_cloud(wanted) as made:
        yield made


def test_a_frozen_host_is_powered_off_and_comes_back_when_it_is_powered_on(
    cloud: LabCloud,
) -> None:
    hosts = cloud.operator.hosts
    known = {host.name: host.id for host in hosts.all(HostQuery())}
    name, *others = sorted(known)
    clock = RealClock()

    def peers() -> list[str]:
        found = hosts.get(known[name]).signals
        return [each.name for each in found if each.kind == "peer" and each.sees]

    until(lambda: peers() == others, "its peers look after it", WITHIN)
    begun = clock.monotonic()
    fail.freeze(cloud.site, name)
    until(lambda: hosts.get(known[name]).state == "down", "it is down", WITHIN)
    found_out = clock.monotonic() - begun
    until(lambda: hosts.get(known[name]).powered_off, "it is powered off", WITHIN)
    print(f"down after {found_out:.1f} s, powered off after {clock.monotonic() - begun:.1f} s")
    assert cloud.site.init(name) is None, "it really is"
    shown = hosts.get(known[name])
    assert "it is powered off" in shown.told
    assert shown.bmc is not None
    assert shown.bmc.seen == "off"
    assert [hosts.get(known[other]).state for other in others] == ["up"] * len(others)
    hosts.power(known[name], PowerIn(power="on"))
    until(lambda: hosts.get(known[name]).state == "up", "it is up again", WITHIN)
    assert not hosts.get(known[name]).powered_off


def test_a_host_without_work_sleeps_and_is_woken_for_a_machine_that_needs_it(
    cloud: LabCloud,
) -> None:
    hosts = cloud.operator.hosts
    (name,) = [host.name for host in hosts.all() if host.roles == ("compute",)]
    (id_,) = [host.id for host in hosts.all() if host.name == name]
    hosts.update(id_, HostChange(tags=("this-one",)))
    clock = RealClock()
    begun = clock.monotonic()
    assert "powered down" in hosts.sleep(id_).told
    until(lambda: hosts.get(id_).state == "asleep", "it sleeps", WITHIN)
    assert cloud.site.init(name) is None, "it really is without power"
    alarmed = [alert.name for alert in cloud.operator.alerts.all()]
    assert name not in alarmed, "and nobody is alarmed for it"
    asked = cloud.operator.machines.deploy(
        DeployIn(name="here", image="tiny", offering="tiny", tags=("this-one",))
    )
    (machine,) = cloud.operator.machines.all()
    until(
        lambda: f"{name} is being woken for it" in cloud.operator.machines.explain(machine.id).says,
        "the machine says what it waits for",
        WITHIN,
    )
    cloud.operator.operations.wait(asked.operation, seconds=int(WITHIN))
    assert cloud.whereabouts() == {"here": name}
    assert hosts.get(id_).state == "up"
    print(f"asleep, awake and a machine on it after {clock.monotonic() - begun:.1f} s")
