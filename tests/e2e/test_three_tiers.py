"""The shipped blueprints and the example made of them, in a real lab: a database keeps what it counted over its machine's end."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.drivers import namespaces
from arable.lab import setup
from arable.wire.blueprints import BlueprintQuery
from arable.wire.tiers import TierQuery
from cli.command_line import Arable
from e2e.customers import Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import until

pytestmark = pytest.mark.real

EXAMPLE = Path(__file__).parents[2] / "examples/three-tier.yaml"
INSIDE = "http://169.254.169.254/arable/v1"
TOKEN = f'wget -q -O - --post-data \'\' {INSIDE}/token | sed \'s/.*"token":"\\([^"]*\\)".*/\\1/\''


def fetched(netns: str, address: str, port: int) -> str:
    """The page there, as somebody outside sees it."""
    talk = http.client.HTTPConnection(address, port)
    talk.sock = namespaces.inside(netns, lambda: socket.create_connection((address, port), 30))
    try:
        talk.request("GET", "/")
        return talk.getresponse().read().decode()
    finally:
        talk.close()


@pytest.fixture
def owner(cloud: LabCloud) -> Iterator[Customer]:
    made = customer(cloud.operator, cloud.url, "counter")
    try:
        yield made
    finally:
        made.close()


def test_a_database_goes_on_counting_on_its_next_machine(
    cloud: LabCloud, owner: Customer, tmp_path: Path
) -> None:
    setup.teach(cloud.operator)  # once more: all are there
    (db,) = cloud.operator.blueprints.all(BlueprintQuery(name="db", public=True))
    assert len(db.versions) == 1
    arable = Arable(tmp_path, {"ARABLE_URL": owner.url, "ARABLE_TOKEN": owner.token})
    applied = arable.json("farm", "apply", "-f", str(EXAMPLE))
    address, _, port = applied[-1]["about"].partition(":")

    def look() -> list[str]:
        return fetched(cloud.netns("internet"), address, int(port)).splitlines()

    first = look()
    assert first[:2] == ["web 1 of counter", "app 1 of counter"]
    assert first[2:] == ["count=1"]
    assert look()[2:] == ["count=2"]

    told = json.loads(owner.at("counter-web-1").run(
        f'wget -q -O - --header "Authorization: Bearer $({TOKEN})" {INSIDE}/self'
    ))  # fmt: skip
    assert (told["name"], told["tier"], told["serving"]) == ("counter-web-1", "web", 1)
    assert told["rights"] == ["read"]

    (tier,) = owner.api.tiers.all(TierQuery(name="db"))
    before = tier.elements[0].machine
    owner.at("counter-db-1").run("killall httpd")
    owner.hang_up()

    def another() -> bool:
        (element,) = owner.api.tiers.get(tier.id).elements
        return element.state == "serving" and element.machine != before

    until(another, "the database has another machine", 300)
    assert look()[2:] == ["count=3"]
    owner.hang_up()
    arable("farm", "delete", "counter")
    (volume,) = owner.api.volumes.all()
    arable("volume", "delete", volume.id)
