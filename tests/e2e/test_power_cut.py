"""A host loses its power and gets it back: the machines that should run there run again, on the same network."""

import pytest

from arable.lab import fail
from e2e.belief_and_truth import believed, qemus, true
from e2e.customers import READY, Customer
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real


def test_machines_run_again_after_their_host_had_no_power(
    cloud: LabCloud, red: Customer, blue: Customer
) -> None:
    where = cloud.whereabouts()
    here, there = sorted(red.machines(), key=lambda name: where[name])
    lost, kept = qemus(cloud, "b1"), qemus(cloud, "a1")
    assert {machine for machine, _ in lost} >= {red.machine(there).id, blue.machine("right").id}
    for who in (red, blue):
        who.hang_up()
    fail.power_off(cloud.site, "b1")
    assert not [one for _, one in lost if one.alive]
    red.at(here).run(f"ping -c 1 -W 1 {red.address(there)}", fails=True)
    fail.power_on(cloud.site, "b1")
    settled(lambda: [machine for machine, _ in qemus(cloud, "b1")], [m for m, _ in lost])
    until(
        lambda: {m.state for m in (red.machine(there), blue.machine("right"))} == {"running"},
        "the machines run again",
    )
    assert qemus(cloud, "a1") == kept
    assert cloud.whereabouts() == where
    for who, name in ((red, there), (blue, "right")):
        assert who.at(name).run(f"{READY} && hostname").strip() == name
    red.at(there).run(f"wget -q -O /dev/null http://{here}/")
    assert red.at(here).run(f"wget -q -O - http://{there}/").startswith(f"hostname={there}")
    assert blue.at("left").run("wget -q -O - http://right/").startswith("hostname=right")
    assert true(cloud) == believed(cloud)
