"""A host that freezes is found out by its peers, powered off by its BMC, and back when an operator says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.lab import fail
from arable.lab.topology import parse
from arable.processes import up
from arable.processes.up import EXAMPLES, Wanted
from arable.runtime.clock import RealClock
from arable.wire.hosts import HostQuery, PowerIn
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.lab_cloud import LabCloud
from e2e.patience import until

pytestmark = pytest.mark.real
WITHIN = 180.0  # seconds; half a minute on a machine that has nothing else to do


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    text = (EXAMPLES / "lab-small.yaml").read_text()
    topology = parse(text if "bmc:" in text else text.replace("    zones:", "    bmc: true\n    zones:"))  # fmt: skip
    wanted = Wanted(data=tmp_path / "cloud", topology=topology, api="127.0.0.1:0")
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
