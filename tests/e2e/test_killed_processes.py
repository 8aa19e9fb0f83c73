"""Agents and management servers die between two instructions. Machines don't notice, and what was begun is ended."""

from collections.abc import Iterator

import pytest

from arable.client.errors import Unreachable
from arable.lab import fail
from arable.lab.living import Process
from arable.runtime.entropy import Entropy
from e2e.belief_and_truth import believed, qemus, true
from e2e.customers import Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real


@pytest.fixture
def green(cloud: LabCloud) -> Iterator[Customer]:
    """A customer for one test; nothing of it is left."""
    made = customer(cloud.operator, cloud.url, f"green-{Entropy.system().letters(8)}")
    try:
        yield made
        made.destroy(made.machines())
    finally:
        made.close()


@pytest.fixture(autouse=True)
def _lines_end(red: Customer, blue: Customer) -> Iterator[None]:
    """Terminals end with those that are killed here."""
    yield
    for who in (red, blue):
        who.hang_up()


def running(cloud: LabCloud) -> list[tuple[str, Process]]:
    return [one for host in ("a1", "b1") for one in qemus(cloud, host)]


def all_is_as_believed(cloud: LabCloud) -> None:
    """Nothing twice, nothing lost, nothing left over."""
    settled(lambda: true(cloud) == believed(cloud), wanted=True, seconds=30)
    assert true(cloud) == believed(cloud)


def test_machines_do_not_notice_that_agents_die(
    cloud: LabCloud, red: Customer, blue: Customer
) -> None:
    before = running(cloud)
    assert len(before) >= 4
    for who in (red, blue):
        who.hang_up()
    fail.kill_agent(cloud.site, "b1")
    page = red.at("red-1") if cloud.whereabouts()["red-1"] == "a1" else red.at("red-2")
    partner = "red-2" if cloud.whereabouts()["red-1"] == "a1" else "red-1"
    assert page.run(f"wget -q -O - http://{partner}/").startswith(f"hostname={partner}")
    fail.start_agent(cloud.site, "b1")
    fail.kill_agent(cloud.site, "a1")
    fail.start_agent(cloud.site, "a1")
    red.hang_up()
    for name in ("red-1", "red-2"):
        assert red.at(name).run("hostname").strip() == name
    assert running(cloud) == before
    all_is_as_believed(cloud)


def test_an_agent_that_dies_in_the_middle_of_a_deployment_ends_it_later(
    cloud: LabCloud, red: Customer, green: Customer
) -> None:
    before = running(cloud)
    for name in ("late", "later", "latest"):
        begun = true(cloud)["b1"].volumes
        operation = green.deploy(name, tags=("right",))
        until(lambda: true(cloud)["b1"].volumes - begun, "b1 begins with the deployment")  # noqa: B023
        fail.kill_agent(cloud.site, "b1")
        in_the_middle = green.api.operations.get(operation).state == "running"
        fail.start_agent(cloud.site, "b1")
        green.wait(operation)
        if in_the_middle:
            break
    assert in_the_middle
    ours = {machine.id for machine in green.machines().values()}
    assert [one for one in running(cloud) if one[0] not in ours] == before
    all_is_as_believed(cloud)


def test_a_server_that_dies_in_the_middle_of_deployments_ends_them_later(
    cloud: LabCloud, red: Customer, green: Customer
) -> None:
    before = running(cloud)
    operations = [green.deploy(f"many-{n}", tags=(tag,)) for n, tag in enumerate(("left", "right"))]
    fail.kill_server(cloud.site, "home")
    fail.start_server(cloud.site, "home")
    until(lambda: _answers(green), "the server answers again")
    operations.append(green.deploy("after", tags=("right",)))
    until(lambda: len(running(cloud)) > len(before), "the first machine starts")
    fail.kill_server(cloud.site, "home")
    fail.start_server(cloud.site, "home")
    until(lambda: _answers(green), "the server answers again")
    green.wait(*operations)
    assert {machine.state for machine in green.machines().values()} == {"running"}
    assert [one for one in running(cloud) if one in before] == before
    all_is_as_believed(cloud)


def _answers(who: Customer) -> bool:
    try:
        return bool(who.api.users.whoami())
    except Unreachable:
        return False
