"""After a network's last machine, what it had on hosts and wires goes, and some time later its appliance."""

from collections.abc import Iterator

import pytest

from arable.wire.settings import SettingsChange
from e2e.belief_and_truth import Account, believed, true
from e2e.customers import Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import settled

pytestmark = pytest.mark.real

IDLE = "appliance_idle_seconds"


@pytest.fixture
def impatient(cloud: LabCloud) -> Iterator[None]:
    """Appliances without machines stay for ten seconds: the least that can be set."""
    cloud.operator.settings.update(SettingsChange(values={IDLE: 10}))
    yield
    cloud.operator.settings.update(SettingsChange(values={IDLE: None}))


def test_a_network_leaves_hosts_and_wires_with_its_last_machine(
    cloud: LabCloud, red: Customer, blue: Customer, impatient: None
) -> None:
    before = true(cloud)
    yellow = customer(cloud.operator, cloud.url, "yellow")
    try:
        yellow.wait(yellow.deploy("only", tags=("right",)))
        tag = cloud.vlan(yellow.network().id)
        during = true(cloud)
        assert during == believed(cloud)
        assert tag in during["b1"].tags & during["a1"].tags
        assert during["a1"].appliances == before["a1"].appliances + 1
        yellow.destroy(["only"])
        # On the host that had the machine, at once; its router is elsewhere.
        settled(lambda: true(cloud)["b1"], before["b1"])
        assert tag in true(cloud)["a1"].tags
        settled(lambda: true(cloud)["a1"], before["a1"])
        settled(lambda: yellow.network().appliance, "absent")  # known once its host has said so
        # The network is still the customer's, and comes back with its next machine.
        yellow.wait(yellow.deploy("again", tags=("right",)))
        assert cloud.vlan(yellow.network().id) == tag
        assert true(cloud) == believed(cloud)
        yellow.destroy(["again"])
        settled(lambda: true(cloud)["a1"], before["a1"])
        assert true(cloud) == before
    finally:
        yellow.close()


def test_an_appliance_with_machines_stays(
    cloud: LabCloud, red: Customer, blue: Customer, impatient: None
) -> None:
    networks = {red.network().id, blue.network().id}
    assert {n.id for n in cloud.operator.networks.all() if n.appliance == "running"} >= networks
    assert true(cloud)["a1"].appliances == len(networks)
    accounts: dict[str, Account] = believed(cloud)
    assert true(cloud) == accounts
